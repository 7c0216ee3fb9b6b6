//! Terms as a FHIR R4 Consent, in the shape of IHE Privacy Consent on FHIR.
//!
//! FHIR has one root provision. Terms with one permit become a permit root with the denies as its
//! exceptions; permits that differ in one field only are joined first, since values are ORed. Any
//! other terms become a root that denies the grantee everything, with all provisions as exceptions.
//! The right to add records and the task of keeping them sealed are provisions of their own.

use chartmesh_fhir::author::{self, ActorSpec, AuthorError, Code, ConsentSpec, ConsentStatus, DataMeaning, DataSpec, ProvisionSpec, ProvisionType, Ref, Span};
use chartmesh_records::Coding;

use crate::{
    grant::{READS, WRITES},
    label,
    policy::{Action, CATEGORY_SYSTEM, Class, DataPeriod, Effect, Label, Meaning, Period, Provision, SENSITIVITY_SYSTEM},
    purpose,
    terms::Terms,
    when,
};

/// Code system of actor roles.
pub(crate) const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
/// Code system of resource types.
pub(crate) const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";

/// State of a written Consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentState {
    /// To be followed.
    Active,
    /// Taken back or run out.
    Inactive,
}

/// What a Consent says beside the terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentMeta {
    /// Literal reference to the patient.
    pub patient: String,
    /// Who the grant is to: a literal reference or a party key.
    pub grantee: String,
    /// The grantee's name.
    pub grantee_name: Option<String>,
    /// The grant's id, written as an identifier of system `urn:ietf:rfc:3986`; a URI.
    pub grant: String,
    /// When the grant was made: FHIR dateTime.
    pub date: String,
    /// Whether it holds.
    pub state: ConsentState,
}

/// Why terms could not be written as a Consent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsentWriteError {
    /// The terms say something that FHIR has no place for.
    #[error("these terms cannot be written as a FHIR Consent: {what}")]
    Unrepresentable {
        /// What it is.
        what: &'static str,
    },
    /// The resource could not be built.
    #[error(transparent)]
    Author(#[from] AuthorError),
}

/// Writes terms as a FHIR R4 Consent. [`crate::from_fhir`] and [`crate::Imported::grant_to`] make it a grant
/// that decides the same for the grantee.
///
/// # Errors
/// Malformed dates, a missing patient, or terms that FHIR has no place for.
pub fn to_fhir(terms: &Terms, meta: &ConsentMeta) -> Result<Vec<u8>, ConsentWriteError> {
    let rules = merged(within_envelope(terms)?);
    let root = root(rules, meta)?;
    let spec = ConsentSpec {
        profiles: vec!["https://profiles.ihe.net/ITI/PCF/StructureDefinition/IHE.PCF.consentAdvanced".to_owned()],
        identifiers: vec![("urn:ietf:rfc:3986".to_owned(), meta.grant.clone())],
        status: match meta.state {
            ConsentState::Active => ConsentStatus::Active,
            ConsentState::Inactive => ConsentStatus::Inactive,
        },
        patient: Ref::literal(&meta.patient),
        date_time: Some(meta.date.clone()),
        performers: vec![Ref::literal(&meta.patient)],
        policies: terms.laws.iter().map(|law| law.uri().to_owned()).collect(),
        policy_rule: Some(Code::new(label::ACT_CODE, "OPTOUT", "opt-out")),
        provision: Some(root),
        ..ConsentSpec::default()
    };
    Ok(author::consent(&spec)?)
}

/// The provisions with the envelope written into every permit.
fn within_envelope(terms: &Terms) -> Result<Vec<Provision>, ConsentWriteError> {
    let purposes = terms.purposes();
    let envelope =
        Envelope { purposes: if purposes.iter().any(purpose::is_any) { Vec::new() } else { purposes }, dates: terms.data_period(), expires: terms.expires };
    let mut rules = terms.provisions.iter().map(|rule| envelope.apply(rule, None)).collect::<Result<Vec<_>, _>>()?;
    if terms.write || terms.custodian {
        // What is kept from being read may still be added or kept sealed.
        for rule in rules.iter_mut().filter(|rule| rule.effect == Effect::Deny && rule.actions.is_empty()) {
            rule.actions = READS.to_vec();
        }
    }
    for actions in [terms.write.then(|| WRITES.to_vec()), terms.custodian.then(|| vec![Action::KeepSealed])].into_iter().flatten() {
        let period = terms.expires.map(|end| Period { start: None, end: Some(end) });
        rules.push(Provision { actions, period, purposes: envelope.purposes.clone(), ..Provision::everything(Effect::Permit) });
    }
    Ok(rules)
}

struct Envelope {
    purposes: Vec<Coding>,
    dates: Option<DataPeriod>,
    expires: Option<i64>,
}

/// What a permit takes from the provision it sits in, where it says nothing itself.
#[derive(Clone, Default)]
struct Inherited {
    period: Option<Period>,
    data_period: Option<DataPeriod>,
    purposes: Vec<Coding>,
    actions: Vec<Action>,
}

impl Envelope {
    fn apply(&self, rule: &Provision, outer: Option<&Inherited>) -> Result<Provision, ConsentWriteError> {
        let mut rule = rule.clone();
        let outer = outer.cloned().unwrap_or_default();
        let in_force = Inherited {
            period: rule.period.or(outer.period),
            data_period: rule.data_period.clone().or(outer.data_period),
            purposes: if rule.purposes.is_empty() { outer.purposes } else { rule.purposes.clone() },
            actions: if rule.actions.is_empty() { outer.actions } else { rule.actions.clone() },
        };
        if rule.effect == Effect::Permit {
            self.limit(&mut rule, &in_force)?;
        }
        rule.exceptions = rule.exceptions.iter().map(|inner| self.apply(inner, Some(&in_force))).collect::<Result<_, _>>()?;
        Ok(rule)
    }

    fn limit(&self, rule: &mut Provision, in_force: &Inherited) -> Result<(), ConsentWriteError> {
        if let Some(expires) = self.expires {
            let own = in_force.period.unwrap_or_default();
            rule.period = Some(Period { start: own.start, end: Some(own.end.map_or(expires, |end| end.min(expires))) });
        }
        if let Some(dates) = &self.dates {
            if in_force.data_period.as_ref().is_some_and(|own| own != dates) {
                return Err(ConsentWriteError::Unrepresentable { what: "dates of the records both as a whole and in a provision" });
            }
            rule.data_period = Some(dates.clone());
        }
        if !self.purposes.is_empty() {
            rule.purposes = both(&self.purposes, &in_force.purposes);
            if rule.purposes.is_empty() {
                return Err(ConsentWriteError::Unrepresentable { what: "a provision for a purpose that the terms as a whole do not cover" });
            }
        }
        if in_force.actions.is_empty() {
            rule.actions = READS.to_vec();
        }
        Ok(())
    }
}

/// Purposes that both lists cover; an empty second list covers all.
fn both(envelope: &[Coding], own: &[Coding]) -> Vec<Coding> {
    if own.is_empty() {
        return envelope.to_vec();
    }
    let covered = |by: &[Coding], asked: &Coding| by.iter().any(|allowed| purpose::covers(allowed, asked));
    let mut all: Vec<Coding> = own.iter().filter(|one| covered(envelope, one)).chain(envelope.iter().filter(|one| covered(own, one))).cloned().collect();
    all.sort();
    all.dedup();
    all
}

/// Joins the plain permits of a list that differ in one field only.
fn merged(rules: Vec<Provision>) -> Vec<Provision> {
    let mut all: Vec<Provision> = Vec::new();
    for rule in rules {
        let joined = all.iter_mut().any(|known| join(known, &rule));
        if !joined {
            all.push(rule);
        }
    }
    all
}

fn join(known: &mut Provision, rule: &Provision) -> bool {
    if known.effect != rule.effect || !known.exceptions.is_empty() || !rule.exceptions.is_empty() {
        return false;
    }
    let (mut a, mut b) = (known.clone(), rule.clone());
    macro_rules! differ_only_in {
        ($field:ident) => {
            if !a.$field.is_empty() && !b.$field.is_empty() {
                let (left, right) = (std::mem::take(&mut a.$field), std::mem::take(&mut b.$field));
                if a == b {
                    known.$field.extend(right.into_iter().filter(|value| !left.contains(value)));
                    return true;
                }
                a.$field = left;
                b.$field = right;
            }
        };
    }
    differ_only_in!(labels);
    differ_only_in!(classes);
    differ_only_in!(codes);
    differ_only_in!(data);
    false
}

fn root(mut rules: Vec<Provision>, meta: &ConsentMeta) -> Result<ProvisionSpec, ConsentWriteError> {
    let permits: Vec<usize> = rules.iter().enumerate().filter(|(_, rule)| rule.effect == Effect::Permit).map(|(index, _)| index).collect();
    let mut root = match permits[..] {
        // Exceptions of the root inherit its fields, which is right for denies beside a permit only
        // if nothing but the permit itself is permitted.
        [only] if rules.len() == 1 || rules.iter().all(|rule| !has_permit(&rule.exceptions)) => {
            let mut root = rules.remove(only);
            root.exceptions.append(&mut rules);
            root
        }
        _ => Provision { exceptions: rules, ..Provision::everything(Effect::Deny) },
    };
    if root.recipients.is_empty() {
        root.recipients = vec![meta.grantee.clone()];
    }
    let mut spec = provision(&root)?;
    for actor in &mut spec.actors {
        if actor.reference.reference.as_deref() == Some(&meta.grantee) {
            actor.reference.display.clone_from(&meta.grantee_name);
        }
    }
    Ok(spec)
}

fn has_permit(all: &[Provision]) -> bool {
    all.iter().any(|rule| rule.effect == Effect::Permit || has_permit(&rule.exceptions))
}

fn provision(rule: &Provision) -> Result<ProvisionSpec, ConsentWriteError> {
    let actors = |all: &[String], role: &str| {
        all.iter().map(|who| ActorSpec { role: Code::new(PARTICIPATION, role, ""), reference: Ref::literal(who) }).collect::<Vec<_>>()
    };
    let roles = [(&rule.recipients, "IRCP"), (&rule.authors, "AUT"), (&rule.custodians, "CST")];
    if rule.effect == Effect::Deny && roles.iter().filter(|(all, _)| !all.is_empty()).count() > 1 {
        return Err(ConsentWriteError::Unrepresentable { what: "a deny of several roles at once" });
    }
    if rule.period.is_some_and(|period| period == Period::default()) || rule.data_period.as_ref().is_some_and(|dates| *dates == DataPeriod::default()) {
        return Err(ConsentWriteError::Unrepresentable { what: "a period with neither start nor end" });
    }
    let code = |coding: &Coding| Code::new(&coding.system, &coding.code, "");
    Ok(ProvisionSpec {
        kind: Some(match rule.effect {
            Effect::Permit => ProvisionType::Permit,
            Effect::Deny => ProvisionType::Deny,
        }),
        period: rule.period.as_ref().map(period).transpose()?,
        data_period: rule.data_period.as_ref().map(|dates| Span { start: dates.start.clone(), end: dates.end.clone() }),
        actors: roles.iter().flat_map(|(all, role)| actors(all, role)).collect(),
        actions: rule.actions.iter().map(|action| code(&action.coding())).collect(),
        security_labels: labels(&rule.labels)?,
        purposes: rule.purposes.iter().map(code).collect(),
        classes: rule
            .classes
            .iter()
            .map(|class| match class {
                Class::Category(category) => Code::new(CATEGORY_SYSTEM, category.as_str(), ""),
                Class::Type(name) => Code::new(RESOURCE_TYPES, name, ""),
            })
            .collect(),
        codes: rule.codes.iter().map(code).collect(),
        data: rule
            .data
            .iter()
            .map(|data| DataSpec {
                meaning: match data.meaning {
                    Meaning::Instance => DataMeaning::Instance,
                    Meaning::Related => DataMeaning::Related,
                    Meaning::Dependents => DataMeaning::Dependents,
                    Meaning::AuthoredBy => DataMeaning::AuthoredBy,
                },
                reference: Ref::literal(&data.reference),
            })
            .collect(),
        provisions: rule.exceptions.iter().map(provision).collect::<Result<_, _>>()?,
    })
}

/// Our sensitivities, each followed by the standard code that others understand; reading drops the
/// latter again.
fn labels(all: &[Label]) -> Result<Vec<Code>, ConsentWriteError> {
    let mut codes = Vec::new();
    for label in all {
        match label {
            Label::Code(coding) => codes.push(Code::new(&coding.system, &coding.code, "")),
            Label::Sensitivity(sensitivity) => {
                codes.push(Code::new(SENSITIVITY_SYSTEM, sensitivity.as_str(), ""));
                if let Some(standard) = label::standard(*sensitivity) {
                    if all.contains(&Label::Code(standard.clone())) {
                        return Err(ConsentWriteError::Unrepresentable { what: "a sensitivity beside the standard code for it" });
                    }
                    codes.push(Code::new(&standard.system, &standard.code, ""));
                }
            }
        }
    }
    Ok(codes)
}

fn period(period: &Period) -> Result<Span, ConsentWriteError> {
    let literal = |second: i64| when::literal(second).ok_or(ConsentWriteError::Unrepresentable { what: "a moment beyond the calendar" });
    Ok(Span { start: period.start.map(literal).transpose()?, end: period.end.map(|end| literal(end.saturating_sub(1))).transpose()? })
}
