//! Deciding: the only place where a [`Permit`] is made.
//!
//! A permit for several resources, a document or a compartment is made only if every one of them is
//! permitted; nothing here hands out part of what was asked without saying which part.

use chartmesh_records::{Coding, Compartment, ResourceFacts, ResourceKey};

use crate::{
    answer::Outcomes,
    coverage::{self, Coverage},
    evaluate::{self, Reason, Verdict},
    label,
    matching::Subject,
    policy::{Action, Effect},
    terms::Terms,
};

/// Who asks for what reason, when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Whose records: the ledger's id.
    pub patient: String,
    /// Who asks: a party key or a literal FHIR reference.
    pub requester: String,
    /// What the requester is known to act for: literal references of organisations and groups.
    pub acts_for: Vec<String>,
    /// Purpose of use.
    pub purpose: Coding,
    /// What is to be done; reading is [`Action::Access`].
    pub action: Action,
    /// Who keeps the records asked for, if known: a literal reference.
    pub custodian: Option<String>,
    /// Now, in unix seconds.
    pub now: i64,
}

impl Request {
    /// A request to read.
    pub fn read(patient: impl Into<String>, requester: impl Into<String>, purpose: Coding, now: i64) -> Self {
        Self { patient: patient.into(), requester: requester.into(), acts_for: Vec::new(), purpose, action: Action::Access, custodian: None, now }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Everything that a compartment holds and will hold.
    Compartment(Compartment),
    /// One document, with all that it holds.
    Document {
        /// The document's id.
        id: &'a str,
        /// The compartment that it is sealed to.
        compartment: Compartment,
        /// What it holds.
        resources: &'a [ResourceFacts],
    },
    /// These resources.
    Resources(&'a [ResourceFacts]),
    /// The party's circle: where it is told what it is granted and how to open it.
    Circle,
}

/// What a permit is for.
#[derive(Debug, PartialEq, Eq)]
pub enum PermitScope {
    /// Everything that a compartment holds and will hold.
    Compartment(Compartment),
    /// One document.
    Document(String),
    /// These resources.
    Resources(Vec<ResourceKey>),
    /// The party's circle, and no record.
    Circle,
}

/// Proof that the patient's terms permit a disclosure. Made only by `decide*`; it cannot be copied,
/// and whatever releases keys or plaintext takes it by value.
///
/// ```compile_fail,E0308
/// fn copy(permit: &chartmesh_consent::Permit) -> chartmesh_consent::Permit {
///     permit.clone()
/// }
/// ```
#[derive(Debug)]
#[must_use = "a permit is consumed by what it permits"]
pub struct Permit {
    patient: String,
    requester: String,
    scope: PermitScope,
    purpose: Coding,
    action: Action,
    expires: Option<i64>,
    because: Vec<Reason>,
}

impl Permit {
    fn new(all: &[&Terms], request: &Request, scope: PermitScope, because: Vec<Reason>) -> Self {
        Self {
            patient: request.patient.clone(),
            requester: request.requester.clone(),
            scope,
            purpose: request.purpose.clone(),
            action: request.action,
            expires: evaluate::next_change(all, request.now),
            because,
        }
    }

    /// Whose records.
    pub fn patient(&self) -> &str {
        &self.patient
    }

    /// Who may have them.
    pub fn requester(&self) -> &str {
        &self.requester
    }

    /// What of them.
    pub fn scope(&self) -> &PermitScope {
        &self.scope
    }

    /// What for.
    pub fn purpose(&self) -> &Coding {
        &self.purpose
    }

    /// What may be done with them.
    pub fn action(&self) -> Action {
        self.action
    }

    /// First unix second at which it must be asked again: the next moment at which the terms could
    /// answer differently.
    pub fn expires(&self) -> Option<i64> {
        self.expires
    }

    /// The provisions that led here. Empty for a compartment, which no single one covers.
    pub fn because(&self) -> &[Reason] {
        &self.because
    }
}

/// A refusal, with the provisions that led to it; never without one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("denied: {}", because.iter().map(|reason| reason.words.as_str()).collect::<Vec<_>>().join("; "))]
pub struct Denied {
    /// Why.
    pub because: Vec<Reason>,
}

impl Denied {
    fn saying(words: impl Into<String>) -> Self {
        Self { because: vec![Reason { effect: Effect::Deny, provision: Vec::new(), words: words.into() }] }
    }
}

/// What was decided.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Yes.
    Permit(Permit),
    /// No.
    Denied(Denied),
}

/// Decides on one resource.
pub fn decide(terms: &Terms, request: &Request, facts: &ResourceFacts) -> Decision {
    decide_all(&[terms], request, facts)
}

/// Decides on one resource under several consents: default deny, deny overrides permit.
pub fn decide_all(all: &[&Terms], request: &Request, facts: &ResourceFacts) -> Decision {
    match decide_scope_all(all, request, Scope::Resources(std::slice::from_ref(facts))) {
        Ok(permit) => Decision::Permit(permit),
        Err(denied) => Decision::Denied(denied),
    }
}

/// Decides on a compartment, a document or some resources as a whole, or on the circle: that is for
/// whoever is given anything by terms that have not ended.
///
/// # Errors
/// [`Denied`] unless all of it is permitted. An empty scope is denied.
pub fn decide_scope(terms: &Terms, request: &Request, scope: Scope<'_>) -> Result<Permit, Denied> {
    decide_scope_all(&[terms], request, scope)
}

/// As [`decide_scope`], under several consents: default deny, deny overrides permit.
///
/// # Errors
/// [`Denied`] unless all of it is permitted. An empty scope is denied.
pub fn decide_scope_all(all: &[&Terms], request: &Request, scope: Scope<'_>) -> Result<Permit, Denied> {
    match scope {
        Scope::Compartment(compartment) => match coverage::of(all, Some(request), compartment) {
            Coverage::Whole => Ok(Permit::new(all, request, PermitScope::Compartment(compartment), Vec::new())),
            Coverage::Partial => Err(Denied::saying(format!("only part of {compartment} is shared"))),
            Coverage::None => Err(Denied::saying(format!("nothing of {compartment} is shared"))),
        },
        Scope::Document { compartment: Compartment::Inbox, .. } => Err(Denied::saying("the inbox is for the patient alone")),
        Scope::Document { id, compartment, resources } => {
            let because = every(weigh_document(all, request, compartment, resources))?;
            Ok(Permit::new(all, request, PermitScope::Document(id.to_owned()), because))
        }
        Scope::Resources(resources) => {
            let because = every(resources.iter().map(|facts| evaluate::weigh(all, Some(request), Subject::Resource(facts))))?;
            Ok(Permit::new(all, request, PermitScope::Resources(resources.iter().map(ResourceFacts::key).collect()), because))
        }
        Scope::Circle => {
            let gives = |terms: &&Terms| {
                let shares = |compartment| coverage::of(&[*terms], Some(request), compartment) != Coverage::None;
                terms.expires.is_none_or(|end| request.now < end) && (terms.write || terms.custodian || Compartment::all().any(shares))
            };
            let given = all.iter().any(gives);
            if given { Ok(Permit::new(all, request, PermitScope::Circle, Vec::new())) } else { Err(Denied::saying("these terms give nothing, or have ended")) }
        }
    }
}

/// The part of some resources that is permitted.
#[derive(Debug)]
pub struct Selection {
    /// Positions of the permitted resources, ascending.
    pub permitted: Vec<usize>,
    /// A permit for exactly those; none if there are none.
    pub permit: Option<Permit>,
    /// Positions of the others, ascending, each with why.
    pub denied: Vec<(usize, Denied)>,
}

/// Decides on each resource of a document that is only partly covered.
pub fn select(terms: &Terms, request: &Request, compartment: Compartment, resources: &[ResourceFacts]) -> Selection {
    let all = &[terms];
    let mut selection = Selection { permitted: Vec::new(), permit: None, denied: Vec::new() };
    if compartment == Compartment::Inbox {
        selection.denied = (0..resources.len()).map(|index| (index, Denied::saying("the inbox is for the patient alone"))).collect();
        return selection;
    }
    let mut because = Vec::new();
    for (index, verdict) in weigh_document(all, request, compartment, resources).into_iter().enumerate() {
        if verdict.permits() {
            selection.permitted.push(index);
            add(&mut because, verdict.because);
        } else {
            selection.denied.push((index, Denied { because: verdict.because }));
        }
    }
    if !selection.permitted.is_empty() {
        let keys = selection.permitted.iter().filter_map(|index| resources.get(*index)).map(ResourceFacts::key).collect();
        selection.permit = Some(Permit::new(all, request, PermitScope::Resources(keys), because));
    }
    selection
}

/// The reasons of verdicts that all permit, or those of the ones that do not.
fn every(verdicts: impl IntoIterator<Item = Verdict>) -> Result<Vec<Reason>, Denied> {
    let (mut granted, mut refused, mut any) = (Vec::new(), Vec::new(), false);
    for verdict in verdicts {
        any = true;
        add(if verdict.permits() { &mut granted } else { &mut refused }, verdict.because);
    }
    if !any {
        return Err(Denied::saying("there is nothing to share"));
    }
    if refused.is_empty() { Ok(granted) } else { Err(Denied { because: refused }) }
}

fn add(reasons: &mut Vec<Reason>, more: Vec<Reason>) {
    for reason in more {
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
}

/// Decides on each resource of one document. Practitioners, organisations, locations and medications
/// travel as copies with the resources that point to them: such a copy is shown with a permitted
/// companion unless something denies it, as if it were of the companion's compartment and date. One
/// that is more sensitive than its companion stands for itself.
fn weigh_document(all: &[&Terms], request: &Request, compartment: Compartment, resources: &[ResourceFacts]) -> Vec<Verdict> {
    let weigh = |facts: &ResourceFacts| evaluate::weigh(all, Some(request), Subject::Resource(facts));
    let travels = |facts: &ResourceFacts| {
        matches!(facts.resource_type.as_str(), "Practitioner" | "PractitionerRole" | "Organization" | "Location" | "Medication")
            && facts.compartment() != compartment
    };
    let own: Vec<Option<Verdict>> = resources.iter().map(|facts| (!travels(facts)).then(|| weigh(facts))).collect();
    let hosts: Vec<&ResourceFacts> =
        own.iter().zip(resources).filter(|(verdict, _)| verdict.as_ref().is_some_and(Verdict::permits)).map(|(_, facts)| facts).collect();
    own.into_iter().zip(resources).map(|(verdict, facts)| verdict.unwrap_or_else(|| weigh_companion(&weigh, facts, &hosts))).collect()
}

fn weigh_companion(weigh: &impl Fn(&ResourceFacts) -> Verdict, facts: &ResourceFacts, hosts: &[&ResourceFacts]) -> Verdict {
    let mut last = None;
    for host in hosts {
        if facts.sensitivity() > host.sensitivity() || label::highest(facts) > label::highest(host) {
            continue;
        }
        let mut guest = facts.clone();
        guest.category = host.category;
        guest.sensitivities.clone_from(&host.sensitivities);
        guest.security.extend(host.security.iter().cloned());
        guest.labels.extend(host.labels.iter().cloned());
        guest.date.clone_from(&host.date);
        guest.encounter = guest.encounter.or_else(|| host.encounter.clone());
        guest.subject = guest.subject.or_else(|| host.subject.clone());
        if guest.authors.is_empty() {
            guest.authors.clone_from(&host.authors);
        }
        let verdict = weigh(&guest);
        if verdict.outcomes == Outcomes::PERMIT {
            return verdict;
        }
        if verdict.outcomes == Outcomes::NONE {
            let words = format!("it travels with {}/{}, which is shared", host.resource_type, host.id);
            return Verdict { outcomes: Outcomes::PERMIT, because: vec![Reason { effect: Effect::Permit, provision: Vec::new(), words }] };
        }
        last = Some(verdict);
    }
    last.unwrap_or_else(|| weigh(facts))
}
