//! The terms of a consent as they are typed; `preview` and `grant` take the same.

use chartmesh_node::api::TermsInput;
use clap::Args;

/// Records are named by: all; a category (identity, summary, results, imaging, notes, plans, admin); a sensitivity (general, mental-health,
/// substance-use, sexual-reproductive, hiv, genetic, violence); SENSITIVITY/CATEGORY, such as hiv/results; SYSTEM|CODE; or TYPE/ID.
#[derive(Debug, Clone, Args)]
pub(crate) struct Terms {
    /// Lets them read these records: `all`, a category, a sensitivity, SENSITIVITY/CATEGORY, SYSTEM|CODE or TYPE/ID [default: all]
    #[arg(long, value_name = "RECORDS")]
    read: Vec<String>,
    /// But not these
    #[arg(long, value_name = "RECORDS")]
    except: Vec<String>,
    /// Lets them add records
    #[arg(long)]
    write: bool,
    /// Lets them keep and serve everything sealed, without reading any of it
    #[arg(long)]
    custodian: bool,
    /// What for: HL7 v3-ActReason codes [default: TREAT]
    #[arg(long, value_name = "CODE")]
    purpose: Vec<String>,
    /// Only records of this day and later (YYYY-MM-DD)
    #[arg(long, value_name = "DAY")]
    data_from: Option<String>,
    /// Only records of this day and earlier (YYYY-MM-DD)
    #[arg(long, value_name = "DAY")]
    data_until: Option<String>,
    /// Ends by itself: on a day (YYYY-MM-DD), or after some days (90d)
    #[arg(long, value_name = "DAY|DAYS")]
    expires: Option<String>,
}

impl Terms {
    pub(crate) fn input(&self) -> TermsInput {
        let Self { read, except, write, custodian, purpose, data_from, data_until, expires } = self.clone();
        TermsInput { read, except, write, custodian, purpose, data_from, data_until, expires }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        terms: Terms,
    }

    #[test]
    fn what_is_typed_is_what_is_asked() {
        let line = "x --read all --except mental-health --except hiv/results --read Observation/1 --write --purpose TREAT --data-from 2020-01-01 --expires 90d";
        let typed = Line::parse_from(line.split(' ')).terms.input();
        let expected = TermsInput {
            read: vec!["all".into(), "Observation/1".into()],
            except: vec!["mental-health".into(), "hiv/results".into()],
            write: true,
            custodian: false,
            purpose: vec!["TREAT".into()],
            data_from: Some("2020-01-01".into()),
            data_until: None,
            expires: Some("90d".into()),
        };
        assert_eq!(typed, expected);
        assert_eq!(Line::parse_from(["x"]).terms.input(), TermsInput::default());
    }
}
