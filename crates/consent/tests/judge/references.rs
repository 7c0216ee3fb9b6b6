//! Literal references, <https://hl7.org/fhir/R4/references.html#literal>: when two of them name the same thing.

/// A reference taken apart.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// `[base/]Type/id[/_history/version]`.
    Resource { base: Option<&'a str>, kind: &'a str, id: &'a str, version: Option<&'a str> },
    /// `urn:uuid:...` and other URNs: the scheme, and the whole.
    Urn(&'a str, &'a str),
    /// `[base/]Type?search`: whatever of that type the search finds.
    Search { kind: &'a str },
    /// `#id`: something within the resource that says so, without a name outside.
    Contained,
    /// Something else that is compared as it is written.
    Other(&'a str),
}

impl<'a> Name<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        if text.starts_with('#') {
            return Self::Contained;
        }
        if let Some((target, _)) = text.split_once('?') {
            return Self::Search { kind: target.rsplit('/').next().unwrap_or(target) };
        }
        if text.starts_with("urn:") {
            return Self::Urn(text.rsplit_once(':').map_or(text, |(scheme, _)| scheme), text);
        }
        let parts: Vec<&str> = text.split('/').collect();
        let (parts, version) = match parts.as_slice() {
            [front @ .., "_history", version] => (front, Some(*version)),
            all => (all, None),
        };
        match parts {
            [base @ .., kind, id] if is_type(kind) && !id.is_empty() => {
                let length = base.iter().map(|part| part.len() + 1).sum::<usize>();
                let base = (!base.is_empty()).then(|| &text[..length - 1]);
                Self::Resource { base, kind, id, version }
            }
            _ => Self::Other(text),
        }
    }

    /// Whether a Consent may name somebody so.
    pub(crate) fn can_be_compared(self) -> bool {
        !matches!(self, Self::Search { .. } | Self::Contained)
    }

    /// Whether a Consent may name a record so.
    pub(crate) fn is_of_a_resource(self) -> bool {
        matches!(self, Self::Resource { .. } | Self::Urn("urn:uuid", _))
    }

    /// Whether a name that somebody has tells that they are not `other`: of one kind, they would be equal.
    fn is_comparable(self, other: Self) -> bool {
        match (self, other) {
            (Self::Resource { kind, .. }, Self::Resource { kind: other, .. }) => kind == other,
            (Self::Urn(scheme, _), Self::Urn(other, _)) => scheme == other,
            (Self::Other(text), Self::Other(other)) => !text.contains(['/', ':']) && !other.contains(['/', ':']),
            _ => false,
        }
    }

    /// Whether both name the same thing: for certain, or (`wary`) possibly. Only names of resources tell that they do not.
    pub(crate) fn is(self, other: Self, wary: bool) -> bool {
        match (self, other) {
            (Self::Resource { base, kind, id, .. }, Self::Resource { base: other_base, kind: other_kind, id: other_id, .. }) => {
                // What a relative reference is relative to is not known.
                let bases = base == other_base || (wary && base.is_some() != other_base.is_some());
                (kind, id) == (other_kind, other_id) && bases
            }
            (Self::Search { kind }, Self::Resource { kind: other, .. }) => wary && (kind == other || !is_type(kind)),
            (Self::Search { .. } | Self::Contained, _) | (_, Self::Search { .. } | Self::Contained) => wary,
            _ => wary || self == other,
        }
    }
}

fn is_type(kind: &str) -> bool {
    kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether somebody who is known by these names is meant by `named`. A name of a kind that they are not known by may be theirs, and so may a
/// UUID, which is given to whatever has no name yet.
pub(crate) fn is_one_of(named: &str, known: &[&str], wary: bool) -> bool {
    let named = Name::of(named);
    let known = || known.iter().map(|own| Name::of(own));
    let provisional = |name: Name<'_>| matches!(name, Name::Urn("urn:uuid", _));
    known().any(|own| own.is(named, wary && matches!((own, named), (Name::Resource { .. }, Name::Resource { .. }))))
        || (wary && (!known().any(|own| own.is_comparable(named)) || known().any(|own| provisional(own) != provisional(named))))
}
