//! Positions in logs, and the fences made of them.

use chartmesh_identity::{AuthorKey, EntryHash, LaneId};
use serde::{Deserialize, Serialize};

/// One entry of one author's log in one lane, named by place and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Head {
    /// The lane.
    pub lane: LaneId,
    /// Whose log.
    pub author: AuthorKey,
    /// Its place in the log, from 1.
    pub seq: u64,
    /// The entry there.
    pub hash: EntryHash,
}

impl Head {
    /// The same place without its lane.
    pub fn point(&self) -> Point {
        Point { author: self.author, seq: self.seq, hash: self.hash }
    }
}

/// One entry of one author's log in the lane that is spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Point {
    /// Whose log.
    pub author: AuthorKey,
    /// Its place in the log, from 1.
    pub seq: u64,
    /// The entry there.
    pub hash: EntryHash,
}

/// How far each author's entries that name one id are accepted. Authors not listed have none accepted; of several points for one author the lowest holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub Vec<Point>);

impl Fence {
    /// Where `author` is cut off: its lowest point, by place and then hash.
    pub fn point(&self, author: &AuthorKey) -> Option<Point> {
        self.0.iter().filter(|point| point.author == *author).min_by_key(|point| (point.seq, point.hash)).copied()
    }
}
