//! `chartmesh demo`: four real nodes on loopback, a made-up patient, and the whole story, told step by step with timings.
//!
//! It touches a directory of its own and sockets on 127.0.0.1. Whatever it says it has first asked the node of which it says it; what does not
//! come out as told ends the story and gives exit code 1. `story` is what happens, `stage` who acts, `teller` how it is told, `synthetic` the
//! patient.

mod stage;
mod story;
pub(crate) mod synthetic;
mod teller;

use std::path::Path;

use chartmesh_node::api::ApiError;

use crate::{
    demo::{stage::Stage, teller::Teller},
    failure::{Failure, Outcome},
    files,
    output::Output,
};

/// Plays the story; with `keep`, its home directories stay in that directory.
pub(crate) async fn run(keep: Option<&Path>, output: &Output) -> Result<Outcome, Failure> {
    let cannot = |error: std::io::Error| ApiError::failed(format_args!("cannot make a directory for the demonstration: {error}"));
    let (directory, _temporary) = match keep {
        Some(directory) => {
            let directory = files::full(directory)?;
            std::fs::create_dir_all(&directory).map_err(cannot)?;
            if std::fs::read_dir(&directory).map_err(cannot)?.next().is_some() {
                return Err(ApiError::usage(format_args!("{} is not empty", directory.display())).advise("name a new directory").into());
            }
            (directory, None)
        }
        None => {
            let temporary = tempfile::Builder::new().prefix("chartmesh-demo-").tempdir().map_err(cannot)?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let mut teller = Teller::new(*output);
    let mut stage = Stage::new(directory);
    let played = tokio::select! {
        played = story::play(&mut stage, &mut teller) => Some(played),
        _ = tokio::signal::ctrl_c() => None,
    };
    let stopped = stage.stop().await;
    let Some(played) = played else {
        return Err(ApiError::failed("the demonstration was broken off").into());
    };
    teller.end(played, keep)?;
    stopped?;
    Ok(if teller.went_well() { Outcome::Done } else { Outcome::Wrong })
}
