//! References within what was imported. Nothing is ever fetched.
//!
//! A reference may be absolute, relative, versioned, `urn:uuid:`, or conditional
//! (`Practitioner?identifier=system|value`). Where several resources answer to it, all are taken: labels
//! then spread to the more restrictive outcome, whatever the order of arrival.

use std::collections::HashMap;

use crate::extract::base_of;

/// What a resource answers to.
pub(crate) struct Names<'a> {
    /// The inputs that it came in, ascending.
    pub(crate) inputs: &'a [usize],
    pub(crate) resource_type: &'a str,
    pub(crate) literal_id: Option<&'a str>,
    pub(crate) full_urls: &'a [String],
    pub(crate) source: Option<&'a str>,
    pub(crate) identifiers: &'a [(String, String)],
}

/// An index of imported resources by what they answer to.
pub(crate) struct Index<'a> {
    all: Vec<Names<'a>>,
    urls: HashMap<&'a str, Vec<usize>>,
    ids: HashMap<(&'a str, &'a str), Vec<usize>>,
    identifiers: HashMap<(&'a str, &'a str), Vec<usize>>,
}

impl<'a> Index<'a> {
    /// Indexes resources by position.
    pub(crate) fn new(all: Vec<Names<'a>>) -> Self {
        let mut index = Self { all: Vec::new(), urls: HashMap::new(), ids: HashMap::new(), identifiers: HashMap::new() };
        for (at, names) in all.iter().enumerate() {
            for url in names.full_urls {
                index.urls.entry(url).or_default().push(at);
            }
            if let Some(id) = names.literal_id {
                index.ids.entry((names.resource_type, id)).or_default().push(at);
            }
            for (_, value) in names.identifiers {
                index.identifiers.entry((names.resource_type, value)).or_default().push(at);
            }
        }
        index.all = all;
        index
    }

    /// The resources that `literal`, written in resource `from`, may mean; empty if none was imported.
    pub(crate) fn resolve(&self, literal: &str, from: usize) -> Vec<usize> {
        let literal = literal.split_once("/_history/").map_or(literal, |(current, _)| current);
        if let Some((resource_type, query)) = literal.split_once("?identifier=") {
            return self.by_identifier(resource_type, query);
        }
        if let Some(found) = self.by_url(literal, from) {
            return found;
        }
        let Some((rest, id)) = literal.rsplit_once('/') else {
            return Vec::new();
        };
        let resource_type = rest.rsplit_once('/').map_or(rest, |(_, last)| last);
        let Some(candidates) = self.ids.get(&(resource_type, id)) else {
            return Vec::new();
        };
        if let Some(base) = base_of(literal, resource_type) {
            return self.narrowed(candidates, |names| names.source == Some(base) || names.source.is_none());
        }
        let origin = self.all.get(from);
        self.narrowed(candidates, |names| {
            origin.is_some_and(|origin| names.source == origin.source && (names.source.is_some() || came_together(names, origin)))
        })
    }

    fn by_url(&self, url: &str, from: usize) -> Option<Vec<usize>> {
        let candidates = self.urls.get(url)?;
        let origin = self.all.get(from);
        Some(self.narrowed(candidates, |names| origin.is_some_and(|origin| came_together(names, origin))))
    }

    /// The candidates that are preferred, or all if none is.
    fn narrowed(&self, candidates: &[usize], preferred: impl Fn(&Names<'_>) -> bool) -> Vec<usize> {
        let best: Vec<usize> = candidates.iter().copied().filter(|&at| self.all.get(at).is_some_and(&preferred)).collect();
        if best.is_empty() { candidates.to_vec() } else { best }
    }

    fn by_identifier(&self, resource_type: &str, query: &str) -> Vec<usize> {
        let query = query.split_once('&').map_or(query, |(first, _)| first).replace("%7C", "|").replace("%7c", "|").replace("%3A", ":").replace("%2F", "/");
        let (system, value) = query.split_once('|').map_or((None, query.as_str()), |(system, value)| (Some(system), value));
        let Some(candidates) = self.identifiers.get(&(resource_type, value)) else {
            return Vec::new();
        };
        let matches =
            |names: &Names<'_>| system.is_none_or(|system| names.identifiers.iter().any(|(own_system, own_value)| own_system == system && own_value == value));
        candidates.iter().copied().filter(|&at| self.all.get(at).is_some_and(matches)).collect()
    }
}

/// Whether two resources were in one input.
fn came_together(one: &Names<'_>, other: &Names<'_>) -> bool {
    let (few, many) = if one.inputs.len() < other.inputs.len() { (one, other) } else { (other, one) };
    few.inputs.iter().any(|input| many.inputs.binary_search(input).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given {
        inputs: [usize; 1],
        resource_type: &'static str,
        id: &'static str,
        urls: Vec<String>,
        source: Option<&'static str>,
        identifiers: Vec<(String, String)>,
    }

    fn given(input: usize, resource_type: &'static str, id: &'static str, url: &str, source: Option<&'static str>) -> Given {
        let urls = if url.is_empty() { Vec::new() } else { vec![url.to_owned()] };
        Given { inputs: [input], resource_type, id, urls, source, identifiers: vec![("urn:npi".to_owned(), format!("n-{id}"))] }
    }

    fn names(given: &Given) -> Names<'_> {
        Names {
            inputs: &given.inputs,
            resource_type: given.resource_type,
            literal_id: Some(given.id),
            full_urls: &given.urls,
            source: given.source,
            identifiers: &given.identifiers,
        }
    }

    #[test]
    fn each_form_of_reference_finds_what_it_means() {
        let all = [
            given(0, "Patient", "1", "urn:uuid:aa", None),
            given(0, "Patient", "2", "http://a/fhir/Patient/2", Some("http://a/fhir")),
            given(1, "Patient", "2", "http://b/fhir/Patient/2", Some("http://b/fhir")),
            given(1, "Observation", "3", "http://b/fhir/Observation/3", Some("http://b/fhir")),
        ];
        let index = Index::new(all.iter().map(names).collect());
        assert_eq!(index.resolve("urn:uuid:aa", 3), [0]);
        assert_eq!(index.resolve("Patient/1", 3), [0]);
        assert_eq!(index.resolve("Patient/2", 3), [2]);
        assert_eq!(index.resolve("Patient/2", 1), [1]);
        assert_eq!(index.resolve("Patient/2/_history/7", 3), [2]);
        assert_eq!(index.resolve("http://a/fhir/Patient/2", 3), [1]);
        assert_eq!(index.resolve("Patient/2", 0), [1, 2]);
        assert_eq!(index.resolve("Patient?identifier=urn:npi|n-1", 3), [0]);
        assert_eq!(index.resolve("Patient?identifier=urn%3Anpi%7Cn-1", 3), [0]);
        assert!(index.resolve("Patient?identifier=urn:other|n-1", 3).is_empty());
        for none in ["Patient/9", "urn:uuid:bb", "Observation/1", "", "x"] {
            assert!(index.resolve(none, 3).is_empty(), "{none}");
        }
    }
}
