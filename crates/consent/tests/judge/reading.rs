//! A Consent as its JSON says it: rules, each with every limit that is in force for it.
//!
//! What this cannot place refuses the whole Consent: a limit that was passed over would open what it closes.

use std::rc::Rc;

use serde_json::{Value, json};

use crate::{
    codes::{ACT_CODE, ACT_REASON, CONSENT_ACTION, CONSENT_SCOPE, KINDS, OWN_ACTION, OWN_CATEGORY, OWN_SENSITIVITY, PARTICIPATION, RESOURCE_TYPES},
    dates::Date,
    references::Name,
};

/// What a limit is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Period,
    /// A `period` that is read as one of the data.
    PeriodOfData,
    DataPeriod,
    Recipient,
    Author,
    Custodian,
    Action,
    Label,
    Purpose,
    Class,
    Code,
    Data,
}

/// A field in force at a rule.
#[derive(Clone)]
pub(crate) struct Limit {
    pub(crate) field: Field,
    pub(crate) value: Rc<Value>,
    /// Whether a deny says it. A deny that relies on what a permit says holds only where that permit does.
    by_deny: bool,
}

/// A rule; exceptions are rules of their own.
pub(crate) struct Rule {
    pub(crate) permits: bool,
    /// The rule that it is an exception to.
    pub(crate) exception_to: Option<usize>,
    limits: Vec<Limit>,
}

impl Rule {
    /// Every limit, and whether it counts already when it only may hold.
    pub(crate) fn limits(&self) -> impl Iterator<Item = (&Limit, bool)> {
        self.limits.iter().map(|limit| (limit, !self.permits && limit.by_deny))
    }
}

/// Why there are no rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    NotInForce,
    Refused,
}

type Result<T> = std::result::Result<T, Unread>;

fn require(sound: bool) -> Result<()> {
    if sound { Ok(()) } else { Err(Unread::Refused) }
}

/// The rules of a Consent.
pub(crate) fn rules(consent: &Value) -> Result<Vec<Rule>> {
    require(consent["resourceType"] == "Consent")?;
    require(consent.get("modifierExtension").is_none() && consent.get("implicitRules").is_none())?;
    match consent["status"].as_str() {
        Some("active") => {}
        Some("draft" | "proposed" | "rejected" | "inactive" | "entered-in-error") => return Err(Unread::NotInForce),
        _ => return Err(Unread::Refused),
    }
    require(codings(&consent["scope"])?.contains(&(CONSENT_SCOPE, "patient-privacy")))?;
    for verification in all(consent, "verification")? {
        require(verification["verified"] == true)?;
    }
    let (mut opt_in, mut opt_out) = (false, false);
    for coding in if consent.get("policyRule").is_some() { codings(&consent["policyRule"])? } else { Vec::new() } {
        match coding {
            (ACT_CODE, "OPTIN") => opt_in = true,
            (ACT_CODE, "OPTOUT") => opt_out = true,
            (ACT_CODE, "42CFRPart2") => {}
            _ => return Err(Unread::Refused),
        }
    }
    require(!(opt_in && opt_out))?;
    let mut reader = Reader { rules: Vec::new() };
    let Some(root) = consent.get("provision") else {
        require(opt_in || opt_out)?;
        reader.base(opt_in);
        return Ok(reader.rules);
    };
    // Without a type, the root is an exception to the policy rule; only what it takes from OPTIN is certain.
    let permits = match root.get("type") {
        Some(kind) => permits(kind)?,
        None => {
            require(opt_in && root.get("provision").is_none())?;
            false
        }
    };
    if opt_in && !permits {
        reader.base(true);
    }
    reader.provision(root, permits, None, &[])?;
    Ok(reader.rules)
}

fn permits(kind: &Value) -> Result<bool> {
    match kind.as_str() {
        Some("permit") => Ok(true),
        Some("deny") => Ok(false),
        _ => Err(Unread::Refused),
    }
}

struct Reader {
    rules: Vec<Rule>,
}

impl Reader {
    /// What holds where no provision speaks: treatment, or nothing.
    fn base(&mut self, opt_in: bool) {
        let treatment = Limit { field: Field::Purpose, value: Rc::new(json!([{"system": ACT_REASON, "code": "TREAT"}])), by_deny: false };
        self.rules.push(Rule { permits: opt_in, exception_to: None, limits: if opt_in { vec![treatment] } else { Vec::new() } });
    }

    fn provision(&mut self, provision: &Value, permits: bool, exception_to: Option<usize>, outer: &[Limit]) -> Result<()> {
        let own = limits(provision, permits)?;
        // `period` of a deny is met in the sense of `dataPeriod` too, and is then read in both.
        let in_both = !permits && own.iter().any(|limit| limit.field == Field::Period) && !own.iter().any(|limit| limit.field == Field::DataPeriod);
        for of_data in if in_both { &[false, true][..] } else { &[false] } {
            let mut limits = own.clone();
            for limit in limits.iter_mut().filter(|limit| *of_data && limit.field == Field::Period) {
                limit.field = Field::PeriodOfData;
            }
            // The dates of the data are said once, in whichever element.
            let about = |field: Field| if field == Field::PeriodOfData { Field::DataPeriod } else { field };
            let said: Vec<Field> = limits.iter().map(|limit| about(limit.field)).collect();
            limits.extend(outer.iter().filter(|limit| !said.contains(&about(limit.field))).cloned());
            let index = self.rules.len();
            self.rules.push(Rule { permits, exception_to, limits: limits.clone() });
            for nested in all(provision, "provision")? {
                self.provision(nested, self::permits(&nested["type"])?, Some(index), &limits)?;
            }
        }
        Ok(())
    }
}

const ELEMENTS: [&str; 13] =
    ["id", "extension", "type", "period", "actor", "action", "securityLabel", "purpose", "class", "code", "dataPeriod", "data", "provision"];

/// What a provision itself says.
fn limits(provision: &Value, permits: bool) -> Result<Vec<Limit>> {
    require(provision.as_object().is_some_and(|elements| elements.keys().all(|name| ELEMENTS.contains(&name.as_str()))))?;
    let mut limits: Vec<Limit> = Vec::new();
    let mut say = |field, value: Value| limits.push(Limit { field, value: Rc::new(value), by_deny: !permits });
    for (field, name) in [(Field::Period, "period"), (Field::DataPeriod, "dataPeriod")] {
        if let Some(period) = provision.get(name) {
            period_is_sound(period)?;
            say(field, period.clone());
        }
    }
    let mut by_role = [Vec::new(), Vec::new(), Vec::new()];
    for actor in all(provision, "actor")? {
        let name = reference(&actor["reference"])?;
        require(Name::of(name).can_be_compared())?;
        let mut role = None;
        for coding in codings(&actor["role"])? {
            let of_this = match coding {
                (PARTICIPATION, "IRCP" | "PRCP") => 0,
                (PARTICIPATION, "AUT") => 1,
                (PARTICIPATION, "CST") => 2,
                _ => return Err(Unread::Refused),
            };
            require(role.is_none_or(|known| known == of_this))?;
            role = Some(of_this);
        }
        by_role[role.ok_or(Unread::Refused)?].push(json!(name));
    }
    // Who asks, who wrote and who keeps: a deny of two of them could mean both or either.
    require(permits || by_role.iter().filter(|names| !names.is_empty()).count() < 2)?;
    for (field, names) in [Field::Recipient, Field::Author, Field::Custodian].into_iter().zip(by_role) {
        if !names.is_empty() {
            say(field, Value::Array(names));
        }
    }
    for (field, name) in [(Field::Action, "action"), (Field::Code, "code")] {
        let mut values = Vec::new();
        for concept in all(provision, name)? {
            values.extend(codings(concept)?.into_iter().map(|(system, code)| json!({"system": system, "code": code})));
        }
        if !values.is_empty() {
            say(field, Value::Array(values));
        }
    }
    for (field, name) in [(Field::Label, "securityLabel"), (Field::Purpose, "purpose"), (Field::Class, "class"), (Field::Data, "data")] {
        let values = all(provision, name)?;
        if !values.is_empty() {
            say(field, Value::Array(values.clone()));
        }
    }
    for limit in &limits {
        values_are_known(limit.field, &limit.value)?;
    }
    Ok(limits)
}

fn values_are_known(field: Field, values: &Value) -> Result<()> {
    for value in values.as_array().into_iter().flatten() {
        match field {
            Field::Data => {
                require(matches!(value["meaning"].as_str(), Some("instance" | "related" | "dependents" | "authoredby")))?;
                require(Name::of(reference(&value["reference"])?).is_of_a_resource())?;
            }
            Field::Recipient | Field::Author | Field::Custodian => {}
            _ => {
                let known = match (field, coding(value)?) {
                    (Field::Action, (CONSENT_ACTION, code)) => matches!(code, "collect" | "access" | "use" | "disclose" | "correct"),
                    (Field::Action, (system, code)) => (system, code) == (OWN_ACTION, "keep-sealed"),
                    (Field::Label, (OWN_SENSITIVITY, code)) => KINDS.iter().any(|(kind, _)| *kind == code),
                    (Field::Class, (OWN_CATEGORY, code)) => {
                        matches!(code, "identity" | "summary" | "results" | "imaging" | "notes" | "plans" | "admin")
                    }
                    (Field::Class, (system, _)) => system == RESOURCE_TYPES,
                    _ => true,
                };
                require(known)?;
            }
        }
    }
    Ok(())
}

fn period_is_sound(period: &Value) -> Result<()> {
    let (start, end) = bounds(period);
    let sound = |name: &str, read: Option<Date>| period.get(name).is_none() || read.is_some();
    require((start.is_some() || end.is_some()) && sound("start", start) && sound("end", end))
}

/// The bounds of a Period, as far as they can be read.
pub(crate) fn bounds(period: &Value) -> (Option<Date>, Option<Date>) {
    let bound = |name: &str| period[name].as_str().and_then(Date::read);
    (bound("start"), bound("end"))
}

/// A repeating element; an empty list is none of FHIR's.
fn all<'v>(parent: &'v Value, name: &str) -> Result<&'v Vec<Value>> {
    static NONE: Vec<Value> = Vec::new();
    match parent.get(name) {
        None => Ok(&NONE),
        Some(Value::Array(values)) if !values.is_empty() => Ok(values),
        Some(_) => Err(Unread::Refused),
    }
}

/// System and code; a code is required, a system may be left out.
pub(crate) fn coding(value: &Value) -> Result<(&str, &str)> {
    let system = value.get("system").map_or(Some(""), Value::as_str);
    system.zip(value["code"].as_str().filter(|code| !code.is_empty())).ok_or(Unread::Refused)
}

fn codings(concept: &Value) -> Result<Vec<(&str, &str)>> {
    let codings = all(concept, "coding")?;
    require(!codings.is_empty())?;
    codings.iter().map(coding).collect()
}

/// The literal of a Reference: without one there is nothing to compare.
pub(crate) fn reference(value: &Value) -> Result<&str> {
    value["reference"].as_str().ok_or(Unread::Refused)
}
