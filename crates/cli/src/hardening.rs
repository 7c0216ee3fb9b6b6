//! What the process keeps to itself: memory that is given back is wiped, and none of it goes into a core file.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// Keys have types that wipe themselves; a record passes through parsers and buffers of many crates, and this wipes it wherever it was.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// From here on the process dumps no core, and on Linux no other one of the same user can look into its memory.
pub(crate) fn close() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};

        if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
            tracing::warn!(%error, "core files cannot be ruled out");
        }
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            tracing::warn!(%error, "other programs of this user can look into this one's memory");
        }
    }
}
