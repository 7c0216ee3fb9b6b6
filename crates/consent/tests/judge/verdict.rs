//! What rules come to: for one record, and for the records of a document.

use chartmesh_consent::Request;
use chartmesh_records::{Compartment, ResourceFacts};

use crate::{
    codes::{CONFIDENTIALITY, LEVELS, rank},
    fields::{holds, most_restrictive, without_action},
    reading::{Field, Rule},
};

/// What a Consent says of one request for one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    Permit,
    Deny,
    Nothing,
}

fn speaks(rule: &Rule, request: &Request, record: &ResourceFacts) -> bool {
    let states_action = rule.limits().any(|(limit, _)| limit.field == Field::Action);
    (states_action || without_action(rule.permits, request)) && rule.limits().all(|(limit, wary)| holds(limit, wary, request, record))
}

/// One Consent. A rule is heard unless an exception to it speaks; of those that are heard, a deny overrides.
pub(crate) fn one(rules: &[Rule], request: &Request, record: &ResourceFacts) -> Says {
    let mut silenced = vec![false; rules.len()];
    let mut says = Says::Nothing;
    // Exceptions come after what they are exceptions to.
    for (index, rule) in rules.iter().enumerate().rev() {
        let speaks = speaks(rule, request, record);
        if speaks && !silenced[index] {
            says = if rule.permits && says != Says::Deny { Says::Permit } else { Says::Deny };
        }
        if let Some(outer) = rule.exception_to {
            silenced[outer] |= speaks || silenced[index];
        }
    }
    says
}

/// Several Consents: a deny overrides, and silence is none.
pub(crate) fn all(consents: &[&[Rule]], request: &Request, record: &ResourceFacts) -> Says {
    let said: Vec<Says> = consents.iter().map(|rules| one(rules, request, record)).collect();
    [Says::Deny, Says::Permit].into_iter().find(|wanted| said.contains(wanted)).unwrap_or(Says::Nothing)
}

/// Which records of a document are shown. People, places and medicines travel as copies with what points to them: such a copy is
/// shown with a record that is shown unless, taken as a part of that record, it is denied. More sensitive ones stand for themselves.
pub(crate) fn document(rules: &[Rule], request: &Request, compartment: Compartment, records: &[ResourceFacts]) -> Vec<usize> {
    let travels = |record: &ResourceFacts| {
        let supports = ["Practitioner", "PractitionerRole", "Organization", "Location", "Medication"].contains(&record.resource_type.as_str());
        supports && record.compartment() != compartment
    };
    let shown = |record: &ResourceFacts| one(rules, request, record) == Says::Permit;
    let hosts: Vec<&ResourceFacts> = records.iter().filter(|record| !travels(record) && shown(record)).collect();
    let with = |record: &ResourceFacts| {
        let fitting: Vec<&&ResourceFacts> = hosts.iter().filter(|host| !is_more_sensitive(record, host)).collect();
        fitting.iter().any(|host| one(rules, request, &as_part_of(record, host)) != Says::Deny) || (fitting.is_empty() && shown(record))
    };
    (0..records.len()).filter(|index| if travels(&records[*index]) { with(&records[*index]) } else { shown(&records[*index]) }).collect()
}

fn is_more_sensitive(record: &ResourceFacts, host: &ResourceFacts) -> bool {
    let level = |record: &ResourceFacts| {
        let labels = record.labels.iter().chain(&record.security).filter(|label| label.system == CONFIDENTIALITY);
        labels.filter_map(|label| LEVELS.find(&label.code)).max()
    };
    rank(most_restrictive(record)) > rank(most_restrictive(host)) || level(record) > level(host)
}

fn as_part_of(record: &ResourceFacts, host: &ResourceFacts) -> ResourceFacts {
    ResourceFacts {
        category: host.category,
        sensitivities: host.sensitivities.clone(),
        security: [record.security.clone(), host.security.clone()].concat(),
        labels: [record.labels.clone(), host.labels.clone()].concat(),
        date: host.date.clone(),
        encounter: record.encounter.clone().or(host.encounter.clone()),
        subject: record.subject.clone().or(host.subject.clone()),
        authors: if record.authors.is_empty() { host.authors.clone() } else { record.authors.clone() },
        ..record.clone()
    }
}
