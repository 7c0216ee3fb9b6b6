//! Whether one field of a provision matches: against one resource, or against every resource that a
//! compartment could hold.

use chartmesh_records::{Category, Coding, ResourceFacts, Sensitivity};

use crate::{
    answer::Answers,
    decide::Request,
    label,
    policy::{Action, Class, DataPeriod, DataReference, Effect, Label, Meaning, Period},
    purpose, when,
};

/// What is decided on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// One resource.
    Resource(&'a ResourceFacts),
    /// Any resource, present or future, of a compartment.
    Any {
        /// The most restrictive sensitivity of each.
        sensitivity: Sensitivity,
        /// The category of each.
        category: Category,
        /// A further sensitivity that each carries.
        carrying: Option<Sensitivity>,
    },
}

impl Subject<'_> {
    pub(crate) fn sensitivity(self) -> Sensitivity {
        match self {
            Self::Resource(facts) => facts.sensitivity(),
            Self::Any { sensitivity, .. } => sensitivity,
        }
    }

    pub(crate) fn category(self) -> Category {
        match self {
            Self::Resource(facts) => facts.category,
            Self::Any { category, .. } => category,
        }
    }
}

fn any_of<T>(values: &[T], matches: impl FnMut(&T) -> Answers) -> Answers {
    values.iter().map(matches).fold(Answers::NO, Answers::or)
}

/// When the provision holds. Without a request any moment is possible.
pub(crate) fn period(period: &Period, request: Option<&Request>) -> Answers {
    request.map_or(Answers::YES_OR_NO, |request| {
        Answers::of(period.start.is_none_or(|start| start <= request.now) && period.end.is_none_or(|end| request.now < end))
    })
}

/// Of when the data is.
pub(crate) fn data_period(period: &DataPeriod, subject: Subject<'_>) -> Answers {
    match subject {
        Subject::Resource(facts) => when::within(facts.date.as_deref(), period),
        Subject::Any { .. } => Answers::ANY,
    }
}

/// Purposes of use. A request for any purpose at all leaves a doubt about each single one.
pub(crate) fn purposes(purposes: &[Coding], request: Option<&Request>) -> Answers {
    request.map_or(Answers::ANY, |request| {
        any_of(purposes, |allowed| {
            if purpose::covers(allowed, &request.purpose) {
                Answers::YES
            } else if purpose::covers(&request.purpose, allowed) && purpose::is_any(&request.purpose) {
                Answers::DOUBT
            } else {
                Answers::NO
            }
        })
    })
}

/// What is asked to be done. To read is to have it disclosed, so denying `disclose` denies access.
pub(crate) fn actions(actions: &[Action], lens: Effect, request: Option<&Request>) -> Answers {
    let asked = request.map_or(Action::Access, |request| request.action);
    Answers::of(actions.contains(&asked) || (lens == Effect::Deny && asked == Action::Access && actions.contains(&Action::Disclose)))
}

/// Who asks. A reference of a form by which the requester is not known leaves a doubt: a
/// practitioner may or may not belong to the organisation that is named, or have the OID.
pub(crate) fn recipients(recipients: &[String], request: Option<&Request>) -> Answers {
    let Some(request) = request else {
        return Answers::ANY;
    };
    let known = || std::iter::once(&request.requester).chain(&request.acts_for);
    any_of(recipients, |named| {
        let found = known().map(|own| same(own, named)).fold(Answers::NO, Answers::or);
        let form = form(named);
        if found.is_no() && (form.is_none() || !known().any(|own| self::form(own) == form)) { Answers::DOUBT } else { found }
    })
}

/// Who keeps the data.
pub(crate) fn custodians(custodians: &[String], subject: Subject<'_>, request: Option<&Request>) -> Answers {
    let Subject::Resource(facts) = subject else {
        return Answers::ANY;
    };
    let by_author = any_of(custodians, |named| facts.authors.iter().map(|author| found(author, named)).fold(Answers::NO, Answers::or));
    match request.and_then(|request| request.custodian.as_deref()) {
        Some(keeper) => by_author.or(any_of(custodians, |named| found(keeper, named))),
        None => by_author.or(Answers::DOUBT),
    }
}

/// Who authored the data; without a known author, or with one written in another way, a doubt.
pub(crate) fn authors(authors: &[String], subject: Subject<'_>) -> Answers {
    let Subject::Resource(facts) = subject else {
        return Answers::ANY;
    };
    if facts.authors.is_empty() {
        return Answers::DOUBT;
    }
    any_of(authors, |named| facts.authors.iter().map(|author| found(author, named)).fold(Answers::NO, Answers::or))
}

/// Security labels; see [`Label`].
pub(crate) fn labels(labels: &[Label], lens: Effect, subject: Subject<'_>) -> Answers {
    any_of(labels, |label| match (label, subject) {
        (Label::Sensitivity(wanted), Subject::Resource(facts)) => Answers::of(match lens {
            Effect::Deny if *wanted != Sensitivity::General => facts.sensitivities.contains(wanted),
            Effect::Permit | Effect::Deny => facts.sensitivity() == *wanted,
        }),
        (Label::Sensitivity(wanted), Subject::Any { sensitivity, carrying, .. }) => {
            if *wanted == sensitivity {
                Answers::YES
            } else if lens == Effect::Permit || *wanted == Sensitivity::General || *wanted > sensitivity {
                Answers::NO
            } else if carrying == Some(*wanted) {
                Answers::YES
            } else {
                Answers::YES_OR_NO
            }
        }
        (Label::Code(code), Subject::Resource(facts)) => code_label(code, lens, facts),
        (Label::Code(code), Subject::Any { sensitivity, .. }) => {
            if lens == Effect::Permit && label::level(code).is_none() && !label::groups(code).contains(&sensitivity) { Answers::NO } else { Answers::ANY }
        }
    })
}

fn code_label(code: &Coding, lens: Effect, facts: &ResourceFacts) -> Answers {
    match (label::level(code), lens) {
        (Some(mark), _) => label::highest(facts).map_or(Answers::DOUBT, |level| {
            Answers::of(match lens {
                Effect::Permit => level <= mark,
                Effect::Deny => level >= mark,
            })
        }),
        (None, Effect::Permit) => Answers::of(label::permit_reaches(code, facts)),
        (None, Effect::Deny) => Answers::of(label::deny_reaches(code, facts)),
    }
}

/// Kinds of record.
pub(crate) fn classes(classes: &[Class], subject: Subject<'_>) -> Answers {
    any_of(classes, |class| match (class, subject) {
        (Class::Category(wanted), _) => Answers::of(subject.category() == *wanted),
        (Class::Type(wanted), Subject::Resource(facts)) => Answers::of(facts.resource_type == *wanted),
        (Class::Type(_), Subject::Any { .. }) => Answers::YES_OR_NO,
    })
}

/// Codes found in the data. A code without a system on either side is a doubt.
pub(crate) fn codes(codes: &[Coding], subject: Subject<'_>) -> Answers {
    let Subject::Resource(facts) = subject else {
        return Answers::ANY;
    };
    any_of(codes, |wanted| {
        any_of(&facts.codes, |found| {
            if found == wanted {
                Answers::YES
            } else if found.code == wanted.code && (found.system.is_empty() || wanted.system.is_empty()) {
                Answers::DOUBT
            } else {
                Answers::NO
            }
        })
    })
}

/// Single resources and what belongs to them.
pub(crate) fn data(data: &[DataReference], subject: Subject<'_>) -> Answers {
    let Subject::Resource(facts) = subject else {
        return Answers::ANY;
    };
    any_of(data, |wanted| {
        let itself = instance(&wanted.reference, facts);
        match wanted.meaning {
            Meaning::Instance => itself,
            Meaning::AuthoredBy => authors(std::slice::from_ref(&wanted.reference), subject),
            Meaning::Related | Meaning::Dependents => itself.or(related(&wanted.reference, facts)),
        }
    })
}

fn related(reference: &str, facts: &ResourceFacts) -> Answers {
    let links = facts.encounter.iter().chain(&facts.subject).chain(&facts.authors);
    let known = links.map(|link| found(link, reference)).fold(Answers::NO, Answers::or);
    let all_links_known = type_of(reference) == Some("Encounter");
    if all_links_known { known } else { known.or(Answers::DOUBT) }
}

fn instance(reference: &str, facts: &ResourceFacts) -> Answers {
    if let Some(uuid) = reference.strip_prefix("urn:uuid:") {
        return Answers::of(facts.id.eq_ignore_ascii_case(uuid));
    }
    let (resource, version) = versioned(reference);
    let Some((base, kind, id)) = split(resource) else {
        return Answers::NO;
    };
    if kind != facts.resource_type || id != facts.id {
        return Answers::NO;
    }
    let from_there = base.is_none_or(|base| facts.source.as_deref().is_some_and(|source| source.trim_end_matches('/') == base));
    // A permit for one version is for no other; a deny of one is of all.
    let that_version = version.is_none_or(|version| facts.version.as_deref() == Some(version));
    if from_there && that_version { Answers::YES } else { Answers::DOUBT }
}

/// Whether what a record names is what a provision names. Two references of the form `Type/id` tell that they are not the same, and so does a
/// search for another type.
fn found(own: &str, named: &str) -> Answers {
    match (type_of(own), type_of(named)) {
        _ if own == named => same(own, named),
        (Some(_), Some(_)) => same(own, named),
        (None, Some(named)) if searched(own).is_some_and(|kind| kind != named) => Answers::NO,
        _ => Answers::DOUBT,
    }
}

/// Whether two literal references name the same thing. One relative and one absolute that end alike
/// are a doubt, and so is a `urn:uuid:` beside anything else.
fn same(left: &str, right: &str) -> Answers {
    let (left, right) = (unversioned(left), unversioned(right));
    if left == right {
        return Answers::YES;
    }
    match (split(left), split(right)) {
        (Some((left_base, left_kind, left_id)), Some((right_base, right_kind, right_id))) if left_base.is_none() != right_base.is_none() => {
            if (left_kind, left_id) == (right_kind, right_id) { Answers::DOUBT } else { Answers::NO }
        }
        (Some(_), Some(_)) => Answers::NO,
        _ if left.starts_with("urn:uuid:") != right.starts_with("urn:uuid:") => Answers::DOUBT,
        _ => Answers::NO,
    }
}

/// Whether a provision may name a resource so: only these forms can be compared with what is known of one.
pub(crate) fn names_resource(reference: &str) -> bool {
    reference.starts_with("urn:uuid:") || type_of(reference).is_some()
}

/// What makes references comparable: two of one form that are not equal name different things. None for what is relative to where it
/// stands (`#id`), for a search, and for other URLs.
fn form(reference: &str) -> Option<&str> {
    if reference.starts_with('#') || reference.contains('?') {
        None
    } else if reference.starts_with("urn:") {
        reference.rsplit_once(':').map(|(scheme, _)| scheme)
    } else if reference.contains(['/', ':']) {
        type_of(reference)
    } else {
        // A name.
        Some("")
    }
}

fn versioned(reference: &str) -> (&str, Option<&str>) {
    reference.split_once("/_history/").map_or((reference, None), |(resource, version)| (resource, Some(version)))
}

fn unversioned(reference: &str) -> &str {
    versioned(reference).0
}

/// The type that a reference names, if it is of the form `Type/id`.
fn type_of(reference: &str) -> Option<&str> {
    split(unversioned(reference)).map(|(_, kind, _)| kind)
}

/// The type that a conditional reference `Type?search` looks for (<https://hl7.org/fhir/R4/http.html#trules>).
fn searched(reference: &str) -> Option<&str> {
    let (target, _) = reference.split_once('?')?;
    Some(target.rsplit_once('/').map_or(target, |(_, kind)| kind)).filter(|kind| is_type(kind))
}

fn is_type(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Base, type and id of a reference `Type/id` or `base/Type/id`.
fn split(reference: &str) -> Option<(Option<&str>, &str, &str)> {
    let (front, id) = reference.rsplit_once('/')?;
    let (base, kind) = match front.rsplit_once('/') {
        Some((base, kind)) => (Some(base), kind),
        None => (None, front),
    };
    (is_type(kind) && !id.is_empty() && !id.contains('?')).then_some((base, kind, id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{facts, request};

    #[test]
    fn references_are_the_same_only_where_that_is_certain() {
        assert!(same("Patient/1", "Patient/1/_history/2").is_yes());
        assert!(same("Patient/1", "Patient/2").is_no());
        assert_eq!(same("Patient/1", "https://a.example/fhir/Patient/1"), Answers::DOUBT);
        assert!(same("https://a.example/Patient/1", "https://b.example/Patient/1").is_no());
        assert_eq!(same("urn:uuid:00000000-0000-4000-8000-000000000000", "Patient/1"), Answers::DOUBT);
    }

    #[test]
    fn an_unknown_membership_is_a_doubt() {
        let organisation = ["Organization/f001".to_owned()];
        let mut asks = request("Practitioner/13");
        assert_eq!(recipients(&organisation, Some(&asks)), Answers::DOUBT);
        asks.acts_for = vec!["Organization/f002".to_owned()];
        assert!(recipients(&organisation, Some(&asks)).is_no());
        asks.acts_for.push("Organization/f001".to_owned());
        assert!(recipients(&organisation, Some(&asks)).is_yes());
    }

    #[test]
    fn an_author_written_in_another_way_is_a_doubt() {
        let mut resource = facts("Observation", "1");
        let named = ["Practitioner/1".to_owned()];
        resource.authors.clear();
        assert_eq!(authors(&named, Subject::Resource(&resource)), Answers::DOUBT);
        resource.authors = vec!["Practitioner?identifier=x|9".to_owned()];
        assert_eq!(authors(&named, Subject::Resource(&resource)), Answers::DOUBT);
        resource.authors = vec!["https://a.example/fhir/Organization?identifier=x|9".to_owned()];
        assert!(authors(&named, Subject::Resource(&resource)).is_no(), "what that finds is no practitioner");
        resource.authors = vec!["Practitioner/2".to_owned()];
        assert!(authors(&named, Subject::Resource(&resource)).is_no());
        assert_eq!(authors(&["urn:oid:1.2.3".to_owned()], Subject::Resource(&resource)), Answers::DOUBT);
    }

    #[test]
    fn an_unresolved_link_is_a_doubt() {
        let mut resource = facts("Observation", "1");
        let encounter = [DataReference { meaning: Meaning::Related, reference: "Encounter/1".to_owned() }];
        assert!(data(&encounter, Subject::Resource(&resource)).is_no());
        resource.encounter = Some("Encounter?identifier=x|9".to_owned());
        assert_eq!(data(&encounter, Subject::Resource(&resource)), Answers::DOUBT);
        resource.authors = vec!["Organization?identifier=x|9".to_owned()];
        let asks = Request { custodian: Some("Organization/2".to_owned()), ..request("party-a") };
        assert_eq!(custodians(&["Organization/1".to_owned()], Subject::Resource(&resource), Some(&asks)), Answers::DOUBT);
    }

    #[test]
    fn a_requester_who_is_not_known_by_such_a_name_may_have_it() {
        let asks = request("urn:chartmesh:party:1");
        let one = |named: &str| recipients(&[named.to_owned()], Some(&asks));
        assert!(one("urn:chartmesh:party:1").is_yes());
        assert!(one("urn:chartmesh:party:2").is_no());
        for named in ["urn:oid:1.2.3", "https://a.example/people", "Practitioner?identifier=x|9", "Dr Lee"] {
            assert_eq!(one(named), Answers::DOUBT, "{named}");
        }
    }

    #[test]
    fn one_version_is_not_another() {
        let mut resource = facts("Observation", "1");
        assert_eq!(instance("Observation/1/_history/2", &resource), Answers::DOUBT);
        resource.version = Some("2".to_owned());
        assert!(instance("Observation/1/_history/2", &resource).is_yes());
        assert_eq!(instance("Observation/1/_history/3", &resource), Answers::DOUBT);
        assert!(instance("Observation/2/_history/2", &resource).is_no());
    }

    #[test]
    fn an_absolute_reference_needs_the_same_source() {
        let mut resource = facts("Observation", "1");
        assert_eq!(instance("https://a.example/fhir/Observation/1", &resource), Answers::DOUBT);
        resource.source = Some("https://a.example/fhir".to_owned());
        assert!(instance("https://a.example/fhir/Observation/1", &resource).is_yes());
        assert!(instance("Observation/1", &resource).is_yes());
        assert!(instance("Observation/2", &resource).is_no());
    }
}
