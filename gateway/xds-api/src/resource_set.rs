// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Sets of packed resources that share what did not change: clones are cheap, differences are found without a walk.

use crate::{PackedResource, ResourceType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most resources in one chunk; a full chunk splits in two.
const CHUNK: usize = 128;

/// Resources of one type, in order of their names.
///
/// Sorted chunks behind `Arc`: a clone copies one pointer for each chunk, a change copies one chunk, and [`Self::diff`]
/// skips the chunks that both sides share.
#[derive(Clone, Debug, Default)]
pub struct ResourceMap {
    chunks: Vec<Arc<Vec<Arc<PackedResource>>>>,
    len: usize,
}

/// One difference between two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'a> {
    /// New, or of another version.
    Upsert(&'a Arc<PackedResource>),
    /// Gone; its name.
    Removed(&'a str),
}

impl ResourceMap {
    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Looks a resource up.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<PackedResource>> {
        let chunk = self.chunks.get(self.chunk_of(name))?;
        chunk.binary_search_by(|r| r.name.as_str().cmp(name)).ok().and_then(|i| chunk.get(i))
    }

    /// All resources, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<PackedResource>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Puts a resource in; the one of the same name that it replaces is returned.
    pub fn insert(&mut self, resource: Arc<PackedResource>) -> Option<Arc<PackedResource>> {
        let at = self.chunk_of(&resource.name);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(vec![resource]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        match chunk.binary_search_by(|r| r.name.cmp(&resource.name)) {
            Ok(i) => Some(std::mem::replace(&mut chunk[i], resource)),
            Err(i) => {
                chunk.insert(i, resource);
                self.len += 1;
                if chunk.len() > CHUNK {
                    let upper = chunk.split_off(chunk.len() / 2);
                    self.chunks.insert(at + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    /// Takes a resource out.
    pub fn remove(&mut self, name: &str) -> Option<Arc<PackedResource>> {
        let at = self.chunk_of(name);
        let chunk = self.chunks.get_mut(at)?;
        let i = chunk.binary_search_by(|r| r.name.as_str().cmp(name)).ok()?;
        let chunk = Arc::make_mut(chunk);
        let removed = chunk.remove(i);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        Some(removed)
    }

    /// Whether both share every chunk, which is cheaper to ask than equality.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.chunks.len() == other.chunks.len()
            && self.chunks.iter().zip(&other.chunks).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// What makes `newer` of `self`, by name. Costs one step for each shared chunk and for each resource in the others.
    #[must_use]
    pub fn diff<'a>(&'a self, newer: &'a Self) -> Vec<Difference<'a>> {
        let mut found = Vec::new();
        let (mut old, mut new) = (Cursor::new(self), Cursor::new(newer));
        loop {
            if old.skip_shared(&mut new) {
                continue;
            }
            match (old.peek(), new.peek()) {
                (None, None) => return found,
                (Some(a), None) => {
                    found.push(Difference::Removed(&a.name));
                    old.step();
                }
                (None, Some(b)) => {
                    found.push(Difference::Upsert(b));
                    new.step();
                }
                (Some(a), Some(b)) => match a.name.cmp(&b.name) {
                    std::cmp::Ordering::Less => {
                        found.push(Difference::Removed(&a.name));
                        old.step();
                    }
                    std::cmp::Ordering::Greater => {
                        found.push(Difference::Upsert(b));
                        new.step();
                    }
                    std::cmp::Ordering::Equal => {
                        if !Arc::ptr_eq(a, b) && a.version != b.version {
                            found.push(Difference::Upsert(b));
                        }
                        old.step();
                        new.step();
                    }
                },
            }
        }
    }

    /// The chunk that holds `name`, or would.
    fn chunk_of(&self, name: &str) -> usize {
        let after = self.chunks.partition_point(|c| c.first().is_some_and(|r| r.name.as_str() <= name));
        after.saturating_sub(1)
    }
}

impl PartialEq for ResourceMap {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl Eq for ResourceMap {}

impl FromIterator<Arc<PackedResource>> for ResourceMap {
    fn from_iter<I: IntoIterator<Item = Arc<PackedResource>>>(resources: I) -> Self {
        let mut map = Self::default();
        for resource in resources {
            map.insert(resource);
        }
        map
    }
}

/// A place in a map during a walk.
struct Cursor<'a> {
    map: &'a ResourceMap,
    chunk: usize,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(map: &'a ResourceMap) -> Self {
        Self { map, chunk: 0, at: 0 }
    }

    fn peek(&self) -> Option<&'a Arc<PackedResource>> {
        self.map.chunks.get(self.chunk)?.get(self.at)
    }

    fn step(&mut self) {
        self.at += 1;
        if self.map.chunks.get(self.chunk).is_some_and(|c| self.at >= c.len()) {
            self.chunk += 1;
            self.at = 0;
        }
    }

    /// Passes a chunk that both hold, where both stand at its beginning.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        if self.at != 0 || other.at != 0 {
            return false;
        }
        match (self.map.chunks.get(self.chunk), other.map.chunks.get(other.chunk)) {
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => {
                self.chunk += 1;
                other.chunk += 1;
                true
            }
            _ => false,
        }
    }
}

/// Everything that one group of proxies may subscribe to. A clone shares all that does not change afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSet {
    types: BTreeMap<ResourceType, ResourceMap>,
}

impl ResourceSet {
    /// Puts a resource in, replacing one of the same name.
    pub fn insert(&mut self, kind: ResourceType, resource: Arc<PackedResource>) {
        self.types.entry(kind).or_default().insert(resource);
    }

    /// Takes a resource out; whether it was there.
    pub fn remove(&mut self, kind: ResourceType, name: &str) -> bool {
        self.types.get_mut(&kind).is_some_and(|map| map.remove(name).is_some())
    }

    /// Looks a resource up.
    #[must_use]
    pub fn get(&self, kind: ResourceType, name: &str) -> Option<&Arc<PackedResource>> {
        self.types.get(&kind)?.get(name)
    }

    /// All resources of a type, by name.
    pub fn of(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<PackedResource>> {
        self.types.get(&kind).into_iter().flat_map(ResourceMap::iter)
    }

    /// The resources of a type.
    #[must_use]
    pub fn map(&self, kind: ResourceType) -> ResourceMap {
        self.types.get(&kind).cloned().unwrap_or_default()
    }

    /// Replaces all resources of a type.
    pub fn set_map(&mut self, kind: ResourceType, map: ResourceMap) {
        self.types.insert(kind, map);
    }

    /// How many resources of a type there are.
    #[must_use]
    pub fn count(&self, kind: ResourceType) -> usize {
        self.types.get(&kind).map_or(0, ResourceMap::len)
    }
}

#[cfg(test)]
mod tests {
    use super::{Difference, ResourceMap};
    use crate::PackedResource;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn resource(name: usize, version: usize) -> Arc<PackedResource> {
        Arc::new(PackedResource {
            name: format!("r{name:05}"),
            version: version.to_string(),
            value: bytes::Bytes::new(),
            origin: String::new(),
        })
    }

    /// A small generator, so that the same cases run every time.
    fn next(state: &mut u64) -> usize {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap_or_default()
    }

    #[test]
    fn map_and_difference_agree_with_a_plain_map() {
        let mut seed = 7;
        let mut map = ResourceMap::default();
        let mut plain = BTreeMap::new();
        for round in 0..60 {
            let (before, plain_before) = (map.clone(), plain.clone());
            for _ in 0..next(&mut seed) % 200 {
                let name = next(&mut seed) % 1_500;
                if next(&mut seed).is_multiple_of(3) {
                    let removed = map.remove(&format!("r{name:05}"));
                    assert_eq!(removed.is_some(), plain.remove(&name).is_some());
                } else {
                    map.insert(resource(name, round));
                    plain.insert(name, round);
                }
            }
            assert_eq!(map.len(), plain.len());
            assert!(map.iter().map(|r| r.name.clone()).eq(plain.keys().map(|n| format!("r{n:05}"))));
            let mut patched = plain_before;
            for change in before.diff(&map) {
                match change {
                    Difference::Upsert(r) => {
                        let name = r.name[1..].parse::<usize>().expect("a number");
                        assert_ne!(
                            patched.insert(name, r.version.parse().expect("a number")),
                            plain.get(&name).copied()
                        );
                    }
                    Difference::Removed(name) => {
                        assert!(patched.remove(&name[1..].parse::<usize>().expect("a number")).is_some());
                    }
                }
            }
            assert_eq!(patched, plain);
        }
    }

    #[test]
    fn a_change_copies_one_chunk() {
        let before: ResourceMap = (0..10_000).map(|n| resource(n, 0)).collect();
        let mut after = before.clone();
        assert!(before.same(&after));
        after.insert(resource(5_000, 1));
        let shared = before.chunks.iter().zip(&after.chunks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared + 1, before.chunks.len());
        assert_eq!(before.diff(&after), [Difference::Upsert(&resource(5_000, 1))]);
    }
}
