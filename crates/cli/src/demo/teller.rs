//! How the demonstration is told: a line per step as it happens, and at the end who can read how much.

use std::{path::Path, time::Instant};

use chartmesh_node::api::ApiError;
use serde::Serialize;

use crate::{
    failure::Failure,
    output::Output,
    plain::plain,
    table::{Column, Table, wrap},
};

/// Why the story does not go on.
#[derive(Debug)]
pub(crate) enum Slip {
    /// A node says that it did not work.
    Api(ApiError),
    /// It worked, but something else came out than the story says.
    Otherwise(String),
    /// It could not be told.
    Output(std::io::Error),
}

impl From<ApiError> for Slip {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// The story's claim: without it, the story does not go on.
pub(crate) fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Slip> {
    if holds { Ok(()) } else { Err(Slip::Otherwise(otherwise())) }
}

/// The whole story (schemas/cli/demo.schema.json).
#[derive(Debug, Serialize)]
struct DemoInfo {
    ok: bool,
    steps: Vec<Step>,
    readers: Vec<Reader>,
    total: u64,
}

#[derive(Debug, Serialize)]
struct Step {
    step: String,
    ok: bool,
    seconds: f64,
    said: String,
}

/// Who can read how much.
#[derive(Debug, Serialize)]
pub(crate) struct Reader {
    /// Who.
    pub(crate) name: String,
    /// What it is in the story.
    pub(crate) part: String,
    /// Records that its node opens.
    pub(crate) readable: u64,
    /// Why so many.
    pub(crate) because: String,
}

/// Tells the story.
pub(crate) struct Teller {
    output: Output,
    info: DemoInfo,
}

impl Teller {
    pub(crate) fn new(output: Output) -> Self {
        Self { output, info: DemoInfo { ok: false, steps: Vec::new(), readers: Vec::new(), total: 0 } }
    }

    /// One step: it does something, checks what came of it, and says so.
    pub(crate) async fn step<T>(&mut self, step: &str, work: impl Future<Output = Result<(T, String), Slip>>) -> Result<T, Slip> {
        let begin = Instant::now();
        let done = work.await;
        let seconds = begin.elapsed().as_secs_f64();
        let (value, said) = match done {
            Ok((value, said)) => (Ok(value), said),
            Err(slip) => {
                let said = match &slip {
                    Slip::Api(error) => plain(&error.what),
                    Slip::Otherwise(said) => plain(said),
                    Slip::Output(error) => error.to_string(),
                };
                (Err(slip), said)
            }
        };
        let step = Step { step: step.to_owned(), ok: value.is_ok(), seconds, said };
        self.say(&line(&step)).map_err(Slip::Output)?;
        self.info.steps.push(step);
        value
    }

    /// Text for people only.
    pub(crate) fn say(&self, text: &str) -> std::io::Result<()> {
        if self.output.is_json() { Ok(()) } else { self.output.bytes(text.as_bytes()) }
    }

    /// What was found in the end: of so many records, who can read how many.
    pub(crate) fn conclude(&mut self, total: u64, readers: Vec<Reader>) {
        self.info.total = total;
        self.info.readers = readers;
        self.info.ok = self.info.steps.iter().all(|step| step.ok);
    }

    /// Everything came out as told.
    pub(crate) fn went_well(&self) -> bool {
        self.info.ok
    }

    /// The end of the story, whichever it is.
    pub(crate) fn end(&mut self, played: Result<(), Slip>, kept: Option<&Path>) -> Result<(), Failure> {
        if let Err(slip) = played {
            self.info.ok = false;
            match slip {
                Slip::Output(error) => return Err(error.into()),
                // A step that failed has said so; what fails between the steps has not.
                Slip::Api(error) if self.info.steps.iter().all(|step| step.ok) => return Err(error.into()),
                Slip::Api(_) | Slip::Otherwise(_) => {}
            }
        }
        self.output.answer(&self.info, render)?;
        if let Some(kept) = kept {
            self.say(&format!("\nThe four homes are in {}: look around with `chartmesh --home {0}/patient records list`.\n", kept.display()))?;
        }
        Ok(())
    }
}

fn line(step: &Step) -> String {
    let head = format!("{} {:<60} {:>8.2} s\n", if step.ok { '✓' } else { '✗' }, step.step, step.seconds);
    format!("{head}{}", wrap(&step.said, "    ", "    "))
}

fn render(info: &DemoInfo) -> String {
    if !info.ok {
        return "\nThis did not come out as told; the line marked ✗ says what happened instead.\n".to_owned();
    }
    let mut table = Table::new([Column::whole("WHO"), Column::whole("PART"), Column::number("CAN READ"), Column::cut("BECAUSE", 20)]);
    for reader in &info.readers {
        table.row([reader.name.clone(), reader.part.clone(), format!("{} of {}", reader.readable, info.total), reader.because.clone()]);
    }
    let seconds: f64 = info.steps.iter().map(|step| step.seconds).sum();
    format!("\nWho can read how much, in the end:\n\n{}\nAll {} steps came out as told, in {seconds:.1} s.\n", table.render(), info.steps.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> DemoInfo {
        let step = |step: &str, ok, said: &str| Step { step: step.into(), ok, seconds: 0.123, said: said.into() };
        let reader = |name: &str, readable, because: &str| Reader { name: name.into(), part: "clinic".into(), readable, because: because.into() };
        DemoInfo {
            ok: true,
            steps: vec![step("The clinic reads", true, "It opens 300 records."), step("The ledger verifies", false, "A signature does not match.")],
            readers: vec![reader("Maria", 410, "they are hers"), reader("Storage", 0, "it holds no key")],
            total: 410,
        }
    }

    #[test]
    fn the_story_is_told_in_lines() {
        let info = info();
        insta::assert_snapshot!(info.steps.iter().map(line).collect::<String>(), @r"
        ✓ The clinic reads                                                 0.12 s
            It opens 300 records.
        ✗ The ledger verifies                                              0.12 s
            A signature does not match.
        ");
        insta::assert_snapshot!(render(&info), @r"

        Who can read how much, in the end:

        WHO      PART      CAN READ  BECAUSE
        Maria    clinic  410 of 410  they are hers
        Storage  clinic    0 of 410  it holds no key

        All 2 steps came out as told, in 0.2 s.
        ");
    }

    #[test]
    fn a_step_that_slips_ends_it_badly() {
        let mut teller = Teller::new(Output::new(true));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let told: Result<(), Slip> = runtime.block_on(teller.step("x", async {
            claim(1 == 2, || "1 is not 2".to_owned())?;
            Ok(((), "1 is 2".to_owned()))
        }));
        assert!(matches!(told, Err(Slip::Otherwise(_))));
        teller.conclude(1, Vec::new());
        assert!(!teller.went_well());
        assert_eq!(teller.info.steps[0].said, "1 is not 2");
    }
}
