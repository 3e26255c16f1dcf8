// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Configurations to revisions, at the cost of what changed.

use crate::chunk::{Chunk, Hash, RAW_LIMIT, hash};
use crate::manifest::{MOST_BUCKETS, Manifest};
use crate::part::{Part, PartRef, parts_of, place};
use operator_ir::{GatewayConfig, GatewayId};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why a configuration cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// One part is larger than a chunk may be.
    #[error(
        "{gateway}: {part} takes {bytes} bytes, more than {RAW_LIMIT}; split the object that it comes from"
    )]
    PartTooLarge {
        /// The gateway.
        gateway: GatewayId,
        /// The part.
        part: String,
        /// Its encoded size.
        bytes: usize,
    },
    /// All parts together are larger than a revision may be.
    #[error("the configuration does not fit into {MOST_BUCKETS} chunks")]
    TooLarge,
    /// A part cannot be written as JSON.
    #[error("cannot encode a part")]
    Encode(#[from] serde_json::Error),
    /// zstd failed.
    #[error("cannot compress a chunk")]
    Compress(#[from] std::io::Error),
}

/// A sealed revision.
#[derive(Clone, Debug)]
pub struct Revision {
    /// SHA-256 of the manifest in lower-case hex: the revision's name.
    pub hash: String,
    /// Lists the chunks; stored as `hash`.
    pub manifest: Arc<Chunk>,
    /// All chunks, in order of their buckets; those of unchanged parts are the same allocation as before.
    pub chunks: Vec<Arc<Chunk>>,
}

/// Seals one revision after another and keeps what did not change.
#[derive(Debug, Default)]
pub struct Sealer {
    entries: BTreeMap<GatewayId, Vec<Entry>>,
    buckets: Vec<Bucket>,
}

/// A part with its place and size. Entries of a gateway are in the order of their names.
#[derive(Clone, Debug)]
struct Entry {
    part: Part,
    place: u64,
    bytes: usize,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Bytes of its lines.
    bytes: usize,
    /// How many parts fell here.
    parts: usize,
    /// Its chunk and that chunk's hash; none while empty or changed.
    sealed: Option<(Hash, Arc<Chunk>)>,
}

impl Sealer {
    /// Has sealed nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Seals configurations together with the digest of their workload template.
    ///
    /// # Errors
    /// Where a part is too large or cannot be encoded. The sealer then begins anew with the next revision.
    pub fn seal<C: Borrow<GatewayConfig>>(
        &mut self,
        gateways: &BTreeMap<GatewayId, C>,
        template: &str,
    ) -> Result<Revision, SealError> {
        let sealed = self.try_seal(gateways, template);
        if sealed.is_err() {
            *self = Self::default();
        }
        sealed
    }

    fn try_seal<C: Borrow<GatewayConfig>>(
        &mut self,
        gateways: &BTreeMap<GatewayId, C>,
        template: &str,
    ) -> Result<Revision, SealError> {
        self.take(gateways)?;
        self.divide()?;
        self.seal_buckets()?;
        let hashes: Vec<Option<Hash>> =
            self.buckets.iter().map(|b| b.sealed.as_ref().map(|(hash, _)| *hash)).collect();
        let manifest = Manifest::new(template.to_owned(), gateways.keys().cloned().collect(), &hashes);
        let manifest = Arc::new(Chunk::new(&serde_json::to_vec(&manifest)?)?);
        let chunks =
            self.buckets.iter().filter_map(|b| b.sealed.as_ref().map(|(_, chunk)| chunk.clone())).collect();
        Ok(Revision { hash: manifest.name.clone(), manifest, chunks })
    }

    /// Takes the parts over, marking the buckets of changed ones.
    fn take<C: Borrow<GatewayConfig>>(&mut self, gateways: &BTreeMap<GatewayId, C>) -> Result<(), SealError> {
        let gone: Vec<GatewayId> =
            self.entries.keys().filter(|id| !gateways.contains_key(id)).cloned().collect();
        for id in gone {
            for entry in self.entries.remove(&id).unwrap_or_default() {
                self.change(entry.place, 0, entry.bytes);
            }
        }
        for (id, config) in gateways {
            let before = self.entries.remove(id).unwrap_or_default();
            let mut after = Vec::with_capacity(before.len());
            let mut before = before.into_iter().peekable();
            for part in parts_of(config.borrow()) {
                while let Some(stale) = before.next_if(|entry| entry.part.name() < part.name()) {
                    self.change(stale.place, 0, stale.bytes);
                }
                let known = before.next_if(|entry| entry.part.name() == part.name());
                after.push(self.entry(id, part, known)?);
            }
            for stale in before {
                self.change(stale.place, 0, stale.bytes);
            }
            self.entries.insert(id.clone(), after);
        }
        Ok(())
    }

    fn entry(
        &mut self,
        gateway: &GatewayId,
        part: PartRef<'_>,
        known: Option<Entry>,
    ) -> Result<Entry, SealError> {
        let known = match known {
            Some(known) if known.part.as_ref().same(part) => return Ok(known),
            other => other,
        };
        let mut line = Vec::new();
        part.write(gateway, &mut line)?;
        let bytes = line.len();
        if bytes > RAW_LIMIT {
            return Err(SealError::PartTooLarge {
                gateway: gateway.clone(),
                part: part.name().to_string(),
                bytes,
            });
        }
        let place = match &known {
            Some(known) => known.place,
            None => place(gateway, part.name())?,
        };
        self.change(place, bytes, known.map_or(0, |known| known.bytes));
        Ok(Entry { part: part.to_part(), place, bytes })
    }

    /// Notes that a part of a bucket changed from one size to another; 0 is absent.
    fn change(&mut self, place: u64, bytes: usize, before: usize) {
        let buckets = self.buckets.len();
        if buckets == 0 {
            return;
        }
        let bucket = &mut self.buckets[index(place, buckets)];
        bucket.sealed = None;
        bucket.bytes = bucket.bytes + bytes - before;
        bucket.parts = bucket.parts + usize::from(bytes > 0) - usize::from(before > 0);
    }

    /// Chooses the number of buckets by content alone; a new number seals everything anew.
    fn divide(&mut self) -> Result<(), SealError> {
        let total = self.entries.values().map(Vec::len).sum();
        let wanted = self.wanted(bucket_count(total))?;
        if wanted == self.buckets.len() {
            return Ok(());
        }
        self.buckets = vec![Bucket::default(); wanted];
        let places: Vec<(u64, usize)> = self.entries.values().flatten().map(|e| (e.place, e.bytes)).collect();
        for (place, bytes) in places {
            self.change(place, bytes, 0);
        }
        Ok(())
    }

    /// The least number of buckets from `least` on in which none is too full.
    fn wanted(&self, least: usize) -> Result<usize, SealError> {
        let mut count = least;
        while count <= MOST_BUCKETS {
            let fits = if self.buckets.len() >= count {
                // Coarser buckets are sums of finer ones: their low bits agree.
                let mut sums = vec![0; count];
                self.buckets.iter().enumerate().for_each(|(i, bucket)| sums[i % count] += bucket.bytes);
                sums.iter().all(|bytes| *bytes <= RAW_LIMIT)
            } else {
                let mut sums = vec![0; count];
                self.entries
                    .values()
                    .flatten()
                    .for_each(|entry| sums[index(entry.place, count)] += entry.bytes);
                sums.iter().all(|bytes| *bytes <= RAW_LIMIT)
            };
            if fits {
                return Ok(count);
            }
            count *= 2;
        }
        Err(SealError::TooLarge)
    }

    fn seal_buckets(&mut self) -> Result<(), SealError> {
        let count = self.buckets.len();
        let open: BTreeSet<usize> =
            (0..count).filter(|i| self.buckets[*i].sealed.is_none() && self.buckets[*i].parts > 0).collect();
        if open.is_empty() {
            return Ok(());
        }
        let mut lines: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (gateway, entries) in &self.entries {
            for entry in entries {
                let at = index(entry.place, count);
                if open.contains(&at) {
                    entry.part.as_ref().write(gateway, lines.entry(at).or_default())?;
                }
            }
        }
        for (at, raw) in lines {
            self.buckets[at].sealed = Some((hash(&raw), Arc::new(Chunk::new(&raw)?)));
        }
        Ok(())
    }
}

fn index(place: u64, buckets: usize) -> usize {
    // A power of two: the low bits.
    usize::try_from(place & (buckets as u64 - 1)).unwrap_or_default()
}

/// Buckets for a number of parts: about as many bytes in a chunk as in the manifest, which a change writes both of.
/// 20,000 parts give 256.
fn bucket_count(parts: usize) -> usize {
    (parts * 3).isqrt().max(1).next_power_of_two().min(MOST_BUCKETS)
}
