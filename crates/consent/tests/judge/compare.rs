//! One history, judged and decided.

use chartmesh_consent::{
    Action, ConsentMeta, ConsentReadError, ConsentState, Coverage, Decision, Imported, NoGrant, Request, Terms, coverage_for, decide, decide_all, from_fhir,
    select, to_fhir,
};
use chartmesh_records::{Coding, ResourceFacts};
use serde_json::Value;

use crate::{
    codes::ACT_REASON,
    histories::{History, PARTY, Paper},
    reading::{Rule, Unread, rules},
    verdict::{self, Says},
};

/// How often what was compared.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) decisions: u64,
    pub(crate) permits: u64,
    pub(crate) denies: u64,
    pub(crate) grants: u64,
    pub(crate) grant_permits: u64,
    pub(crate) refused: u64,
    pub(crate) companions: u64,
}

impl Tally {
    fn count(&mut self, says: Says) {
        self.decisions += 1;
        self.permits += u64::from(says == Says::Permit);
        self.denies += u64::from(says == Says::Deny);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.decisions += other.decisions;
        self.permits += other.permits;
        self.denies += other.denies;
        self.grants += other.grants;
        self.grant_permits += other.grant_permits;
        self.refused += other.refused;
        self.companions += other.companions;
    }
}

/// Terms written as a Consent for a party; none where FHIR has no words for them.
pub(crate) fn written(terms: &Terms, grantee: &str) -> Option<Value> {
    let meta = ConsentMeta {
        patient: "Patient/1".to_owned(),
        grantee: grantee.to_owned(),
        grantee_name: None,
        grant: "urn:chartmesh:grant:1".to_owned(),
        date: "2023-11-14T00:00:00Z".to_owned(),
        state: ConsentState::Active,
    };
    to_fhir(terms, &meta).ok().map(|bytes| serde_json::from_slice(&bytes).expect("JSON"))
}

fn permitted(decision: &Decision) -> bool {
    matches!(decision, Decision::Permit(_))
}

/// What the two say differently.
pub(crate) struct Disagreement(pub(crate) String);

type Agreed = Result<(), Disagreement>;

fn agree(same: bool, what: &str, detail: impl FnOnce() -> String) -> Agreed {
    if same { Ok(()) } else { Err(Disagreement(format!("{what}\n{}", detail()))) }
}

fn shown(consents: &[&Value], request: &Request, record: &ResourceFacts) -> String {
    let consents: Vec<String> = consents.iter().map(|consent| consent.to_string()).collect();
    format!("consents:\n{}\nrequest: {request:?}\nrecord: {}", consents.join("\n"), serde_json::to_string(record).expect("facts"))
}

/// A Consent that both have read.
struct Read<'h> {
    paper: &'h Paper,
    imported: Imported,
    rules: Vec<Rule>,
}

/// Judges and decides all of a history.
pub(crate) fn compare(history: &History, tally: &mut Tally) -> Agreed {
    let mut all = Vec::new();
    for paper in &history.papers {
        if let Some(read) = read(paper, tally)? {
            all.push(read);
        }
    }
    for request in &history.requests {
        let in_force: Vec<&Read<'_>> =
            all.iter().filter(|read| read.paper.signed <= request.now && read.paper.withdrawn.is_none_or(|end| request.now < end)).collect();
        on_file(&in_force, request, &history.records, tally)?;
    }
    all.iter().try_for_each(|read| granted(read, history, tally))
}

/// Reads a Consent both ways, and as withdrawn.
fn read<'h>(paper: &'h Paper, tally: &mut Tally) -> Result<Option<Read<'h>>, Disagreement> {
    let judged = rules(&paper.json);
    let imported = from_fhir(paper.json.to_string().as_bytes());
    let same = match (&judged, &imported) {
        (Ok(_), Ok(_)) => true,
        (Err(why), Err(error)) => (*why == Unread::NotInForce) == (*error == ConsentReadError::NotInForce),
        _ => false,
    };
    agree(same, "one of them cannot read it", || format!("{}\n{:?}\n{:?}", paper.json, judged.as_ref().err(), imported.as_ref().err()))?;
    let (Ok(rules), Ok(imported)) = (judged, imported) else {
        tally.refused += 1;
        return Ok(None);
    };
    if paper.withdrawn.is_some() {
        let mut withdrawn = paper.json.clone();
        withdrawn["status"] = "inactive".into();
        let both =
            from_fhir(withdrawn.to_string().as_bytes()) == Err(ConsentReadError::NotInForce) && self::rules(&withdrawn).err() == Some(Unread::NotInForce);
        agree(both, "a withdrawn Consent is followed", || withdrawn.to_string())?;
    }
    Ok(Some(Read { paper, imported, rules }))
}

/// Everything that is asked of the Consents in force at one moment.
fn on_file(in_force: &[&Read<'_>], request: &Request, records: &[ResourceFacts], tally: &mut Tally) -> Agreed {
    let terms: Vec<&Terms> = in_force.iter().map(|read| &read.imported.terms).collect();
    let rules: Vec<&[Rule]> = in_force.iter().map(|read| read.rules.as_slice()).collect();
    let papers: Vec<&Value> = in_force.iter().map(|read| &read.paper.json).collect();
    for record in records {
        let says = verdict::all(&rules, request, record);
        tally.count(says);
        let decided = permitted(&decide_all(&terms, request, record));
        agree(decided == (says == Says::Permit), &format!("decided {decided}, judged {says:?}"), || shown(&papers, request, record))?;
    }
    for read in in_force {
        one_on_file(read, request, records, tally)?;
    }
    Ok(())
}

fn one_on_file(read: &Read<'_>, request: &Request, records: &[ResourceFacts], tally: &mut Tally) -> Agreed {
    let paper = [&read.paper.json];
    let own = Request { requester: PARTY.to_owned(), acts_for: Vec::new(), ..request.clone() };
    for record in records {
        let says = verdict::one(&read.rules, request, record);
        tally.count(says);
        let decided = permitted(&decide(&read.imported.terms, request, record));
        agree(decided == (says == Says::Permit), &format!("decided {decided}, judged {says:?}"), || shown(&paper, request, record))?;
        let covered = coverage_for(&read.imported.terms, request, record.compartment());
        let fits = if says == Says::Permit { covered != Coverage::None } else { covered != Coverage::Whole };
        agree(fits, &format!("judged {says:?}, its compartment is covered: {covered:?}"), || shown(&paper, request, record))?;
        // Before it was written: a grant of ours says nothing of who asks, for it is one party's.
        if let Some(terms) = read.paper.ours.as_ref().filter(|_| reads(request.action)) {
            let says = verdict::one(&read.rules, &own, record);
            let decided = permitted(&decide(terms, &own, record));
            agree(decided == (says == Says::Permit), &format!("as terms decided {decided}, as FHIR judged {says:?}"), || shown(&paper, &own, record))?;
        }
    }
    let compartment = records[0].compartment();
    let judged = verdict::document(&read.rules, request, compartment, records);
    let selected = select(&read.imported.terms, request, compartment, records).permitted;
    tally.companions += judged.iter().filter(|index| verdict::one(&read.rules, request, &records[**index]) != Says::Permit).count() as u64;
    agree(selected == judged, &format!("of a document selected {selected:?}, judged {judged:?}"), || {
        records.iter().map(|record| shown(&paper, request, record)).collect::<Vec<_>>().join("\n")
    })
}

fn reads(action: Action) -> bool {
    matches!(action, Action::Access | Action::Use)
}

/// The Consent with the party's own key in place of what it is called there.
fn renamed(value: &Value, known_as: &[String]) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| {
                let called = key == "reference" && value.as_str().is_some_and(|text| known_as.iter().any(|known| known == text));
                (key.clone(), if called { PARTY.into() } else { renamed(value, known_as) })
            })
            .collect(),
        Value::Array(all) => all.iter().map(|one| renamed(one, known_as)).collect(),
        other => other.clone(),
    }
}

/// The grant to the party that a Consent becomes, when the history's first request is made.
fn granted(read: &Read<'_>, history: &History, tally: &mut Tally) -> Agreed {
    let now = history.requests[0].now;
    let mut paper = read.paper.json.clone();
    if let Some(root) = paper.get_mut("provision") {
        rename_actors(root, &history.known_as);
    }
    let rules = rules(&paper).map_err(|_| Disagreement(format!("unreadable once the party is named by its key: {paper}")))?;
    let grant = read.imported.clone().grant_to(PARTY, &history.known_as, now);
    if let Some(ours) = &read.paper.ours {
        let kept = match &grant {
            Ok(terms) => (terms.write, terms.custodian) == (ours.write, ours.custodian),
            Err(why) => *why == NoGrant::Nothing,
        };
        agree(kept, &format!("another grant than it was written from: {grant:?}"), || paper.to_string())?;
    }
    // The grant goes out again as FHIR (of a third of them, to save time).
    let out = grant.as_ref().ok().filter(|_| history.known_as.is_empty()).and_then(|terms| written(terms, PARTY));
    let out = match &out {
        Some(out) => Some((out, self::rules(out).map_err(|_| Disagreement(format!("what is written cannot be read: {out}")))?)),
        None => None,
    };
    for request in history.requests.iter().filter(|request| request.now >= now) {
        let own = Request { requester: PARTY.to_owned(), acts_for: Vec::new(), ..request.clone() };
        for record in &history.records {
            let judge = |action: Action| verdict::one(&rules, &Request { action, ..own.clone() }, record) == Says::Permit;
            if let Ok(terms) = &grant {
                // To add records and to keep them sealed is for all records, or for none.
                let within = terms.expires.is_none_or(|end| own.now < end) && terms.purposes().contains(&own.purpose);
                for (action, flag) in [(Action::Collect, terms.write), (Action::KeepSealed, terms.custodian)] {
                    let agreed = if flag { !within || judge(action) } else { own.action != action || !judge(action) };
                    agree(agreed, &format!("the grant says of {action:?} {flag}"), || format!("{terms:?}\n{}", shown(&[&paper], &own, record)))?;
                }
            }
            match &grant {
                Ok(terms) if reads(own.action) => {
                    let (decided, judged) = (permitted(&decide(terms, &own, record)), judge(own.action));
                    tally.grants += 1;
                    tally.grant_permits += u64::from(judged);
                    agree(decided == judged, &format!("the grant decides {decided}, judged {judged}"), || {
                        format!("{terms:?}\n{}", shown(&[&paper], &own, record))
                    })?;
                    if let Some((out, rules)) = &out {
                        let written = verdict::one(rules, &own, record) == Says::Permit;
                        agree(written == judged, &format!("written again judged {written}, before {judged}"), || shown(&[&paper, out], &own, record))?;
                    }
                }
                Ok(_) => {}
                Err(NoGrant::Nothing) => {
                    // What cannot be read is nothing to a party, even if it could be used.
                    let asked = own.purpose == Coding::new(ACT_REASON, "TREAT") && own.action == Action::Access;
                    agree(!asked || !judge(own.action), "nothing to grant, judged permitted", || shown(&[&paper], &own, record))?;
                }
                Err(NoGrant::PartOfRecords) => {}
            }
        }
    }
    Ok(())
}

/// As [`renamed`], of the actors alone: a record that the party wrote keeps its author.
fn rename_actors(provision: &mut Value, known_as: &[String]) {
    for actor in provision.get_mut("actor").and_then(Value::as_array_mut).into_iter().flatten() {
        let code = actor["role"]["coding"][0]["code"].as_str().unwrap_or_default();
        if matches!(code, "IRCP" | "PRCP") {
            *actor = renamed(actor, known_as);
        }
    }
    for nested in provision.get_mut("provision").and_then(Value::as_array_mut).into_iter().flatten() {
        rename_actors(nested, known_as);
    }
}
