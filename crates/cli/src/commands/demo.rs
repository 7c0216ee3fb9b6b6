//! `chartmesh demo`.

use std::path::PathBuf;

use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
};

/// Show everything at work, with a made-up patient and four real nodes on this machine
///
/// Needs nothing but this program, and leaves nothing behind. Every line that it prints was checked on the node that it speaks of; if
/// something does not come out as told, the exit code is 1.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the four home directories in this directory, to look around
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Demo {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        crate::demo::run(self.keep.as_deref(), &context.output).await
    }
}
