//! Keeps the panics of iroh-blobs' own threads off the terminal.
//!
//! Where its database is damaged it panics instead of reporting it; whoever asked then gets an error, which says all that a user can use. They are traced, every other panic is printed as ever.

use std::{panic, sync::Once, thread};

/// How iroh-blobs calls its threads.
const THREADS: &str = "iroh-blob-store-";

/// From now on.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if thread::current().name().is_some_and(|name| name.starts_with(THREADS)) {
                tracing::error!(%panic, "the blob store failed");
            } else {
                before(panic);
            }
        }));
    });
}
