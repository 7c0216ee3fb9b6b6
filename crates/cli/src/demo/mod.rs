//! The demonstration.

use std::path::Path;

use chartmesh_node::api::ApiError;

use crate::{
    failure::{Failure, Outcome},
    output::Output,
};

pub(crate) mod synthetic;

/// Runs it.
pub(crate) async fn run(_keep: Option<&Path>, _output: &Output) -> Result<Outcome, Failure> {
    let _ = (synthetic::synthetic_patient, synthetic::new_result, synthetic::later_visit);
    Err(ApiError::failed("stub").into())
}
