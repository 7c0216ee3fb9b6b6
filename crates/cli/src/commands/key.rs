//! `chartmesh key`.

use std::path::PathBuf;

use chartmesh_node::api::Request;
use clap::Subcommand;
use zeroize::Zeroizing;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files::{self, Readers},
};

/// Keys, for use with other programs
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Write the age identities that open one's own sealed documents: `age -d -i FILE | zstd -d`
    ///
    /// Whoever has this file can read all of these records. Only its owner can read the file.
    Export {
        /// Where to
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

impl Key {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        match self {
            Self::Export { out } => {
                let keys = Zeroizing::new(context.ask::<Vec<u8>>(Request::KeyExport).await?);
                context.output.answer(&files::write(out, &keys, Readers::Owner)?, files::Written::words)?;
            }
        }
        Ok(Outcome::Done)
    }
}
