//! The program `chartmesh`: reads its arguments, asks the node's API, and prints what it answers.
//!
//! It touches the terminal, the files that a command names, and nothing else of the system; records, keys and the network belong to the
//! node. One file per command is in `commands`; the demonstration is in `demo`.

mod answer;
mod arguments;
mod commands;
mod context;
mod demo;
mod duration;
mod failure;
mod files;
mod hardening;
mod output;
mod passphrase;
mod plain;
mod platform;
mod table;

use std::{process::ExitCode, time::Duration};

use chartmesh_node::api::ApiError;
use clap::Parser;

use crate::{arguments::Arguments, context::Context, output::Output};

/// How long what is still running in the background may take to end.
const WIND_UP: Duration = Duration::from_secs(5);

/// What a worker has for its stack, in bytes: as much as the first thread usually has. Unoptimised, a repair takes more than the 2 MiB that threads have otherwise.
const STACK: usize = 8 << 20;

/// Runs the program with the arguments and the environment of this process. The exit code is 0 done, 1 failed, 2 wrong usage, 3 refused by
/// consent or authority, 4 not reachable.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return arguments::explain(&error),
    };
    let output = Output::new(arguments.json);
    trace(arguments.verbose);
    hardening::close();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_stack_size(STACK).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&output, ApiError::failed(format_args!("cannot start: {error}")).into()),
    };
    let code = runtime.block_on(async {
        let ended = match Context::new(&arguments, output) {
            Ok(context) => arguments.command.run(&context).await,
            Err(failure) => Err(failure),
        };
        match ended {
            Ok(outcome) => outcome.code(),
            Err(failure) => failure::report(&output, failure),
        }
    });
    runtime.shutdown_timeout(WIND_UP);
    code
}

/// Diagnostics on stderr: none, `-v` what the node does, `-vv` in detail. Nothing that is traced names a patient or holds a key.
fn trace(verbose: u8) {
    let filter = match verbose {
        0 => return,
        1 => "warn,iroh_blobs::store::gc=off,chartmesh=info,chartmesh_node=info",
        _ => "info,iroh_blobs::store::gc=off,chartmesh=debug,chartmesh_node=debug,chartmesh_vault=debug,chartmesh_exchange=debug",
    };
    // A second subscriber in one process is refused; the first one goes on.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).try_init();
}
