//! How a command ends, and how it says that it failed: what happened, to what, and what to do about it.

use std::{io, process::ExitCode};

use chartmesh_node::api::{ApiError, ErrorKind};
use serde::Serialize;

use crate::{
    output::{self, Output},
    plain::plain,
};

/// A command that ran to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Done,
    /// It printed its answer, and the answer is that something is wrong: exit code 1.
    Wrong,
}

/// Why a command did not run to its end.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node, or the command itself, says why.
    Api(ApiError),
    /// The answer could not be printed.
    Output(io::Error),
}

/// What is printed on stderr with `--json` (schemas/cli/error.schema.json).
#[derive(Serialize)]
struct ErrorInfo<'a> {
    error: &'a ApiError,
}

impl Outcome {
    pub(crate) fn code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Wrong => ExitCode::from(1),
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Says why, and gives the exit code. That a reader of the output has heard enough and went away is not an error.
pub(crate) fn report(output: &Output, failure: Failure) -> ExitCode {
    let error = match failure {
        Failure::Api(error) => error,
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
        Failure::Output(error) => ApiError::failed(format_args!("cannot print the answer: {error}")),
    };
    output.complain(&if output.is_json() { output::json(&ErrorInfo { error: &error }) } else { words(&error) });
    ExitCode::from(match error.kind {
        ErrorKind::Failed => 1,
        ErrorKind::Usage => 2,
        ErrorKind::Refused => 3,
        ErrorKind::Unreachable => 4,
    })
}

fn words(error: &ApiError) -> String {
    let mut text = format!("error: {}", plain(&error.what));
    if let Some(advice) = &error.advice {
        text.push_str("\n  try: ");
        text.push_str(&plain(advice));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do_and_cannot_forge_a_line() {
        let error = ApiError::refused("Dr\u{202e} Lee\u{1b}[2J may\nnot").advise("ask the patient");
        insta::assert_snapshot!(words(&error), @r"
        error: Dr Lee[2J may not
          try: ask the patient
        ");
        insta::assert_snapshot!(output::json(&ErrorInfo { error: &ApiError::unreachable("nobody is there") }),
            @r#"{"error":{"kind":"unreachable","what":"nobody is there","advice":null}}"#);
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let gone = Failure::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(report(&Output::new(true), gone), ExitCode::SUCCESS);
    }
}
