//! `chartmesh import`.

use std::path::PathBuf;

use chartmesh_node::api::{ApiError, ImportInfo, ImportPath, Request};
use clap::Args;

use crate::{
    context::Context,
    failure::{Failure, Outcome},
    files,
    plain::{count, plain},
    table::{Column, Table},
};

/// Read FHIR R4 files, seal what is in them, and publish it
///
/// A patient imports into their own ledger; whoever a patient lets write names the patient with --for. What was imported before is not
/// imported again. If nothing could be taken in, the exit code is 1.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// FHIR JSON or NDJSON files, or directories with such files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The patient to write for: alias, name or ledger id
    #[arg(long = "for", value_name = "PATIENT")]
    patient: Option<String>,
}

impl Import {
    pub(crate) async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let paths = self.paths.iter().map(|path| Ok(ImportPath { path: files::full(path)?, called: path.clone() })).collect::<Result<_, ApiError>>()?;
        context.output.progress("reading, sealing, publishing ...");
        let info: ImportInfo = context.ask(Request::Import { paths, patient: self.patient.clone() }).await?;
        context.output.answer(&info, render)?;
        let nothing = info.published + info.unchanged == 0;
        if nothing && !info.refused.is_empty() {
            return Err(ApiError::failed("nothing was imported").advise("the answer says of each part why").into());
        }
        Ok(Outcome::Done)
    }
}

fn render(info: &ImportInfo) -> String {
    let mut text = format!(
        "Read {} from {}: {} published in {}, {} already held.\n",
        count(info.resources, "resource", "resources"),
        count(info.files, "file", "files"),
        info.published,
        count(info.documents, "sealed document", "sealed documents"),
        info.unchanged
    );
    if !info.compartments.is_empty() {
        let mut table = Table::new([Column::whole("COMPARTMENT"), Column::number("DOCUMENTS")]);
        for (compartment, documents) in &info.compartments {
            table.row([compartment.clone(), documents.to_string()]);
        }
        text.push('\n');
        text.push_str(&table.render());
    }
    if info.skipped > 0 {
        let (one, many) = ("other file or link was passed over", "other files and links were passed over");
        text.push_str(&format!("\n{}: only .json and .ndjson files are read from a directory.\n", count(info.skipped, one, many)));
    }
    if info.mixed {
        text.push_str("\nTake a look: these records name several patients, or another one than the records here did before. Are they meant for this chart?\n");
    }
    if info.marked > 0 {
        text.push_str(&format!(
            "\n{} is understood here.\n",
            count(
                info.marked,
                "resource is kept as sent and marked: not all of what it says",
                "resources are kept as sent and marked: not all of what they say"
            )
        ));
    }
    if !info.refused.is_empty() {
        text.push_str("\nNot imported:\n");
        for refused in &info.refused {
            text.push_str(&crate::table::wrap(&format!("{}: {}", plain(&refused.position), plain(&refused.reason)), "  - ", "    "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chartmesh_node::api::RefusedInfo;

    use super::*;

    #[test]
    fn an_import_says_what_became_of_everything() {
        let info = ImportInfo {
            files: 2,
            resources: 412,
            published: 400,
            unchanged: 10,
            documents: 57,
            compartments: BTreeMap::from([("general/results".into(), 40), ("mental-health/notes".into(), 17)]),
            marked: 1,
            refused: vec![RefusedInfo { position: "b.json, entry 3".into(), reason: "duplicate key".into() }],
            skipped: 3,
            mixed: true,
        };
        insta::assert_snapshot!(render(&info), @r"
        Read 412 resources from 2 files: 400 published in 57 sealed documents, 10 already held.

        COMPARTMENT          DOCUMENTS
        general/results             40
        mental-health/notes         17

        3 other files and links were passed over: only .json and .ndjson files are read from a directory.

        Take a look: these records name several patients, or another one than the records here did before. Are they meant for this chart?

        1 resource is kept as sent and marked: not all of what it says is understood here.

        Not imported:
          - b.json, entry 3: duplicate key
        ");
        insta::assert_snapshot!(render(&ImportInfo::default()), @r"
        Read 0 resources from 0 files: 0 published in 0 sealed documents, 0 already held.
        ");
    }
}
