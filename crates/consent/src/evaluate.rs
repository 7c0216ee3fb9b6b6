//! The evaluator: a tree of provisions and an envelope against a subject. There is no other.

use chartmesh_records::Coding;

use crate::{
    answer::{Answers, Applies, Outcomes},
    decide::Request,
    describe,
    matching::{self, Subject},
    policy::{Action, Class, DataPeriod, DataReference, Effect, Label, Period, Provision},
    purpose,
    terms::Terms,
    when,
};

/// A provision, or a limit of the terms, that led to a decision.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reason {
    /// Whether it spoke for or against.
    pub effect: Effect,
    /// Where it stands in [`Terms::provisions`]: an index, then indices of exceptions. Empty for a
    /// limit of the terms as a whole, or when nothing in them spoke.
    pub provision: Vec<usize>,
    /// Why, in words a patient reads.
    pub words: String,
}

/// What came out, and for a single resource why.
pub(crate) struct Verdict {
    pub(crate) outcomes: Outcomes,
    pub(crate) because: Vec<Reason>,
}

impl Verdict {
    pub(crate) fn permits(&self) -> bool {
        self.outcomes == Outcomes::PERMIT
    }
}

/// Several consents together: default deny, deny overrides permit.
pub(crate) fn weigh(all: &[&Terms], request: Option<&Request>, subject: Subject<'_>) -> Verdict {
    let mut outcomes = Outcomes::NONE;
    let mut because = Vec::new();
    let mut silent = Vec::new();
    for terms in all {
        let one = weigh_one(terms, request, subject);
        if one.outcomes == Outcomes::NONE {
            silent.extend(one.because);
            continue;
        }
        let together = outcomes.beside(one.outcomes);
        if together == outcomes && together == one.outcomes {
            because.extend(one.because);
        } else if together == one.outcomes {
            because = one.because;
        }
        outcomes = together;
    }
    if outcomes == Outcomes::NONE {
        because = silent;
        if because.is_empty() {
            because.push(Reason { effect: Effect::Deny, provision: Vec::new(), words: "there is no consent".to_owned() });
        }
    }
    Verdict { outcomes, because }
}

fn weigh_one(terms: &Terms, request: Option<&Request>, subject: Subject<'_>) -> Verdict {
    let refused = |words: String| Verdict { outcomes: Outcomes::NONE, because: vec![Reason { effect: Effect::Deny, provision: Vec::new(), words }] };
    let mut in_envelope = Answers::YES;
    if let Some(request) = request {
        if terms.expires.is_some_and(|end| end <= request.now) {
            return refused(format!("these terms ended on {}", moment(terms.expires.unwrap_or_default())));
        }
        in_envelope = matching::purposes(&terms.purposes(), Some(request));
        if in_envelope.is_no() {
            return refused(format!("these terms do not cover {}", purpose::name(&request.purpose)));
        }
    }
    let dates = terms.data_period();
    if let Some(dates) = &dates {
        let in_dates = matching::data_period(dates, subject);
        if in_dates.is_no() {
            return refused(format!("only records {} are shared", describe::dates(dates)));
        }
        in_envelope = in_envelope.and(in_dates);
    }
    let scene = Scene { request, subject, write: terms.write };
    let mut tree = scene.beside(&terms.provisions, &Scoped::default(), &mut Vec::new());
    tree.outcomes = tree.outcomes.only_if(Outcomes::PERMIT, in_envelope.applies(Effect::Permit)).only_if(Outcomes::DENY, in_envelope.applies(Effect::Deny));
    if tree.outcomes == Outcomes::NONE {
        return refused(match &dates {
            Some(dates) if in_envelope == Answers::DOUBT => {
                format!("only records {} are shared, and the date of this one is not certain", describe::dates(dates))
            }
            _ => format!("{} are not shared", describe::kind(subject.sensitivity(), subject.category())),
        });
    }
    tree
}

/// What does not change while walking the tree.
struct Scene<'s> {
    request: Option<&'s Request>,
    subject: Subject<'s>,
    write: bool,
}

/// The fields in force at a provision, each with the effect of the provision that set it.
#[derive(Clone, Copy, Default)]
struct Scoped<'p> {
    period: Option<(&'p Period, Effect)>,
    data_period: Option<(&'p DataPeriod, Effect)>,
    recipients: Option<(&'p [String], Effect)>,
    authors: Option<(&'p [String], Effect)>,
    custodians: Option<(&'p [String], Effect)>,
    actions: Option<(&'p [Action], Effect)>,
    labels: Option<(&'p [Label], Effect)>,
    purposes: Option<(&'p [Coding], Effect)>,
    classes: Option<(&'p [Class], Effect)>,
    codes: Option<(&'p [Coding], Effect)>,
    data: Option<(&'p [DataReference], Effect)>,
}

fn own<'p, T>(values: &'p [T], effect: Effect, inherited: Option<(&'p [T], Effect)>) -> Option<(&'p [T], Effect)> {
    if values.is_empty() { inherited } else { Some((values, effect)) }
}

impl<'p> Scoped<'p> {
    fn within(self, provision: &'p Provision) -> Self {
        let effect = provision.effect;
        Self {
            period: provision.period.as_ref().map(|period| (period, effect)).or(self.period),
            data_period: provision.data_period.as_ref().map(|period| (period, effect)).or(self.data_period),
            recipients: own(&provision.recipients, effect, self.recipients),
            authors: own(&provision.authors, effect, self.authors),
            custodians: own(&provision.custodians, effect, self.custodians),
            actions: own(&provision.actions, effect, self.actions),
            labels: own(&provision.labels, effect, self.labels),
            purposes: own(&provision.purposes, effect, self.purposes),
            classes: own(&provision.classes, effect, self.classes),
            codes: own(&provision.codes, effect, self.codes),
            data: own(&provision.data, effect, self.data),
        }
    }
}

impl Scene<'_> {
    /// Provisions side by side: deny overrides permit.
    fn beside<'p>(&self, provisions: &'p [Provision], scope: &Scoped<'p>, path: &mut Vec<usize>) -> Verdict {
        let mut all = Verdict { outcomes: Outcomes::NONE, because: Vec::new() };
        for (index, provision) in provisions.iter().enumerate() {
            path.push(index);
            let one = self.provision(provision, scope, path);
            path.pop();
            let together = all.outcomes.beside(one.outcomes);
            if together == one.outcomes && together == all.outcomes {
                all.because.extend(one.because);
            } else if together == one.outcomes {
                all.because = one.because;
            }
            all.outcomes = together;
        }
        all
    }

    fn provision<'p>(&self, provision: &'p Provision, outer: &Scoped<'p>, path: &mut Vec<usize>) -> Verdict {
        let scope = outer.within(provision);
        let exceptions = self.beside(&provision.exceptions, &scope, path);
        let applies = self.applies(provision.effect, &scope);
        let own = Outcomes::of(provision.effect).only_if(Outcomes::of(provision.effect), applies);
        let outcomes = exceptions.outcomes.over(own);
        let because = if exceptions.outcomes != Outcomes::NONE {
            exceptions.because
        } else if own == Outcomes::of(provision.effect) && matches!(self.subject, Subject::Resource(_)) {
            vec![Reason { effect: provision.effect, provision: path.clone(), words: describe::reason(provision) }]
        } else {
            Vec::new()
        };
        Verdict { outcomes, because }
    }

    /// All fields in force hold. What a permit set, or a permit relies on, holds only for certain.
    fn applies(&self, effect: Effect, scope: &Scoped<'_>) -> Applies {
        let lens = |setter: Effect| if effect == Effect::Permit { Effect::Permit } else { setter };
        let actions = match scope.actions {
            Some((actions, setter)) => matching::actions(actions, lens(setter), self.request),
            None if effect == Effect::Deny => Answers::YES,
            None => {
                let asked = self.request.map_or(Action::Access, |request| request.action);
                Answers::of(match asked {
                    Action::Access | Action::Use => true,
                    Action::Collect | Action::Correct => self.write,
                    Action::Disclose | Action::KeepSealed => false,
                })
            }
        };
        let mut all = actions.applies(effect);
        let mut add = |answer: Option<(Answers, Effect)>| {
            if let Some((answer, setter)) = answer {
                all = all.and(answer.applies(lens(setter)));
            }
        };
        add(scope.period.map(|(period, setter)| (matching::period(period, self.request), setter)));
        add(scope.data_period.map(|(period, setter)| (matching::data_period(period, self.subject), setter)));
        add(scope.recipients.map(|(named, setter)| (matching::recipients(named, self.request), setter)));
        add(scope.authors.map(|(named, setter)| (matching::authors(named, self.subject), setter)));
        add(scope.custodians.map(|(named, setter)| (matching::custodians(named, self.subject, self.request), setter)));
        add(scope.labels.map(|(labels, setter)| (matching::labels(labels, lens(setter), self.subject), setter)));
        add(scope.purposes.map(|(named, setter)| (matching::purposes(named, self.request), setter)));
        add(scope.classes.map(|(classes, setter)| (matching::classes(classes, self.subject), setter)));
        add(scope.codes.map(|(codes, setter)| (matching::codes(codes, self.subject), setter)));
        add(scope.data.map(|(data, setter)| (matching::data(data, self.subject), setter)));
        all
    }
}

/// The next moment after `now` at which these terms could answer differently.
pub(crate) fn next_change(all: &[&Terms], now: i64) -> Option<i64> {
    fn bounds(provisions: &[Provision], visit: &mut impl FnMut(i64)) {
        for provision in provisions {
            if let Some(period) = &provision.period {
                period.start.into_iter().chain(period.end).for_each(&mut *visit);
            }
            bounds(&provision.exceptions, visit);
        }
    }
    let mut next: Option<i64> = None;
    let mut visit = |at: i64| {
        if at > now {
            next = Some(next.map_or(at, |known| known.min(at)));
        }
    };
    for terms in all {
        terms.expires.into_iter().for_each(&mut visit);
        bounds(&terms.provisions, &mut visit);
    }
    next
}

/// A moment as a patient reads it.
pub(crate) fn moment(second: i64) -> String {
    when::literal(second).unwrap_or_else(|| "a moment beyond the calendar".to_owned())
}
