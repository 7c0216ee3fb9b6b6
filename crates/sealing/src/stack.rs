//! Stacks that keep nothing of what was in the clear.

use std::hint::black_box;

/// How far down the stack is wiped, in bytes. Parsers, zstd, age and BLAKE3 go less deep.
const DEPTH: usize = 128 << 10;

/// Does work on keys or records in the clear and wipes the stack that it used, where digests, copies and registers may have left a part of them: a thread that waits for its next task
/// would keep that for as long as it lives. What the work returns is the caller's to wipe. A panic is no way around it.
pub fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let _wipe = Wipe;
    below(work)
}

/// Wipes when it goes.
struct Wipe;

impl Drop for Wipe {
    fn drop(&mut self) {
        wipe();
    }
}

/// Keeps the work's frame out of the caller's.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe() {
    let mut room = [0_u8; DEPTH];
    black_box(&mut room);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs::File, os::unix::fs::FileExt};

    use super::*;

    /// The stack below here, as the kernel reads it.
    #[inline(never)]
    fn stack() -> Vec<u8> {
        let here = 0_u8;
        let end = std::ptr::from_ref(&here).addr();
        let memory = File::open("/proc/self/mem").expect("one's own memory");
        let mut bytes = vec![0; DEPTH];
        memory.read_exact_at(&mut bytes, (end - DEPTH) as u64).expect("a stack");
        bytes
    }

    /// Leaves a mark of 64 bytes deep in the stack; nothing in the program's own data reads like it.
    #[inline(never)]
    fn leave_a_mark(letter: u8) {
        let mut frame = [0_u8; 32 << 10];
        frame[..64].fill(letter);
        black_box(&mut frame);
    }

    fn is_marked(letter: u8) -> bool {
        stack().windows(64).any(|bytes| bytes.iter().all(|byte| *byte == letter))
    }

    #[test]
    fn nothing_is_left_on_the_stack() {
        leave_a_mark(b'#');
        assert!(is_marked(b'#'), "the search finds what is there");
        wiped(|| leave_a_mark(b'%'));
        assert!(!is_marked(b'%'));
        assert!(!is_marked(b'#'), "what was there before goes too");
        let panicked = std::panic::catch_unwind(|| {
            wiped(|| {
                leave_a_mark(b'@');
                std::panic::panic_any(());
            });
        });
        assert!(panicked.is_err() && !is_marked(b'@'), "a panic leaves nothing either");
    }
}
