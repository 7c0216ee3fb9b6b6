//! Writes that happen together or not at all.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use crate::Table;

/// A value to set, or nothing to remove the key.
pub(crate) type Write = Option<Zeroizing<Vec<u8>>>;

/// A set of writes over any tables. Of several writes to one key the last holds.
#[derive(Default)]
pub struct Batch {
    pub(crate) writes: BTreeMap<(Table, Vec<u8>), Write>,
}

impl Batch {
    /// Nothing to write yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, table: Table, key: &[u8], value: impl Into<Vec<u8>>) -> &mut Self {
        self.writes.insert((table, key.to_vec()), Some(Zeroizing::new(value.into())));
        self
    }

    /// Removes a key, if it is there.
    pub fn remove(&mut self, table: Table, key: &[u8]) -> &mut Self {
        self.writes.insert((table, key.to_vec()), None);
        self
    }

    /// How many keys are written.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}
