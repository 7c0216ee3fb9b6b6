//! Spreading: what would give a secret away is as sensitive as the secret.
//!
//! A resource's own sensitivities come from its labels and from every code it names. From there they
//! spread over references until nothing changes; the result is the least fixed point, so it does not
//! depend on the order of arrival. The rules:
//!
//! 1. What refers to a sensitive resource is sensitive: a medication request to its reason, a care plan to
//!    what it addresses, a claim to its diagnosis, a composition to what it lists. References that only
//!    say who, where and when (patient, practitioner, organisation, location, device, encounter) do not
//!    count: an ordinary vital sign taken in a sensitive encounter reveals an opaque id, no more.
//! 2. A condition found, or a procedure done, in an encounter makes the encounter sensitive.
//! 3. Claims, care plans, care teams, goals, provenance and notes that refer to an encounter tell what it
//!    was about: they are as sensitive as the encounter.
//! 4. Notes of an encounter are also as sensitive as anything that happened in it.
//! 5. A panel or report hands its own sensitivity to its members, and is as sensitive as any member. A
//!    sensitive member does not make its siblings sensitive.
//! 6. A Binary is as sensitive as the document reference, report or media that shows it.

use super::set::Set;

/// What one resource refers to, as positions of other resources.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Rule 1.
    pub(crate) about: Vec<usize>,
    /// The encounters that it refers to.
    pub(crate) encounters: Vec<usize>,
    /// Rule 5.
    pub(crate) members: Vec<usize>,
    /// Rule 6.
    pub(crate) content: Vec<usize>,
    /// Rule 2: a condition or procedure.
    pub(crate) is_event: bool,
    /// Rule 3: claims, plans, notes.
    pub(crate) tells_of_encounter: bool,
    /// Rule 4: prose.
    pub(crate) is_note: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Via {
    Any,
    /// From a member to its panel: not handed down again.
    Member,
    /// From a panel to its members: only what the panel has otherwise than from members.
    Panel,
}

/// The sensitivities of every resource, given each one's own and what it refers to. Positions out of
/// range are ignored.
pub(crate) fn spread(own: &[Set], links: &[Links]) -> Vec<Set> {
    let count = own.len();
    // Node `count + e` stands for everything that happened in encounter `e`.
    let mut edges: Vec<Vec<(usize, Via)>> = Vec::new();
    edges.resize_with(count * 2, Vec::new);
    let mut add = |from: usize, to: usize, via: Via| {
        if let Some(out) = edges.get_mut(from)
            && to < count * 2
            && from != to
        {
            out.push((to, via));
        }
    };
    for (at, link) in links.iter().enumerate().take(count) {
        for &target in link.about.iter().filter(|&&target| target < count) {
            add(target, at, Via::Any);
        }
        for &member in link.members.iter().filter(|&&member| member < count) {
            add(member, at, Via::Member);
            add(at, member, Via::Panel);
        }
        for &shown in link.content.iter().filter(|&&shown| shown < count) {
            add(at, shown, Via::Any);
        }
        for &encounter in link.encounters.iter().filter(|&&encounter| encounter < count) {
            add(at, count + encounter, Via::Any);
            if link.is_event {
                add(at, encounter, Via::Any);
            }
            if link.tells_of_encounter || link.is_note {
                add(encounter, at, Via::Any);
            }
            if link.is_note {
                add(count + encounter, at, Via::Any);
            }
        }
    }

    let mut full = own.to_vec();
    full.resize(count * 2, Set::default());
    let mut downward = full.clone();
    let mut waiting: Vec<usize> = (0..count).filter(|&at| own.get(at).is_some_and(|set| !set.is_empty())).collect();
    while let Some(from) = waiting.pop() {
        let (all, down) = (full.get(from).copied().unwrap_or_default(), downward.get(from).copied().unwrap_or_default());
        for &(to, via) in edges.get(from).map_or(&[][..], Vec::as_slice) {
            let gain = if via == Via::Panel { down } else { all };
            let mut changed = full.get_mut(to).is_some_and(|set| set.add(gain));
            if via != Via::Member {
                changed |= downward.get_mut(to).is_some_and(|set| set.add(gain));
            }
            if changed {
                waiting.push(to);
            }
        }
    }
    full.truncate(count);
    full
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Sensitivity;

    const MIND: Set = Set::of(Sensitivity::MentalHealth);
    const NONE: Set = Set::of(Sensitivity::General);

    fn links(about: &[usize], encounters: &[usize], members: &[usize]) -> Links {
        Links { about: about.to_vec(), encounters: encounters.to_vec(), members: members.to_vec(), ..Links::default() }
    }

    #[test]
    fn what_refers_to_a_secret_is_secret_however_far() {
        let graph = [links(&[], &[], &[]), links(&[0], &[], &[]), links(&[1], &[], &[]), links(&[], &[], &[])];
        assert_eq!(spread(&[MIND, NONE, NONE, NONE], &graph), [MIND, MIND, MIND, NONE]);
        assert_eq!(spread(&[NONE, NONE, MIND, NONE], &graph), [NONE, NONE, MIND, NONE]);
    }

    #[test]
    fn an_encounter_takes_from_events_and_gives_to_what_tells_of_it() {
        let condition = Links { is_event: true, ..links(&[], &[0], &[]) };
        let vital = links(&[], &[0], &[]);
        let claim = Links { tells_of_encounter: true, ..links(&[], &[0], &[]) };
        let note = Links { is_note: true, ..links(&[], &[0], &[]) };
        let graph = [Links::default(), condition, vital, claim, note];
        assert_eq!(spread(&[NONE, MIND, NONE, NONE, NONE], &graph), [MIND, MIND, NONE, MIND, MIND]);
        // A sensitive result tells the note's reader, not the claim's.
        assert_eq!(spread(&[NONE, NONE, MIND, NONE, NONE], &graph), [NONE, NONE, MIND, NONE, MIND]);
    }

    #[test]
    fn a_panel_gives_to_members_and_takes_from_them_but_not_across() {
        let graph = [links(&[], &[], &[1, 2]), Links::default(), links(&[], &[], &[3]), Links::default()];
        assert_eq!(spread(&[MIND, NONE, NONE, NONE], &graph), [MIND; 4]);
        assert_eq!(spread(&[NONE, MIND, NONE, NONE], &graph), [MIND, MIND, NONE, NONE]);
        assert_eq!(spread(&[NONE, NONE, NONE, MIND], &graph), [MIND, NONE, MIND, MIND]);
    }

    #[test]
    fn a_binary_follows_what_shows_it() {
        let graph = [Links { content: vec![1], ..Links::default() }, Links::default()];
        assert_eq!(spread(&[MIND, NONE], &graph), [MIND, MIND]);
        assert_eq!(spread(&[NONE, MIND], &graph), [NONE, MIND]);
    }

    fn any_links(count: usize) -> impl Strategy<Value = Links> {
        let some = || prop::collection::vec(0..count + 1, 0..3);
        (some(), some(), some(), some(), any::<[bool; 3]>()).prop_map(|(about, encounters, members, content, [is_event, tells_of_encounter, is_note])| Links {
            about,
            encounters,
            members,
            content,
            is_event,
            tells_of_encounter,
            is_note,
        })
    }

    proptest! {
        #[test]
        fn spreading_only_adds_and_is_done_when_done(
            graph in prop::collection::vec(any_links(8), 8),
            own in prop::collection::vec(0usize..7, 8),
        ) {
            let own: Vec<Set> = own.into_iter().map(|at| Set::of(Sensitivity::ALL[at])).collect();
            let once = spread(&own, &graph);
            for (mut after, before) in once.iter().copied().zip(&own) {
                prop_assert!(!after.add(*before));
            }
            // What came up from a member is own sensitivity in a second run, so only graphs without panels stay.
            if graph.iter().all(|links| links.members.is_empty()) {
                prop_assert_eq!(spread(&once, &graph), once);
            }
        }

        #[test]
        fn more_secrets_never_mean_less(
            graph in prop::collection::vec(any_links(8), 8),
            own in prop::collection::vec(0usize..7, 8),
            extra in 0usize..8,
        ) {
            let own: Vec<Set> = own.into_iter().map(|at| Set::of(Sensitivity::ALL[at])).collect();
            let mut more = own.clone();
            more[extra].add(MIND);
            for (mut with, without) in spread(&more, &graph).into_iter().zip(spread(&own, &graph)) {
                prop_assert!(!with.add(without));
            }
        }
    }
}
