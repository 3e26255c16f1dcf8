// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Revisions back to configurations, keeping the parts that did not change.

use crate::chunk::{Hash, hash, read};
use crate::manifest::Manifest;
use crate::part::Part;
use operator_ir::{GatewayConfig, GatewayId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Why a revision cannot be opened; the one before stays open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError<E: std::error::Error + 'static> {
    /// A chunk cannot be had.
    #[error("cannot fetch chunk {name}")]
    Fetch {
        /// The chunk.
        name: String,
        /// Why.
        #[source]
        source: E,
    },
    /// A chunk does not hold what its name says.
    #[error("chunk {0} is damaged")]
    Damaged(String),
    /// A manifest or chunk is intact but not of a form that this version reads.
    #[error("chunk {0} has a form that this version cannot read")]
    Form(String),
}

/// Opens one revision after another.
#[derive(Debug, Default)]
pub struct Opener {
    revision: String,
    template: String,
    gateways: BTreeMap<GatewayId, GatewayConfig>,
    buckets: Vec<Option<Bucket>>,
}

/// A bucket's chunk and its parts.
#[derive(Clone, Debug)]
struct Bucket {
    chunk: String,
    parts: Vec<Line>,
}

/// A part and the hash of the line that it was read from.
#[derive(Clone, Debug)]
struct Line {
    hash: Hash,
    gateway: GatewayId,
    part: Part,
}

impl Opener {
    /// Has opened nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The configurations of the revision that was opened last.
    #[must_use]
    pub fn gateways(&self) -> &BTreeMap<GatewayId, GatewayConfig> {
        &self.gateways
    }

    /// The hash of the revision that was opened last; empty before.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The template digest of the revision that was opened last.
    #[must_use]
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Opens the revision `name`: fetches its manifest (stored under the same name) and the chunks that are not open yet.
    /// Parts whose line did not change keep their `Arc`.
    ///
    /// # Errors
    /// Where something cannot be fetched or read; the revision before stays open.
    pub fn open<E, B>(
        &mut self,
        name: &str,
        mut fetch: impl FnMut(&str) -> Result<B, E>,
    ) -> Result<&BTreeMap<GatewayId, GatewayConfig>, OpenError<E>>
    where
        E: std::error::Error + 'static,
        B: AsRef<[u8]>,
    {
        let mut load = |name: &str| {
            let data = fetch(name).map_err(|source| OpenError::Fetch { name: name.to_owned(), source })?;
            read(name, data.as_ref()).ok_or_else(|| OpenError::Damaged(name.to_owned()))
        };
        let form = || OpenError::Form(name.to_owned());
        let manifest = Manifest::read(&load(name)?).ok_or_else(form)?;
        let chunks = manifest.chunks().ok_or_else(form)?;
        let known = self.known(&chunks);
        let mut fresh = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            let open = self.buckets.get(at).and_then(Option::as_ref).map(|bucket| &bucket.chunk);
            if chunks.len() == self.buckets.len() && open == chunk.as_ref() {
                continue;
            }
            let bucket = match chunk {
                None => None,
                Some(chunk) => {
                    let parts = lines(&load(chunk)?, &known).ok_or_else(|| OpenError::Form(chunk.clone()))?;
                    Some(Bucket { chunk: chunk.clone(), parts })
                }
            };
            fresh.push((at, bucket));
        }
        // From here on nothing fails.
        self.install(chunks.len(), fresh, &manifest.gateways);
        name.clone_into(&mut self.revision);
        self.template = manifest.template;
        Ok(&self.gateways)
    }

    /// Parts of buckets that the new revision lists otherwise, by the hash of their line.
    fn known(&self, chunks: &[Option<String>]) -> HashMap<Hash, Line> {
        let kept: BTreeSet<&String> = if chunks.len() == self.buckets.len() {
            chunks.iter().flatten().collect()
        } else {
            BTreeSet::new()
        };
        let changed = self.buckets.iter().flatten().filter(|bucket| !kept.contains(&bucket.chunk));
        changed.flat_map(|bucket| &bucket.parts).map(|line| (line.hash, line.clone())).collect()
    }

    fn install(&mut self, buckets: usize, fresh: Vec<(usize, Option<Bucket>)>, gateways: &[GatewayId]) {
        let stale: Vec<Bucket> = if buckets == self.buckets.len() {
            fresh.iter().filter_map(|(at, _)| self.buckets[*at].take()).collect()
        } else {
            let stale = self.buckets.drain(..).flatten().collect();
            self.buckets.resize(buckets, None);
            stale
        };
        for line in stale.iter().flat_map(|bucket| &bucket.parts) {
            if let Some(config) = self.gateways.get_mut(&line.gateway) {
                line.part.remove_from(config);
            }
        }
        let listed: BTreeSet<&GatewayId> = gateways.iter().collect();
        self.gateways.retain(|id, _| listed.contains(id));
        for id in gateways {
            if !self.gateways.contains_key(id) {
                self.gateways.insert(id.clone(), GatewayConfig::default());
            }
        }
        for (at, bucket) in fresh {
            for line in bucket.iter().flat_map(|bucket| &bucket.parts) {
                if let Some(config) = self.gateways.get_mut(&line.gateway) {
                    line.part.insert_into(config);
                }
            }
            self.buckets[at] = bucket;
        }
    }
}

fn lines(raw: &[u8], known: &HashMap<Hash, Line>) -> Option<Vec<Line>> {
    let lines = raw.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let hash = hash(line);
            if let Some(known) = known.get(&hash) {
                return Some(known.clone());
            }
            let (gateway, part) = Part::read(line)?;
            Some(Line { hash, gateway, part })
        })
        .collect()
}
