//! Acts: what a history is made of, each one a line that can be written down, left out and run again.
//!
//! Nodes are numbers of the [cast](super::cast); what an act chooses from (catalogs, grants, links) is taken modulo what there is, so that an act means something wherever it
//! stands. Every step has chance of its own: leaving one out does not change what the others draw.

use std::{fmt, str::FromStr};

/// A history: a seed for the cast's vices and for what comes after the acts, and the steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Mixed into the chance of every step.
    pub seed: u64,
    /// In their order.
    pub steps: Vec<Step>,
}

/// One act, its chance, and how long the world runs afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// With the script's seed, all that this step draws from.
    pub chance: u64,
    /// Milliseconds.
    pub pause: u64,
    /// What happens.
    pub act: Act,
}

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident = $word:literal { $($(#[doc = $field_doc:literal])* $field:ident),* })*) => {
        /// Something that happens.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Act {
            $($(#[$doc])* $name { $($(#[doc = $field_doc])* $field: u64),* },)*
        }

        impl fmt::Display for Act {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name { $($field),* } => {
                        f.write_str($word)?;
                        $(write!(f, " {}={}", stringify!($field), $field)?;)*
                        Ok(())
                    })*
                }
            }
        }

        impl FromStr for Act {
            type Err = String;

            fn from_str(line: &str) -> Result<Self, String> {
                let (word, mut rest) = line.split_once(' ').unwrap_or((line, ""));
                let act = match word {
                    $($word => {
                        $(let $field = number(&mut rest, stringify!($field))?;)*
                        Self::$name { $($field),* }
                    })*
                    _ => return Err(format!("no act is called {word:?}")),
                };
                if rest.trim().is_empty() { Ok(act) } else { Err(format!("{word} does not take {rest:?}")) }
            }
        }
    };
}

acts! {
    /// Two nodes connect.
    Meet = "meet" {
        /// Who connects.
        a,
        /// To whom.
        b,
        /// The link breaks after so many frames; 0: it lasts.
        life
    }
    /// Some link breaks.
    Cut = "cut" {
        /// Which, of those there are.
        link
    }
    /// Two nodes cannot reach one another.
    Part = "part" {
        /// One.
        a,
        /// The other.
        b
    }
    /// Two nodes can reach one another again.
    Join = "join" {
        /// One.
        a,
        /// The other.
        b
    }
    /// The network loses and doubles frames from now on.
    Weather = "weather" {
        /// How many of a thousand are lost.
        loss,
        /// How many of a thousand come twice.
        twice
    }
    /// A node stops and starts.
    Restart = "restart" {
        /// Which.
        node
    }
    /// A node's disk is copied.
    Backup = "backup" {
        /// Whose.
        node
    }
    /// The last copy of a node's disk is put back, if there is one.
    Restore = "restore" {
        /// Whose.
        node
    }
    /// A node's clock is set wrong.
    Skew = "skew" {
        /// Whose.
        node,
        /// By so many minutes more than a day behind.
        minutes
    }
    /// Time passes.
    Wait = "wait" {
        /// So much of it.
        minutes
    }
    /// A device publishes.
    Publish = "publish" {
        /// Which device.
        device,
        /// In which catalog.
        catalog,
        /// How many documents.
        documents,
        /// Length of the sealed body in bytes.
        length
    }
    /// A device withdraws a document.
    Withdraw = "withdraw" {
        /// Which device.
        device,
        /// In which catalog.
        catalog,
        /// Which of those shown.
        which
    }
    /// A device grants access.
    Grant = "grant" {
        /// Which device.
        device,
        /// To the party of this node.
        to,
        /// Bits: catalogs to read.
        reads,
        /// Bits: catalogs to write.
        writes,
        /// Minutes until it ends; 0: never.
        ends
    }
    /// A device ends a grant.
    Revoke = "revoke" {
        /// Which device.
        device,
        /// Of the party of this node.
        of,
        /// Which of its grants that the device knows.
        which,
        /// Whether it stops right after the Revoke, before it has done the rest.
        stops
    }
    /// A device does what devices owe.
    Duties = "duties" {
        /// Which device.
        device
    }
    /// A device signs a checkpoint.
    Checkpoint = "checkpoint" {
        /// Which device.
        device,
        /// For the circle of the party of this node.
        of
    }
    /// A root of a device adds the patient's tablet to the charter.
    Enrol = "enrol" {
        /// Whose root.
        device
    }
    /// A root of a device suspends another device of the patient.
    Suspend = "suspend" {
        /// Whose root.
        device,
        /// Which of the others.
        which
    }
    /// A root of a device takes the custodians off the charter, and puts them back.
    Reappoint = "reappoint" {
        /// Whose root.
        device,
        /// After so many milliseconds.
        pause
    }
    /// A party's node publishes where it may.
    Write = "write" {
        /// Which node.
        node,
        /// Whose record.
        patient,
        /// Where, of the catalogs that it may write.
        which,
        /// How many documents.
        documents
    }
    /// A party's node withdraws what it published.
    Retract = "retract" {
        /// Which node.
        node,
        /// Whose record.
        patient,
        /// Which of its documents.
        which
    }
    /// A party's node writes a Receipt, or a Confirm once its grant is revoked.
    Testify = "testify" {
        /// Which node.
        node,
        /// Whose record.
        patient,
        /// Under which grant that it knows.
        which
    }
    /// A party's node asks for access.
    Ask = "ask" {
        /// Which node.
        node,
        /// Whose record.
        patient
    }
    /// Somebody writes what a later version may understand.
    Future = "future" {
        /// Which node.
        node,
        /// Whose record.
        patient
    }
    /// A node turns against the others: see [`super::Vice`].
    Turn = "turn" {
        /// Which.
        node,
        /// Which vice.
        vice
    }
    /// A node signs another entry for a place that it has used, and shows it to one peer alone.
    Fork = "fork" {
        /// Which.
        node,
        /// Whose record.
        patient,
        /// Which of its logs.
        log,
        /// How far back.
        depth,
        /// What the entry does.
        what
    }
    /// A party's node goes on writing under whatever it once had, with the time of long ago.
    Backdate = "backdate" {
        /// Which.
        node,
        /// Whose record.
        patient,
        /// Under which grant or access.
        which
    }
    /// A party's node writes under an access that was given to another.
    Borrow = "borrow" {
        /// Which.
        node,
        /// Whose record.
        patient,
        /// Whose access.
        which
    }
    /// Signs in the name of another.
    Impersonate = "impersonate" {
        /// Who signs.
        node,
        /// In whose name.
        victim,
        /// In whose record.
        patient
    }
    /// A stolen device makes a charter version of its own beside one that there is.
    Rival = "rival" {
        /// Which device.
        device,
        /// Who shall be a device.
        node
    }
    /// A stolen device hands somebody whose grants are over the keys of a catalog.
    Betray = "betray" {
        /// Which device.
        device,
        /// To the party of this node.
        to,
        /// Of which catalog.
        catalog
    }
    /// Sends again, to somebody, what was sent before.
    Replay = "replay" {
        /// Who.
        node,
        /// Which frame of those it remembers.
        frame
    }
}

fn number(rest: &mut &str, field: &str) -> Result<u64, String> {
    let trimmed = rest.trim_start();
    let (word, left) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
    *rest = left;
    let digits = word.strip_prefix(field).and_then(|word| word.strip_prefix('='));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| format!("{field}=NUMBER is missing"))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.chance, self.pause, self.act)
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().ok_or_else(|| "a step is: CHANCE PAUSE ACT".to_owned());
        let (chance, pause, act) = (next()?, next()?, next()?);
        let digits = |word: &str| word.parse().map_err(|_| format!("{word:?} is not a number"));
        Ok(Self { chance: digits(chance)?, pause: digits(pause)?, act: act.parse()? })
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl FromStr for Script {
    type Err = String;

    /// Empty lines and lines that begin with `#` say nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let seed = lines.next().and_then(|(_, line)| line.strip_prefix("seed ")?.parse().ok()).ok_or("a script begins with: seed NUMBER")?;
        let steps = lines.map(|(at, line)| line.parse().map_err(|error| format!("line {}: {error}", at + 1)));
        Ok(Self { seed, steps: steps.collect::<Result<_, String>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_comes_back_as_it_was_written() {
        let steps = vec![
            Step { chance: 3, pause: 40, act: Act::Meet { a: 1, b: 2, life: 0 } },
            Step { chance: 4, pause: 0, act: Act::Cut { link: 7 } },
            Step { chance: 5, pause: 9, act: Act::Grant { device: 0, to: 7, reads: 5, writes: 2, ends: 0 } },
        ];
        let script = Script { seed: 17, steps };
        assert_eq!(format!("# why\n\n{script}").parse(), Ok(script));
    }

    #[test]
    fn nonsense_is_named_with_its_line() {
        for (text, why) in [
            ("", "a script begins with: seed NUMBER"),
            ("seed 1\n1 2 dance", "line 2: no act is called \"dance\""),
            ("seed 1\n1 2 cut", "line 2: link=NUMBER is missing"),
            ("seed 1\n1 2 cut link=1 more=2", "line 2: cut does not take \"more=2\""),
            ("seed 1\n1 x cut link=1", "line 2: \"x\" is not a number"),
        ] {
            assert_eq!(text.parse::<Script>(), Err(why.into()), "{text}");
        }
    }
}
