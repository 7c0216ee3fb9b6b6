//! `chartmesh consent import`.

use std::path::PathBuf;

use chartmesh_node::api::{ApiError, GrantInfo, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files,
};

/// Grant what a FHIR R4 Consent says
///
/// It is granted to the contact that the Consent names as recipient, by name or party key. Where it names nobody, or calls them otherwise, say who is meant.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The Consent, as JSON
    file: PathBuf,
    /// Whom to grant it to: the contact's short name
    #[arg(long, value_name = "PEER")]
    to: Option<String>,
    /// How the Consent calls them, such as Practitioner/7; without it they get what it gives to everybody
    #[arg(long, value_name = "REFERENCE", requires = "to")]
    named: Option<String>,
}

impl Import {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let request = Request::ConsentImport { consent: files::read(&self.file)?, peer: self.to.clone(), named: self.named.clone() };
        let info: GrantInfo =
            context.ask(request).await.map_err(|error: ApiError| ApiError { what: format!("{}: {}", self.file.display(), error.what), ..error })?;
        context.output.answer(&info, super::render)?;
        Ok(Outcome::Done)
    }
}
