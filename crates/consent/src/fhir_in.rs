//! Reading a FHIR R4 Consent, <https://hl7.org/fhir/R4/consent.html>.
//!
//! What the model cannot hold is an error that names the element: a rule is never read in part. A
//! consent that cannot be read gives no access, and whoever holds several must then not rely on the
//! others alone, since the unread one may deny. A reference that nothing known can be compared with (`#id`, a
//! search) names nobody and no record, and is refused with it. Three places where R4 leaves room are read in the more
//! restrictive way:
//!
//! - R4 calls the root provision an exception to `policyRule` and gives it no type. Under `OPTIN` an
//!   untyped root without nested rules therefore denies, and what it does not reach is permitted for
//!   treatment. Any other untyped root is refused. A typed root (IHE PCF) speaks for itself.
//! - A deny with a `period` also denies data of that time: examples use it in both senses.
//! - Roles of recipients (IRCP, PRCP), authors (AUT) and custodians (CST) are different conditions.
//!   A deny that mixes them is refused, for it could mean either or both.

use chartmesh_records::Coding;
use serde_json::{Map, Value};

use crate::{
    fhir_out::{PARTICIPATION, RESOURCE_TYPES},
    label, matching,
    policy::{Action, CATEGORY_SYSTEM, Class, DataPeriod, DataReference, Effect, Label, Meaning, Period, Provision, SENSITIVITY_SYSTEM},
    purpose, strict_json,
    terms::{Law, Terms},
    when::Moment,
};

/// Deepest nesting of provisions that is read.
const MAX_DEPTH: usize = 16;
/// Most provisions that are read.
const MAX_PROVISIONS: usize = 1000;

/// A Consent as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its rules. The envelope is open: all limits are in the provisions.
    pub terms: Terms,
    /// `Consent.patient.reference`.
    pub patient: Option<String>,
    /// `Consent.dateTime`, literally.
    pub date: Option<String>,
    /// Who may receive the data: the actors of all provisions with role IRCP or PRCP.
    pub recipients: Vec<Recipient>,
    /// Values of `Consent.identifier`.
    pub identifiers: Vec<String>,
    /// `Consent.policy.uri` other than laws we know: texts that bind people and are not evaluated.
    pub policies: Vec<String>,
}

/// Somebody whom a Consent names as recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Literal reference.
    pub reference: String,
    /// `Reference.display`.
    pub name: Option<String>,
}

/// Why a Consent could not be read. Names elements, never their values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsentReadError {
    /// Not JSON, nested too deeply, or an object names a key twice.
    #[error("not well-formed JSON")]
    Json,
    /// Another resource.
    #[error("not a FHIR Consent")]
    NotConsent,
    /// The Consent is a draft, refused, taken back or an error.
    #[error("this consent is not in force (Consent.status)")]
    NotInForce,
    /// An element that is missing, malformed, or says what cannot be represented.
    #[error("{element}: {problem}")]
    Element {
        /// FHIR path of the element.
        element: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

fn bad<T>(element: impl Into<String>, problem: &'static str) -> Result<T, ConsentReadError> {
    Err(ConsentReadError::Element { element: element.into(), problem })
}

const UNKNOWN: &str = "cannot be represented";
const MALFORMED: &str = "malformed";
const NOT_COMPARABLE: &str = "contained, a search, or of another form that cannot be compared with what is known";

/// Reads an active privacy Consent.
///
/// # Errors
/// Everything that cannot be represented, by the name of its element.
pub fn from_fhir(bytes: &[u8]) -> Result<Imported, ConsentReadError> {
    let Value::Object(consent) = strict_json::parse(bytes).map_err(|_| ConsentReadError::Json)? else {
        return Err(ConsentReadError::NotConsent);
    };
    if consent.get("resourceType").and_then(Value::as_str) != Some("Consent") {
        return Err(ConsentReadError::NotConsent);
    }
    only(
        &consent,
        "Consent",
        &[
            "resourceType",
            "id",
            "meta",
            "language",
            "text",
            "contained",
            "extension",
            "identifier",
            "status",
            "scope",
            "category",
            "patient",
            "dateTime",
            "performer",
            "organization",
            "sourceAttachment",
            "sourceReference",
            "policy",
            "policyRule",
            "verification",
            "provision",
        ],
    )?;
    match consent.get("status").and_then(Value::as_str) {
        Some("active") => {}
        Some("draft" | "proposed" | "rejected" | "inactive" | "entered-in-error") => return Err(ConsentReadError::NotInForce),
        _ => return bad("Consent.status", MALFORMED),
    }
    let scope = match consent.get("scope") {
        Some(scope) => concept(scope, "Consent.scope")?,
        None => return bad("Consent.scope", "missing"),
    };
    if !scope.contains(&Coding::new("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy")) {
        return bad("Consent.scope", "only privacy consents can be represented");
    }
    for (index, verification) in list(&consent, "verification", "Consent")?.iter().enumerate() {
        if verification.get("verified").and_then(Value::as_bool) != Some(true) {
            return bad(format!("Consent.verification[{index}].verified"), "this consent has not been verified with the patient");
        }
    }
    let (base, mut terms) = policy_rule(&consent)?;
    let mut policies = Vec::new();
    for (index, policy) in list(&consent, "policy", "Consent")?.iter().enumerate() {
        let path = format!("Consent.policy[{index}]");
        let policy = object(policy, &path)?;
        only(policy, &path, &["id", "extension", "authority", "uri"])?;
        match text(policy, "uri", &path)? {
            Some(uri) if uri == Law::Part2.uri() => drop(terms.laws.insert(Law::Part2)),
            Some(uri) => policies.push(uri),
            None => {}
        }
    }
    let mut reading = Reading::default();
    let root = consent.get("provision").map(|root| reading.provision(object(root, "Consent.provision")?, "Consent.provision", 0)).transpose()?;
    terms.provisions = rules(base, root)?;
    terms.purposes = vec![purpose::act_reason(purpose::ANY)];
    let patient = consent.get("patient").map(|patient| reference(patient, "Consent.patient")).transpose()?;
    let mut identifiers = Vec::new();
    for (index, identifier) in list(&consent, "identifier", "Consent")?.iter().enumerate() {
        let path = format!("Consent.identifier[{index}]");
        identifiers.extend(text(object(identifier, &path)?, "value", &path)?);
    }
    Ok(Imported { terms, patient, date: text(&consent, "dateTime", "Consent")?, recipients: reading.recipients, identifiers, policies })
}

/// What `policyRule` says of everything that no provision reaches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    OptIn,
    OptOut,
    Unstated,
}

fn policy_rule(consent: &Map<String, Value>) -> Result<(Base, Terms), ConsentReadError> {
    let mut terms = Terms::default();
    let mut base = Base::Unstated;
    if let Some(rule) = consent.get("policyRule") {
        for coding in concept(rule, "Consent.policyRule")? {
            let stated = match (coding.system.as_str(), coding.code.as_str()) {
                (label::ACT_CODE, "OPTIN") => Base::OptIn,
                (label::ACT_CODE, "OPTOUT") => Base::OptOut,
                (label::ACT_CODE, "42CFRPart2") => {
                    terms.laws.insert(Law::Part2);
                    continue;
                }
                _ => return bad("Consent.policyRule", UNKNOWN),
            };
            if base != Base::Unstated && base != stated {
                return bad("Consent.policyRule", "says both opt-in and opt-out");
            }
            base = stated;
        }
    }
    Ok((base, terms))
}

/// A provision as read; the type is optional only at the root.
struct Read {
    effect: Option<Effect>,
    rule: Provision,
}

fn rules(base: Base, root: Option<Read>) -> Result<Vec<Provision>, ConsentReadError> {
    let opted_in = || Provision { purposes: vec![purpose::act_reason(purpose::TREAT)], ..Provision::everything(Effect::Permit) };
    Ok(match (base, root) {
        (Base::OptIn, None) => vec![opted_in()],
        (Base::OptOut, None) => vec![Provision::everything(Effect::Deny)],
        (Base::Unstated, None) => return bad("Consent.provision", "missing, and no policyRule says what then holds"),
        (Base::OptIn, Some(Read { effect: None, rule })) if rule.exceptions.is_empty() => [vec![opted_in()], settled(rule, Effect::Deny)].concat(),
        (_, Some(Read { effect: None, .. })) => return bad("Consent.provision.type", "missing, so that it is not certain whether the root permits or denies"),
        (Base::OptIn, Some(Read { effect: Some(Effect::Deny), rule })) => [vec![opted_in()], settled(rule, Effect::Deny)].concat(),
        (_, Some(Read { effect: Some(effect), rule })) => settled(rule, effect),
    })
}

/// Sets the effect; a deny for a period also becomes one of data of that time.
fn settled(mut rule: Provision, effect: Effect) -> Vec<Provision> {
    rule.effect = effect;
    match rule.period {
        Some(period) if effect == Effect::Deny && rule.data_period.is_none() => {
            let literal = |second: Option<i64>| second.and_then(crate::when::literal);
            let dates = DataPeriod { start: literal(period.start), end: literal(period.end.map(|end| end - 1)) };
            let of_that_time = Provision { period: None, data_period: Some(dates), ..rule.clone() };
            vec![rule, of_that_time]
        }
        _ => vec![rule],
    }
}

/// What is gathered from all provisions.
#[derive(Default)]
struct Reading {
    count: usize,
    recipients: Vec<Recipient>,
}

impl Reading {
    fn provision(&mut self, read: &Map<String, Value>, path: &str, depth: usize) -> Result<Read, ConsentReadError> {
        self.count += 1;
        if depth > MAX_DEPTH || self.count > MAX_PROVISIONS {
            return bad(path, "too many or too deeply nested provisions");
        }
        only(
            read,
            path,
            &["id", "extension", "type", "period", "actor", "action", "securityLabel", "purpose", "class", "code", "dataPeriod", "data", "provision"],
        )?;
        let effect = match text(read, "type", path)?.as_deref() {
            Some("permit") => Some(Effect::Permit),
            Some("deny") => Some(Effect::Deny),
            Some(_) => return bad(format!("{path}.type"), MALFORMED),
            None if depth > 0 => return bad(format!("{path}.type"), "missing, and required in a nested provision"),
            None => None,
        };
        let mut rule = Provision { period: period(read, path)?, data_period: data_period(read, path)?, ..Provision::default() };
        for (index, actor) in list(read, "actor", path)?.iter().enumerate() {
            self.add_actor(&mut rule, actor, &format!("{path}.actor[{index}]"))?;
        }
        let roles = [&rule.recipients, &rule.authors, &rule.custodians];
        if effect != Some(Effect::Permit) && roles.iter().filter(|all| !all.is_empty()).count() > 1 {
            return bad(format!("{path}.actor"), "mixes those who ask with those who wrote or keep the data");
        }
        for (index, action) in list(read, "action", path)?.iter().enumerate() {
            let at = format!("{path}.action[{index}]");
            for coding in concept(action, &at)? {
                let Some(action) = Action::from_coding(&coding) else { return bad(at, UNKNOWN) };
                rule.actions.push(action);
            }
        }
        rule.labels = labels(list(read, "securityLabel", path)?, path)?;
        for (index, one) in list(read, "purpose", path)?.iter().enumerate() {
            rule.purposes.push(coding(one, &format!("{path}.purpose[{index}]"))?);
        }
        for (index, one) in list(read, "class", path)?.iter().enumerate() {
            rule.classes.push(class(one, &format!("{path}.class[{index}]"))?);
        }
        for (index, one) in list(read, "code", path)?.iter().enumerate() {
            rule.codes.extend(concept(one, &format!("{path}.code[{index}]"))?);
        }
        for (index, one) in list(read, "data", path)?.iter().enumerate() {
            rule.data.push(data(one, &format!("{path}.data[{index}]"))?);
        }
        for (index, nested) in list(read, "provision", path)?.iter().enumerate() {
            let at = format!("{path}.provision[{index}]");
            let Read { effect, rule: inner } = self.provision(object(nested, &at)?, &at, depth + 1)?;
            rule.exceptions.extend(settled(inner, effect.unwrap_or_default()));
        }
        Ok(Read { effect, rule })
    }

    fn add_actor(&mut self, rule: &mut Provision, actor: &Value, path: &str) -> Result<(), ConsentReadError> {
        let actor = object(actor, path)?;
        only(actor, path, &["id", "extension", "role", "reference"])?;
        let (Some(role), Some(who)) = (actor.get("role"), actor.get("reference")) else {
            return bad(path, "needs a role and a reference");
        };
        let at = format!("{path}.role");
        let named = reference(who, &format!("{path}.reference"))?;
        if named.starts_with('#') || named.contains('?') {
            return bad(format!("{path}.reference"), NOT_COMPARABLE);
        }
        let mut kinds: Vec<u8> = Vec::new();
        for coding in concept(role, &at)? {
            kinds.push(match (coding.system.as_str(), coding.code.as_str()) {
                (PARTICIPATION, "IRCP" | "PRCP") => 0,
                (PARTICIPATION, "AUT") => 1,
                (PARTICIPATION, "CST") => 2,
                _ => return bad(at, UNKNOWN),
            });
        }
        kinds.dedup();
        match kinds[..] {
            [0] => {
                let name = who.get("display").and_then(Value::as_str).map(str::to_owned);
                self.recipients.push(Recipient { reference: named.clone(), name });
                rule.recipients.push(named);
            }
            [1] => rule.authors.push(named),
            [2] => rule.custodians.push(named),
            _ => return bad(at, "means several things"),
        }
        Ok(())
    }
}

fn labels(all: &[Value], path: &str) -> Result<Vec<Label>, ConsentReadError> {
    let mut labels = Vec::new();
    let mut translations = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let at = format!("{path}.securityLabel[{index}]");
        let coding = coding(one, &at)?;
        labels.push(if coding.system == SENSITIVITY_SYSTEM {
            let Ok(sensitivity) = coding.code.parse() else {
                return bad(at, UNKNOWN);
            };
            translations.extend(label::standard(sensitivity).map(Label::Code));
            Label::Sensitivity(sensitivity)
        } else {
            Label::Code(coding)
        });
    }
    labels.retain(|label| !translations.contains(label));
    Ok(labels)
}

fn class(value: &Value, path: &str) -> Result<Class, ConsentReadError> {
    let coding = coding(value, path)?;
    match coding.system.as_str() {
        RESOURCE_TYPES => Ok(Class::Type(coding.code)),
        CATEGORY_SYSTEM => coding.code.parse().map(Class::Category).or_else(|_| bad(path, UNKNOWN)),
        _ => bad(path, UNKNOWN),
    }
}

fn data(value: &Value, path: &str) -> Result<DataReference, ConsentReadError> {
    let read = object(value, path)?;
    only(read, path, &["id", "extension", "meaning", "reference"])?;
    let meaning = match text(read, "meaning", path)?.as_deref() {
        Some("instance") => Meaning::Instance,
        Some("related") => Meaning::Related,
        Some("dependents") => Meaning::Dependents,
        Some("authoredby") => Meaning::AuthoredBy,
        _ => return bad(format!("{path}.meaning"), MALFORMED),
    };
    let at = format!("{path}.reference");
    match read.get("reference") {
        Some(named) => match reference(named, &at)? {
            named if matching::names_resource(&named) => Ok(DataReference { meaning, reference: named }),
            _ => bad(at, NOT_COMPARABLE),
        },
        None => bad(at, "missing"),
    }
}

/// Start and end of a FHIR Period, each literal with its meaning; at least one of them.
type Bounds = (Option<(String, Moment)>, Option<(String, Moment)>);

fn bounds(read: &Map<String, Value>, key: &str, path: &str) -> Result<Option<Bounds>, ConsentReadError> {
    let path = format!("{path}.{key}");
    let Some(period) = read.get(key) else {
        return Ok(None);
    };
    let period = object(period, &path)?;
    only(period, &path, &["id", "extension", "start", "end"])?;
    let bound = |key: &str| -> Result<Option<(String, Moment)>, ConsentReadError> {
        match text(period, key, &path)? {
            None => Ok(None),
            Some(literal) => match Moment::parse(&literal) {
                Some(moment) => Ok(Some((literal, moment))),
                None => bad(format!("{path}.{key}"), MALFORMED),
            },
        }
    };
    match (bound("start")?, bound("end")?) {
        (None, None) => bad(path, "has neither start nor end"),
        bounds => Ok(Some(bounds)),
    }
}

fn period(read: &Map<String, Value>, path: &str) -> Result<Option<Period>, ConsentReadError> {
    Ok(bounds(read, "period", path)?.map(|(start, end)| Period { start: start.map(|(_, moment)| moment.start()), end: end.map(|(_, moment)| moment.after()) }))
}

fn data_period(read: &Map<String, Value>, path: &str) -> Result<Option<DataPeriod>, ConsentReadError> {
    Ok(bounds(read, "dataPeriod", path)?.map(|(start, end)| DataPeriod { start: start.map(|(literal, _)| literal), end: end.map(|(literal, _)| literal) }))
}

/// Refuses any key that is not listed. `_x` holds only extensions of the primitive `x`, and is
/// refused where `x` itself is absent, for then it stands in its place.
fn only(read: &Map<String, Value>, path: &str, known: &[&str]) -> Result<(), ConsentReadError> {
    for key in read.keys() {
        let is_known = known.contains(&key.as_str()) || key.strip_prefix('_').is_some_and(|base| known.contains(&base) && read.contains_key(base));
        if !is_known {
            let named = if key.len() <= 64 && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') { key } else { "(unknown)" };
            return bad(format!("{path}.{named}"), UNKNOWN);
        }
    }
    Ok(())
}

fn object<'v>(value: &'v Value, path: &str) -> Result<&'v Map<String, Value>, ConsentReadError> {
    value.as_object().map_or_else(|| bad(path, MALFORMED), Ok)
}

/// A repeated element; absent is empty, but an empty list is malformed: it could have meant anything.
fn list<'v>(read: &'v Map<String, Value>, key: &str, path: &str) -> Result<&'v [Value], ConsentReadError> {
    match read.get(key) {
        None => Ok(&[]),
        Some(Value::Array(all)) if !all.is_empty() => Ok(all),
        Some(_) => bad(format!("{path}.{key}"), MALFORMED),
    }
}

fn text(read: &Map<String, Value>, key: &str, path: &str) -> Result<Option<String>, ConsentReadError> {
    match read.get(key) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        Some(_) => bad(format!("{path}.{key}"), MALFORMED),
    }
}

fn coding(value: &Value, path: &str) -> Result<Coding, ConsentReadError> {
    let read = object(value, path)?;
    only(read, path, &["id", "extension", "system", "version", "code", "display", "userSelected"])?;
    match text(read, "code", path)? {
        Some(code) => Ok(Coding::new(text(read, "system", path)?.unwrap_or_default(), code)),
        None => bad(format!("{path}.code"), "missing"),
    }
}

/// The codings of a CodeableConcept, which all say the same; at least one.
fn concept(value: &Value, path: &str) -> Result<Vec<Coding>, ConsentReadError> {
    let read = object(value, path)?;
    only(read, path, &["id", "extension", "coding", "text"])?;
    let codings = list(read, "coding", path)?;
    if codings.is_empty() {
        return bad(format!("{path}.coding"), "missing");
    }
    codings.iter().enumerate().map(|(index, one)| coding(one, &format!("{path}.coding[{index}]"))).collect()
}

fn reference(value: &Value, path: &str) -> Result<String, ConsentReadError> {
    let read = object(value, path)?;
    only(read, path, &["id", "extension", "reference", "type", "identifier", "display"])?;
    match text(read, "reference", path)? {
        Some(literal) => Ok(literal),
        None => bad(format!("{path}.reference"), "missing: only literal references can be compared"),
    }
}
