// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header maps: access by name with pseudo headers, and the ABI's packed form of all pairs.

use crate::abi::{MapKind, Status};
use gateway_filter_api::{RequestHead, ResponseHead};
use http::HeaderMap;

/// Most values in a map that a plugin may make; far below what `http` can hold.
const LONGEST_MAP: usize = 1000;
/// Longest name and value that a plugin may set.
const LONGEST_VALUE: usize = 64 * 1024;

/// The head that a map stands for.
#[derive(Debug)]
pub(crate) enum Head<'a> {
    Request(&'a mut RequestHead),
    Response(&'a mut ResponseHead),
}

/// How a value is put into a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Add,
    Replace,
}

impl Head<'_> {
    fn headers(&self) -> &HeaderMap {
        match self {
            Self::Request(head) => &head.headers,
            Self::Response(head) => &head.headers,
        }
    }

    /// Gives all values of a name to `sink`; false where there is none.
    pub(crate) fn value(&self, name: &str) -> Option<Vec<u8>> {
        if name.starts_with(':') || name == "host" {
            return match self {
                Self::Request(head) => head.get(name),
                Self::Response(head) => head.get(name),
            }
            .map(<[u8]>::to_vec);
        }
        // Several values are one list (RFC 9110, 5.3).
        let mut values = self.headers().get_all(name).iter();
        let mut all = values.next()?.as_bytes().to_vec();
        for value in values {
            all.push(b',');
            all.extend_from_slice(value.as_bytes());
        }
        Some(all)
    }

    /// Sets or adds a value.
    pub(crate) fn put(&mut self, name: &str, value: &[u8], how: Put) -> Result<(), Status> {
        if self.headers().len() >= LONGEST_MAP || name.len() + value.len() > LONGEST_VALUE {
            return Err(Status::InternalFailure);
        }
        let lower;
        let name = if name.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            lower.as_str()
        } else {
            name
        };
        match (self, how) {
            (Self::Request(head), Put::Add) => head.add(name, value),
            (Self::Request(head), Put::Replace) => head.set(name, value),
            (Self::Response(head), Put::Add) => head.add(name, value),
            (Self::Response(head), Put::Replace) => head.set(name, value),
        }
        .map_err(|_| Status::BadArgument)
    }

    /// Removes a name.
    pub(crate) fn remove(&mut self, name: &str) {
        match self {
            Self::Request(head) => head.remove(name),
            Self::Response(head) => head.remove(name),
        }
    }

    /// How many pairs there are, pseudo headers included.
    pub(crate) fn len(&self) -> usize {
        self.headers().len() + self.pseudo().len()
    }

    /// Bytes of all pairs.
    pub(crate) fn bytes(&self) -> usize {
        self.pairs().iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn pseudo(&self) -> Vec<(&str, &[u8])> {
        let names: &[&str] = match self {
            Self::Request(_) => &[":authority", ":path", ":method", ":scheme"],
            Self::Response(_) => &[":status"],
        };
        let value = |name: &&'static str| match self {
            Self::Request(head) => head.get(name),
            Self::Response(head) => head.get(name),
        };
        names.iter().filter_map(|name| Some((*name, value(name)?))).collect()
    }

    fn pairs(&self) -> Vec<(&str, &[u8])> {
        let mut pairs = self.pseudo();
        pairs.extend(self.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())));
        pairs
    }

    /// All pairs, packed.
    pub(crate) fn packed(&self) -> Vec<u8> {
        pack(&self.pairs())
    }

    /// Replaces all pairs. Pseudo headers that are not among the new ones stay.
    pub(crate) fn replace_all(&mut self, pairs: &[(&str, &[u8])]) -> Result<(), Status> {
        if pairs.len() > LONGEST_MAP {
            return Err(Status::BadArgument);
        }
        match self {
            Self::Request(head) => head.headers.clear(),
            Self::Response(head) => head.headers.clear(),
        }
        let mut refused = false;
        for (name, value) in pairs {
            // The scheme is the connection's; giving it back unchanged is no mistake.
            if *name != ":scheme" {
                refused |= self.put(name, value, Put::Add).is_err();
            }
        }
        if refused { Err(Status::BadArgument) } else { Ok(()) }
    }
}

/// Selects the head of a map kind; none where the map is empty by nature.
pub(crate) fn head<'a>(
    kind: MapKind,
    request: &'a mut RequestHead,
    response: Option<&'a mut ResponseHead>,
) -> Option<Head<'a>> {
    match kind {
        MapKind::RequestHeaders => Some(Head::Request(request)),
        MapKind::ResponseHeaders => response.map(Head::Response),
        MapKind::Other => None,
    }
}

/// Packs pairs: their number, the lengths of each name and value, then each name and value ended by a zero byte.
pub(crate) fn pack(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len() + 10).sum();
    let mut packed = Vec::with_capacity(4 + bytes);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    packed.extend_from_slice(&number(pairs.len()));
    for (name, value) in pairs {
        packed.extend_from_slice(&number(name.len()));
        packed.extend_from_slice(&number(value.len()));
    }
    for (name, value) in pairs {
        packed.extend_from_slice(name.as_bytes());
        packed.push(0);
        packed.extend_from_slice(value);
        packed.push(0);
    }
    packed
}

/// Reads packed pairs.
pub(crate) fn unpack(packed: &[u8]) -> Result<Vec<(&str, &[u8])>, Status> {
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let number = |at: usize| {
        let bytes = packed.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let count = number(0).filter(|count| *count <= LONGEST_MAP).ok_or(Status::ParseFailure)?;
    let mut pairs = Vec::with_capacity(count);
    let mut at = 4 + count * 8;
    for index in 0..count {
        let mut part = |length: Option<usize>| {
            let end = at.checked_add(length?)?;
            let bytes = packed.get(at..end)?;
            at = end + 1;
            Some(bytes)
        };
        let name = part(number(4 + index * 8)).and_then(|name| std::str::from_utf8(name).ok());
        let value = part(number(8 + index * 8));
        pairs.push((name.ok_or(Status::ParseFailure)?, value.ok_or(Status::ParseFailure)?));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::{pack, unpack};
    use crate::abi::Status;

    #[test]
    fn pairs_read_back_and_damage_is_refused() {
        let pairs: Vec<(&str, &[u8])> = vec![(":path", b"/a"), ("x-empty", b""), ("x-bytes", b"\xff\x00")];
        let packed = pack(&pairs);
        assert_eq!(&packed[..8], [3, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(unpack(&packed).unwrap(), pairs);
        assert_eq!(unpack(&[]).unwrap(), []);
        for cut in 1..packed.len() - 1 {
            assert_eq!(unpack(&packed[..cut]), Err(Status::ParseFailure), "cut at {cut}");
        }
        for position in 0..packed.len() {
            let mut damaged = packed.clone();
            damaged[position] = 0xff;
            // Whatever comes of it: no panic, no huge allocation.
            let _ = unpack(&damaged);
        }
    }
}
