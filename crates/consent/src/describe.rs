//! Terms and decisions in words that a patient reads.

use chartmesh_records::{Category, Coding, Sensitivity};

use crate::{
    evaluate::moment,
    policy::{Action, Class, DataPeriod, Effect, Label, Meaning, Provision},
    purpose,
    terms::{Law, Terms},
};

/// How deep exceptions are spelled out; deeper ones are only counted.
const DEPTH: usize = 4;

fn category(category: Category) -> &'static str {
    match category {
        Category::Identity => "personal details",
        Category::Summary => "summary records (allergies, problems, medicines, vaccinations, procedures)",
        Category::Results => "test results and measurements",
        Category::Imaging => "images",
        Category::Notes => "notes and documents",
        Category::Plans => "plans and appointments",
        Category::Admin => "administrative records",
    }
}

fn sensitivity(sensitivity: Sensitivity) -> &'static str {
    match sensitivity {
        Sensitivity::General => "general",
        Sensitivity::MentalHealth => "mental health",
        Sensitivity::SubstanceUse => "substance use",
        Sensitivity::SexualReproductive => "sexual and reproductive health",
        Sensitivity::Hiv => "HIV",
        Sensitivity::Genetic => "genetic",
        Sensitivity::Violence => "violence",
    }
}

/// A compartment's records.
pub(crate) fn kind(of: Sensitivity, about: Category) -> String {
    match of {
        Sensitivity::General => category(about).to_owned(),
        _ => format!("{} {}", sensitivity(of), category(about)),
    }
}

/// When records were made: completes "records ...".
pub(crate) fn dates(dates: &DataPeriod) -> String {
    match (&dates.start, &dates.end) {
        (Some(start), Some(end)) => format!("from {start} to {end}"),
        (Some(start), None) => format!("from {start} on"),
        (None, Some(end)) => format!("up to {end}"),
        (None, None) => "of any date".to_owned(),
    }
}

fn list(items: impl IntoIterator<Item = String>, last: &str) -> String {
    let mut items: Vec<String> = items.into_iter().collect();
    match (items.pop(), items.is_empty()) {
        (None, _) => String::new(),
        (Some(only), true) => only,
        (Some(end), false) => format!("{} {last} {end}", items.join(", ")),
    }
}

fn label_words(label: &Label) -> String {
    match label {
        Label::Sensitivity(of) => sensitivity(*of).to_owned(),
        Label::Code(Coding { code, .. }) => format!("\u{201c}{code}\u{201d}-labelled"),
    }
}

fn class_words(class: &Class) -> String {
    match class {
        Class::Category(about) => category(*about).to_owned(),
        Class::Type(name) => format!("{name} records"),
    }
}

/// What a provision reaches, as a noun phrase.
fn reach(rule: &Provision) -> String {
    let labels = list(rule.labels.iter().map(label_words), "or");
    let classes = list(rule.classes.iter().map(class_words), "and");
    let mut words = match (labels.is_empty(), classes.is_empty()) {
        (true, true) => "all records".to_owned(),
        (false, true) => format!("{labels} records"),
        (true, false) => classes,
        (false, false) => format!("{labels} {classes}"),
    };
    if !rule.codes.is_empty() {
        words += &format!(" with the code {}", list(rule.codes.iter().map(|code| format!("{} ({})", code.code, code.system)), "or"));
    }
    if !rule.data.is_empty() {
        let named = list(
            rule.data.iter().map(|data| match data.meaning {
                Meaning::Instance => data.reference.clone(),
                Meaning::Related | Meaning::Dependents => format!("{} and what belongs to it", data.reference),
                Meaning::AuthoredBy => format!("what {} wrote", data.reference),
            }),
            "and",
        );
        words = if words == "all records" { format!("these records: {named}") } else { format!("{words}, of these: {named}") };
    }
    if let Some(period) = &rule.data_period {
        words += &format!(" {}", dates(period));
    }
    if !rule.authors.is_empty() {
        words += &format!(" written by {}", list(rule.authors.iter().cloned(), "or"));
    }
    if !rule.custodians.is_empty() {
        words += &format!(" kept by {}", list(rule.custodians.iter().cloned(), "or"));
    }
    words
}

/// Under which conditions a provision holds; empty if always.
fn conditions(rule: &Provision) -> String {
    let mut words = Vec::new();
    if !rule.recipients.is_empty() {
        words.push(format!("for {}", list(rule.recipients.iter().cloned(), "or")));
    }
    if !rule.purposes.is_empty() {
        words.push(format!("when the purpose is {}", list(rule.purposes.iter().map(purpose::name), "or")));
    }
    if !rule.actions.is_empty() {
        let verb = |action: &Action| {
            match action {
                Action::Collect => "collecting",
                Action::Access => "reading",
                Action::Use => "using",
                Action::Disclose => "handing on",
                Action::Correct => "changing",
                Action::KeepSealed => "keeping sealed copies of",
            }
            .to_owned()
        };
        words.push(format!("for {} them", list(rule.actions.iter().map(verb), "or")));
    }
    if let Some(period) = &rule.period {
        words.extend(period.start.map(|start| format!("from {}", moment(start))));
        words.extend(period.end.map(|end| format!("until {}", moment(end))));
    }
    if words.is_empty() { String::new() } else { format!(" {}", words.join(" ")) }
}

/// Why a provision spoke.
pub(crate) fn reason(rule: &Provision) -> String {
    let verdict = match rule.effect {
        Effect::Permit => "are shared",
        Effect::Deny => "are excepted",
    };
    format!("{} {verdict}{}", reach(rule), conditions(rule))
}

fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}

fn rules(all: &[Provision], depth: usize, lines: &mut Vec<String>) {
    if depth > DEPTH {
        if !all.is_empty() {
            lines.push(format!("And {} further exceptions within the last one.", all.len()));
        }
        return;
    }
    let lead = match depth {
        0 => "",
        1 => "with this exception: ",
        _ => "and to that exception this one: ",
    };
    for effect in [Effect::Permit, Effect::Deny] {
        for rule in all.iter().filter(|rule| rule.effect == effect) {
            let verdict = match effect {
                Effect::Permit => "are shared",
                Effect::Deny => "are not shared",
            };
            lines.push(sentence(&format!("{lead}{} {verdict}{}", reach(rule), conditions(rule))));
            rules(&rule.exceptions, depth + 1, lines);
        }
    }
}

pub(crate) fn terms(terms: &Terms) -> Vec<String> {
    let mut lines = Vec::new();
    rules(&terms.provisions, 0, &mut lines);
    let reads = terms.provisions.iter().any(permits_somewhere);
    if reads {
        lines.push(sentence(&format!("the purpose must be {}", list(terms.purposes().iter().map(purpose::name), "or"))));
        if let Some(period) = &terms.data_period() {
            lines.push(sentence(&format!("only records {} are shared", dates(period))));
        }
    } else {
        lines.push("No record may be read.".to_owned());
    }
    if terms.write {
        lines.push("New records may be added.".to_owned());
    }
    if terms.custodian {
        lines.push("The encrypted records are kept and passed on, without being readable there.".to_owned());
    }
    match terms.expires {
        Some(end) => lines.push(sentence(&format!("this ends on {}, or when you take it back", moment(end)))),
        None => lines.push("This holds until you take it back.".to_owned()),
    }
    for law in &terms.laws {
        lines.push(match law {
            Law::Part2 => "Substance use records come with the notice that United States law (42 CFR Part 2) asks for.".to_owned(),
        });
    }
    lines
}

fn permits_somewhere(rule: &Provision) -> bool {
    rule.effect == Effect::Permit || rule.exceptions.iter().any(permits_somewhere)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Limits;

    #[test]
    fn a_patient_reads_plain_sentences() {
        let except = ["mental-health".parse().unwrap(), "hiv/results".parse().unwrap()];
        let terms = Terms::from_cli(&[], &except, Limits { expires: Some(1_767_225_600), data_from: Some("2020".to_owned()), ..Limits::default() }).unwrap();
        assert_eq!(
            terms.describe(),
            [
                "All records are shared.",
                "Mental health records are not shared.",
                "HIV test results and measurements are not shared.",
                "The purpose must be treatment.",
                "Only records from 2020 on are shared.",
                "This ends on 2026-01-01T00:00:00Z, or when you take it back.",
                "Substance use records come with the notice that United States law (42 CFR Part 2) asks for.",
            ]
        );
    }

    #[test]
    fn terms_without_a_permit_say_so() {
        assert_eq!(Terms::default().describe(), ["No record may be read.", "This holds until you take it back."]);
    }
}
