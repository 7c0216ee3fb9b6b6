//! The replication protocol as a state machine without I/O.
//!
//! A [`Session`] is one side of one connection between two nodes. Frames and events go in, [`Effect`]s come out, and whoever runs it carries them out in their order: what
//! is to be on disk is there before anything that rests on it is sent. It touches no socket, file, clock or random source; `now` and the nonce are parameters.
//!
//! How a session goes (schemas/exchange.cddl has the frames):
//!
//! 1. **Hello** both ways: version, card, nonce. The connection's endpoint must be on the card.
//! 2. The initiator **opens** ledgers, each with one digest of what it believes the pair to share, then says **named**; then the responder does the same with those left
//!    over. The answer is **same**, **heads** or **unknown**; a ledger that is not held and one that is not for the peer are answered alike. Whoever stopped serving a
//!    ledger may open it again; openings are numbered.
//! 3. After differing digests both tell their **heads**, and each sends what the other lacks: **charters**, then **entries** in chunks, per lane the devices' logs first, so
//!    that the receiver can judge the parties'. About [`WINDOW`] frames of content are under way at most, and few bytes at first; **done** acknowledges them once they are on disk.
//!    Who holds an entry without its body asks for that (**want**); **done** says when that is answered.
//! 4. What changes later is pushed the same way. What another session has brought is told with **held** first, for the peer may be about to give it. Both are settled when each has acknowledged and answered all, has no more to give and has no blob left to fetch.
//!
//! Who sees what is the ledger crate's serving rule and is asked again before every chunk. `sim` (behind the feature of that name) runs many nodes of it over a
//! network that delays and cuts.

mod event;
mod frame;
mod replica;
mod session;
#[cfg(feature = "sim")]
pub mod sim;
mod tips;
mod view;

pub use event::{Closing, Effect, Event, Refused};
pub use frame::{CHUNK, Frame, FrameError, MAX_ENTRY, MAX_FRAME, MAX_INVITATION, Tip};
pub use replica::{AHEAD, Me, Replica};
pub use session::{Options, Session, Side, VERSION, WINDOW};
