// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Connections of a listener by where they come from: one source may not take all of them.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Locks, so that workers seldom meet.
const SHARDS: usize = 16;

/// How many connections each source has.
#[derive(Debug)]
pub(crate) struct Sources {
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
    limit: usize,
}

impl Sources {
    /// 0: no limit.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { shards: std::array::from_fn(|_| Mutex::default()), limit })
    }

    /// Counts a connection; none above the limit.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<SourceAdmission> {
        let source = source(address);
        if self.limit > 0 {
            let mut shard = self.shards[shard(source)].lock();
            let count = shard.entry(source).or_default();
            if *count as usize >= self.limit {
                return None;
            }
            *count += 1;
        }
        Some(SourceAdmission(Arc::clone(self), source))
    }
}

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(crate) struct SourceAdmission(Arc<Sources>, IpAddr);

impl Drop for SourceAdmission {
    fn drop(&mut self) {
        let Self(sources, source) = self;
        if sources.limit == 0 {
            return;
        }
        let mut shard = sources.shards[shard(*source)].lock();
        if let Some(count) = shard.get_mut(source) {
            *count -= 1;
            if *count == 0 {
                shard.remove(source);
            }
        }
    }
}

/// Who has an IPv6 address usually has all that differ in the last 64 bits.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

fn shard(source: IpAddr) -> usize {
    let bits = match source {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u32,
    };
    (bits.wrapping_mul(0x9e37_79b9) >> 28) as usize
}

#[cfg(test)]
mod tests {
    use super::Sources;

    #[test]
    fn each_source_has_its_own_count_until_its_connections_end() {
        let sources = Sources::new(2);
        let admit = |address: &str| sources.admit(address.parse().unwrap());
        let held = [admit("192.0.2.1"), admit("::ffff:192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some(), "another source");
        let network = [admit("2001:db8::1"), admit("2001:db8::ffff:1")];
        assert!(network.iter().all(Option::is_some) && admit("2001:db8::2").is_none());
        assert!(admit("2001:db8:0:1::2").is_some());
        drop(held);
        assert!(admit("192.0.2.1").is_some());
        drop(network);
        assert!(sources.shards.iter().all(|shard| shard.lock().is_empty()), "nothing is kept");
        let without = Sources::new(0);
        let all: Vec<_> = (0..10).map(|_| without.admit("192.0.2.1".parse().unwrap())).collect();
        assert!(all.iter().all(Option::is_some));
    }
}
