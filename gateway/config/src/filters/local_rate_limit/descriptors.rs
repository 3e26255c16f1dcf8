// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Buckets by what descriptors say of a request.

use super::{Taken, TokenBucket};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What a rule says of a request: entries in order, and how many tokens it takes.
pub type RequestDescriptor = (Vec<(Box<str>, Box<str>)>, u64);

/// A key, and its value where that is not left open.
pub type DescriptorEntry = (Box<str>, Option<Box<str>>);

/// The buckets of a limit.
#[derive(Debug, PartialEq)]
pub struct LocalBuckets {
    /// For all requests, or those without a descriptor; none: no limit.
    pub default: Option<TokenBucket>,
    /// The default one gives a token to each request, and not only to those without a descriptor.
    pub always_default: bool,
    /// The others, those that fill slowest first.
    pub descriptors: Box<[LocalDescriptor]>,
}

/// The bucket of requests that a descriptor fits, or one for each value where it leaves values open.
#[derive(Debug)]
pub struct LocalDescriptor {
    entries: Box<[DescriptorEntry]>,
    bucket: TokenBucket,
    shadow: bool,
    /// How many buckets there are at the most for values that are left open.
    most: usize,
    open: Mutex<Open>,
}

/// A request's values of entries that are left open.
type OpenValues = Box<[Box<str>]>;

/// Buckets of values that are left open. Where there are too many, the one that was not used for longest goes.
#[derive(Debug, Default)]
struct Open {
    /// By the values, each with its last use.
    buckets: HashMap<OpenValues, (Arc<TokenBucket>, u64)>,
    uses: u64,
}

impl LocalDescriptor {
    /// `shadow`: requests above the limit are let through.
    #[must_use]
    pub fn new(entries: Box<[DescriptorEntry]>, bucket: TokenBucket, shadow: bool, most: usize) -> Self {
        Self { entries, bucket, shadow, most, open: Mutex::default() }
    }

    /// Keys, and values that are not left open.
    #[must_use]
    pub fn entries(&self) -> &[DescriptorEntry] {
        &self.entries
    }

    fn fits(&self, entries: &[(Box<str>, Box<str>)]) -> bool {
        self.entries.len() == entries.len()
            && self.entries.iter().zip(entries).all(|((key, value), (own, given))| {
                key == own && value.as_ref().is_none_or(|value| value == given)
            })
    }

    fn is_closed(&self) -> bool {
        self.entries.iter().all(|(_, value)| value.is_some())
    }

    fn take(&self, entries: &[(Box<str>, Box<str>)], now: Duration, tokens: u64) -> Taken {
        if self.is_closed() {
            return self.bucket.take(now, tokens);
        }
        let open = self.entries.iter().zip(entries).filter(|((_, value), _)| value.is_none());
        let values: OpenValues = open.map(|(_, (_, given))| given.clone()).collect();
        self.bucket_of(values).take(now, tokens)
    }

    fn bucket_of(&self, values: OpenValues) -> Arc<TokenBucket> {
        let mut open = self.open.lock();
        open.uses += 1;
        let uses = open.uses;
        if let Some((bucket, last)) = open.buckets.get_mut(&values) {
            *last = uses;
            return Arc::clone(bucket);
        }
        if open.buckets.len() >= self.most {
            let oldest = open.buckets.iter().min_by_key(|(_, (_, last))| *last);
            if let Some(oldest) = oldest.map(|(values, _)| values.clone()) {
                open.buckets.remove(&oldest);
            }
        }
        let bucket = Arc::new(self.bucket.fresh());
        open.buckets.insert(values, (Arc::clone(&bucket), uses));
        bucket
    }

    fn fresh(&self) -> Self {
        Self::new(self.entries.clone(), self.bucket.fresh(), self.shadow, self.most)
    }
}

impl PartialEq for LocalDescriptor {
    /// The same settings; how full the buckets are does not matter.
    fn eq(&self, other: &Self) -> bool {
        (&self.entries, &self.bucket, self.shadow, self.most)
            == (&other.entries, &other.bucket, other.shadow, other.most)
    }
}

impl LocalBuckets {
    /// Full ones with the same settings.
    #[must_use]
    pub fn fresh(&self) -> Self {
        Self {
            default: self.default.as_ref().map(TokenBucket::fresh),
            always_default: self.always_default,
            descriptors: self.descriptors.iter().map(LocalDescriptor::fresh).collect(),
        }
    }

    /// Whether anything is limited at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.default.is_none() && self.descriptors.is_empty()
    }

    /// Where the descriptor stands that fits; one without open values before all others.
    fn find(&self, entries: &[(Box<str>, Box<str>)]) -> Option<usize> {
        let mut fitting = (0..self.descriptors.len()).filter(|at| self.descriptors[*at].fits(entries));
        let first = fitting.next()?;
        let closed = std::iter::once(first).chain(fitting).find(|at| self.descriptors[*at].is_closed());
        Some(closed.unwrap_or(first))
    }

    /// Takes tokens for a request; what the bucket says that refuses it, else the first that fits, with the most tokens that it holds.
    #[must_use]
    pub fn take(&self, request: &[RequestDescriptor], now: Duration) -> Option<(Taken, u32)> {
        let mut first = None;
        let mut found: Vec<_> = request
            .iter()
            .filter_map(|(entries, tokens)| Some((self.find(entries)?, entries, tokens)))
            .collect();
        found.sort_by_key(|(at, ..)| *at);
        for (at, entries, tokens) in found {
            let descriptor = &self.descriptors[at];
            let taken = descriptor.take(entries, now, *tokens);
            let told = (taken, descriptor.bucket.max_tokens());
            if !taken.allowed && !descriptor.shadow {
                return Some(told);
            }
            first = first.or(Some((Taken { allowed: true, ..taken }, told.1)));
        }
        if first.is_some() && !self.always_default {
            return first;
        }
        let Some(bucket) = &self.default else { return first };
        let taken = bucket.take(now, 1);
        match first {
            Some(first) if taken.allowed => Some(first),
            _ => Some((taken, bucket.max_tokens())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LocalBuckets, LocalDescriptor, RequestDescriptor};
    use crate::TokenBucket;
    use std::time::Duration;

    fn bucket(tokens: u32) -> TokenBucket {
        TokenBucket::new(tokens, 1, Duration::from_secs(3600))
    }

    fn descriptor(entries: &[(&str, Option<&str>)], tokens: u32, most: usize) -> LocalDescriptor {
        let entries = entries.iter().map(|(key, value)| ((*key).into(), value.map(Into::into)));
        LocalDescriptor::new(entries.collect(), bucket(tokens), false, most)
    }

    fn request(entries: &[(&str, &str)]) -> Vec<RequestDescriptor> {
        vec![(entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(), 1)]
    }

    fn allowed(buckets: &LocalBuckets, request: &[RequestDescriptor], times: usize) -> usize {
        let take = || buckets.take(request, Duration::ZERO).is_none_or(|(taken, _)| taken.allowed);
        (0..times).filter(|_| take()).count()
    }

    #[test]
    fn descriptors_fit_as_a_whole_and_the_default_counts_as_configured() {
        for (always_default, others) in [(true, 2), (false, 5)] {
            let buckets = LocalBuckets {
                default: Some(bucket(5)),
                always_default,
                descriptors: [descriptor(&[("path", Some("/a")), ("user", Some("ann"))], 3, 1)].into(),
            };
            assert_eq!(allowed(&buckets, &request(&[("path", "/a"), ("user", "ann")]), 9), 3);
            for other in [&[("path", "/a")][..], &[("user", "ann"), ("path", "/a")]] {
                assert!(buckets.take(&request(other), Duration::ZERO).is_some());
            }
            assert_eq!(allowed(&buckets, &[], 9), others - 2, "{always_default}");
        }
    }

    #[test]
    fn values_that_are_left_open_have_buckets_of_their_own_up_to_a_number() {
        let buckets = LocalBuckets {
            default: None,
            always_default: true,
            descriptors: [descriptor(&[("user", None)], 2, 2)].into(),
        };
        for user in ["ann", "bob", "ann", "bob"] {
            assert_eq!(allowed(&buckets, &request(&[("user", user)]), 1), 1, "{user}");
        }
        assert_eq!(allowed(&buckets, &request(&[("user", "ann")]), 1), 0);
        // Bob's bucket was not used for longest.
        assert_eq!(allowed(&buckets, &request(&[("user", "eve")]), 3), 2);
        assert_eq!(allowed(&buckets, &request(&[("user", "ann")]), 1), 0);
        assert_eq!(allowed(&buckets, &request(&[("user", "bob")]), 3), 2);
        assert_eq!(buckets.descriptors[0].open.lock().buckets.len(), 2);
        assert_eq!(allowed(&buckets.fresh(), &request(&[("user", "bob")]), 3), 2);
    }
}
