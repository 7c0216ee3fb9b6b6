//! What may be typed: the options that every command takes, and how a mistake in typing is explained.

use std::{path::PathBuf, process::ExitCode};

use chartmesh_node::api::ApiError;
use clap::{ArgAction, Parser, error::ErrorKind};

use crate::{commands::Command, failure, output::Output, plain::plain};

/// Share health records so that the patient decides who can read what.
#[derive(Debug, Parser)]
#[command(name = "chartmesh", version, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Arguments {
    /// The home directory of the node to use [default: $CHARTMESH_HOME, else the platform's data directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Print answers, and errors on stderr, as JSON (schemas/cli)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say on stderr what the node does; twice for details
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Read the passphrase from this file [default: $CHARTMESH_PASSPHRASE_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by consent or authority, 4 not reachable.
`chartmesh demo` shows everything at work with a made-up patient and needs nothing else.";

/// Prints what clap has to say: help and version on stdout, mistakes on stderr, as JSON if that was asked for.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json");
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if json && !asked {
        return failure::report(&Output::new(true), mistake(error).into());
    }
    // If not even that can be printed, the exit code has to say it.
    let _ = error.print();
    if asked { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn mistake(error: &clap::Error) -> ApiError {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let what = plain(first.strip_prefix("error: ").unwrap_or(first));
    ApiError::usage(if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand { "a command is missing".to_owned() } else { what })
        .advise("chartmesh help, or --help after a command")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_mistake_is_one_line() {
        let error = Arguments::try_parse_from(["chartmesh", "sync", "--timeout", "soon"]).expect_err("that is no duration");
        let mistake = mistake(&error);
        assert!(mistake.what.contains("'soon'") && !mistake.what.contains('\n'), "{mistake}");
        let error = Arguments::try_parse_from(["chartmesh"]).expect_err("a command is needed");
        assert_eq!(super::mistake(&error).what, "a command is missing");
    }
}
