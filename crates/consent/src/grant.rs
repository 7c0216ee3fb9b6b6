//! A Consent taken over as a grant to one party.
//!
//! A grant says once, for all of its rules, what for, until when, and whether records may be added or kept sealed; a Consent says it in every provision. What holds for all of a
//! Consent is moved to where a grant says it. The grant decides as the Consent does for that party; what could not is refused.

use crate::{
    Imported,
    coverage::{self, Coverage},
    decide::Request,
    evaluate, notice,
    policy::{Action, Effect, Provision},
    purpose,
    terms::{Law, Terms},
};
use chartmesh_records::{Coding, Compartment, Sensitivity};

/// What a permit of a grant lets be done unless it says otherwise.
pub(crate) const READS: [Action; 2] = [Action::Access, Action::Use];
/// What [`Terms::write`] lets be done.
pub(crate) const WRITES: [Action; 2] = [Action::Collect, Action::Correct];

/// Why a Consent cannot be a grant to a party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoGrant {
    /// No provision gives the party anything, now or later.
    #[error("it gives them nothing")]
    Nothing,
    /// Adding records, or keeping them sealed, is for all records or for none.
    #[error("it limits which records may be added or kept sealed (Consent.provision.action), and a grant lets that be done with all records or with none")]
    PartOfRecords,
}

impl Imported {
    /// The terms of a grant to a party, at `now` in unix seconds. `known_as` are the references by which the Consent names it.
    ///
    /// # Errors
    /// [`NoGrant`] if there is nothing to grant, or not as a grant can say it.
    pub fn grant_to(self, grantee: &str, known_as: &[String], now: i64) -> Result<Terms, NoGrant> {
        let mut terms = self.terms;
        for rule in &mut terms.provisions {
            rename(rule, grantee, known_as);
        }
        terms.provisions = unwrapped(terms.provisions, grantee);
        for rule in terms.provisions.iter_mut().filter(|rule| rule.recipients.iter().any(|who| who == grantee)) {
            rule.recipients.clear();
        }
        lift_purposes(&mut terms);
        lift_period(&mut terms, now);
        lift_actions(&mut terms)?;
        if notice::can_disclose(&terms, Sensitivity::SubstanceUse) {
            terms.laws.insert(Law::Part2);
        }
        if gives(&terms, grantee, now) { Ok(terms) } else { Err(NoGrant::Nothing) }
    }
}

/// Whether a party gets anything by these terms, from now on, for one of the purposes that they cover.
fn gives(terms: &Terms, grantee: &str, now: i64) -> bool {
    let shares = |now: i64| {
        let asks = |purpose: Coding| Request::read("", grantee, purpose, now);
        let open = |request: Request| Compartment::all().any(|compartment| coverage::of(&[terms], Some(&request), compartment) != Coverage::None);
        terms.purposes().into_iter().map(asks).any(open)
    };
    let moments = std::iter::successors(Some(now), |now| evaluate::next_change(&[terms], *now));
    terms.expires.is_none_or(|end| now < end) && (terms.write || terms.custodian || moments.into_iter().any(shares))
}

fn rename(rule: &mut Provision, grantee: &str, known_as: &[String]) {
    for who in rule.recipients.iter_mut().filter(|who| known_as.contains(who)) {
        grantee.clone_into(who);
    }
    for inner in &mut rule.exceptions {
        rename(inner, grantee, known_as);
    }
}

/// A root that denies everything says what silence says: its exceptions stand for themselves.
fn unwrapped(mut provisions: Vec<Provision>, grantee: &str) -> Vec<Provision> {
    let [root] = provisions.as_mut_slice() else { return provisions };
    let bare = Provision { recipients: root.recipients.clone(), exceptions: root.exceptions.clone(), ..Provision::everything(Effect::Deny) };
    let concerns = root.recipients.is_empty() || root.recipients.iter().any(|who| who == grantee);
    if *root == bare && concerns && !root.exceptions.is_empty() { std::mem::take(&mut root.exceptions) } else { provisions }
}

/// What all permits say of themselves, if they say the same and if what they hand down to their exceptions stays that.
fn shared<T: PartialEq>(rules: &[Provision], field: impl Fn(&Provision) -> Option<T> + Copy) -> Option<T> {
    fn within<T: PartialEq>(rules: &[Provision], value: &T, field: impl Fn(&Provision) -> Option<T> + Copy) -> bool {
        rules.iter().filter(|rule| permits(rule)).all(|rule| field(rule).is_none_or(|own| own == *value) && within(&rule.exceptions, value, field))
    }
    let value = rules.iter().find(|rule| rule.effect == Effect::Permit).and_then(field)?;
    let same = rules.iter().all(|rule| match rule.effect {
        Effect::Permit => field(rule).is_some_and(|own| own == value) && within(&rule.exceptions, &value, field),
        Effect::Deny => !permits(rule),
    });
    same.then_some(value)
}

/// Whether the rule or an exception to it permits.
fn permits(rule: &Provision) -> bool {
    rule.effect == Effect::Permit || rule.exceptions.iter().any(permits)
}

/// Purposes that all permits have in common are said once; else the grant covers all that are named, and each rule limits itself.
fn lift_purposes(terms: &mut Terms) {
    if let Some(purposes) = shared(&terms.provisions, |rule| (!rule.purposes.is_empty()).then(|| rule.purposes.clone())) {
        terms.purposes = treatment_first(purposes);
        for rule in terms.provisions.iter_mut().filter(|rule| rule.effect == Effect::Permit) {
            rule.purposes.clear();
        }
        return;
    }
    let mut named = Vec::new();
    if !limited(&terms.provisions, &[], &mut named) {
        named.push(purpose::act_reason(purpose::ANY));
    }
    terms.purposes = treatment_first(named);
}

/// Keys are handed over for the purpose that stands first: not for any at all, which leaves a doubt about each that is excepted.
fn treatment_first(mut purposes: Vec<Coding>) -> Vec<Coding> {
    if purposes.iter().any(purpose::is_any) {
        purposes.insert(0, purpose::act_reason(purpose::TREAT));
    }
    purposes
}

/// Whether every permit has purposes, of its own or from the rule that it is an exception to. Collects them.
fn limited(rules: &[Provision], inherited: &[Coding], named: &mut Vec<Coding>) -> bool {
    let mut all = true;
    for rule in rules {
        let purposes = if rule.purposes.is_empty() { inherited } else { &rule.purposes };
        if rule.effect == Effect::Permit {
            all &= !purposes.is_empty();
            let new: Vec<Coding> = purposes.iter().filter(|purpose| !named.contains(purpose)).cloned().collect();
            named.extend(new);
        }
        all &= limited(&rule.exceptions, purposes, named);
    }
    all
}

/// An end that all permits have in common is said once.
fn lift_period(terms: &mut Terms, now: i64) {
    let Some(period) = shared(&terms.provisions, |rule| rule.period) else { return };
    if period.start.is_none_or(|start| start <= now) {
        terms.expires = period.end;
        for rule in terms.provisions.iter_mut().filter(|rule| rule.effect == Effect::Permit) {
            rule.period = None;
        }
    }
}

/// Adding records and keeping them sealed become flags; what is left is about reading.
fn lift_actions(terms: &mut Terms) -> Result<(), NoGrant> {
    let changes = |action: &Action| WRITES.contains(action) || *action == Action::KeepSealed;
    let (mut write, mut custodian) = (false, false);
    terms.provisions.retain_mut(|rule| {
        let whole = Provision { actions: rule.actions.clone(), ..Provision::everything(Effect::Permit) };
        if *rule != whole || !rule.actions.iter().any(changes) {
            return true;
        }
        write |= rule.actions.contains(&Action::Collect);
        custodian |= rule.actions.contains(&Action::KeepSealed);
        // To change what is there is part of adding to it, and alone nothing that a grant could say.
        rule.actions.retain(|action| !changes(action) || (*action == Action::Correct && !write));
        !rule.actions.is_empty()
    });
    if mentions(&terms.provisions, changes) || ((write || custodian) && forbids_all(&terms.provisions)) {
        return Err(NoGrant::PartOfRecords);
    }
    for rule in terms.provisions.iter_mut().filter(|rule| rule.actions == READS) {
        rule.actions.clear();
    }
    (terms.write, terms.custodian) = (write, custodian);
    Ok(())
}

fn mentions(rules: &[Provision], which: impl Fn(&Action) -> bool + Copy) -> bool {
    rules.iter().any(|rule| rule.actions.iter().any(which) || mentions(&rule.exceptions, which))
}

/// Whether some rule or exception denies without saying what, nor an outer one for it: that also forbids to add such records and to keep them.
fn forbids_all(rules: &[Provision]) -> bool {
    rules.iter().filter(|rule| rule.actions.is_empty()).any(|rule| rule.effect == Effect::Deny || forbids_all(&rule.exceptions))
}
