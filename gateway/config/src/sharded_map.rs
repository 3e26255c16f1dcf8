// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A map by name whose copies share what did not change, so that a snapshot with one change costs little at any size.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Shards in a map; a change copies this many pointers and one shard.
const SHARDS: usize = 256;

/// An immutable-friendly map: `clone` is one pointer, a change after it copies 1/256 of the entries.
#[derive(Clone)]
pub struct ShardedMap<V> {
    shards: Arc<[Shard<V>]>,
    hasher: RandomState,
    length: usize,
}

/// Sorted by hash, then name.
type Shard<V> = Arc<Vec<(u64, Arc<str>, V)>>;

impl<V> Default for ShardedMap<V> {
    fn default() -> Self {
        let empty: Shard<V> = Arc::new(Vec::new());
        Self {
            shards: (0..SHARDS).map(|_| Arc::clone(&empty)).collect(),
            hasher: RandomState::new(),
            length: 0,
        }
    }
}

impl<V: std::fmt::Debug> std::fmt::Debug for ShardedMap<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> ShardedMap<V> {
    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Looks a name up.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        if self.length == 0 {
            return None;
        }
        let hash = self.hasher.hash_one(name);
        let shard = self.shards.get(shard_of(hash))?;
        let at = find(shard, hash, name).ok()?;
        shard.get(at).map(|(_, _, value)| value)
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter().map(|(_, name, value)| (&**name, value)))
    }
}

impl<V: Clone> ShardedMap<V> {
    /// Puts an entry in and gives back what it replaced.
    pub fn insert(&mut self, name: &str, value: V) -> Option<V> {
        let hash = self.hasher.hash_one(name);
        let shard = Arc::make_mut(Arc::make_mut(&mut self.shards).get_mut(shard_of(hash))?);
        match find(shard, hash, name) {
            Ok(at) => shard.get_mut(at).map(|entry| std::mem::replace(&mut entry.2, value)),
            Err(at) => {
                shard.insert(at, (hash, name.into(), value));
                self.length += 1;
                None
            }
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let hash = self.hasher.hash_one(name);
        let at = find(self.shards.get(shard_of(hash))?, hash, name).ok()?;
        let shard = Arc::make_mut(Arc::make_mut(&mut self.shards).get_mut(shard_of(hash))?);
        self.length -= 1;
        Some(shard.remove(at).2)
    }
}

fn shard_of(hash: u64) -> usize {
    (hash >> 56) as usize % SHARDS
}

fn find<V>(shard: &[(u64, Arc<str>, V)], hash: u64, name: &str) -> Result<usize, usize> {
    shard.binary_search_by(|(h, n, _)| h.cmp(&hash).then_with(|| (**n).cmp(name)))
}
