// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Keys and values that all instances of a VM id share, with compare-and-swap.

use crate::abi::Status;
use parking_lot::Mutex;
use std::collections::HashMap;

/// What a stored entry costs beside its bytes.
const ENTRY_BYTES: usize = 64;

/// Shared data of one VM id and module; bounded.
#[derive(Debug)]
pub(crate) struct SharedData {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Vec<u8>, (Vec<u8>, u32)>,
    bytes: usize,
    last: u32,
}

impl SharedData {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default() }
    }

    /// Value and CAS number.
    pub(crate) fn get(&self, key: &[u8]) -> Result<(Vec<u8>, u32), Status> {
        self.inner.lock().entries.get(key).cloned().ok_or(Status::NotFound)
    }

    /// Stores a value; `cas` 0 stores always, another number only over the value that it was read with.
    pub(crate) fn set(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let before = inner.entries.get(key);
        if cas != 0 && before.map(|(_, number)| *number) != Some(cas) {
            return Err(Status::CasMismatch);
        }
        let freed = before.map_or(0, |(value, _)| key.len() + value.len() + ENTRY_BYTES);
        let bytes = inner.bytes - freed + key.len() + value.len() + ENTRY_BYTES;
        if bytes > self.limit {
            return Err(Status::InternalFailure);
        }
        inner.bytes = bytes;
        // 0 means "always" and is never a number.
        inner.last = inner.last.wrapping_add(1).max(1);
        inner.entries.insert(key.to_vec(), (value.to_vec(), inner.last));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::SharedData;
    use crate::abi::Status;

    #[test]
    fn values_swap_only_over_what_was_read_and_within_the_limit() {
        let data = SharedData::new(300);
        assert_eq!(data.get(b"k"), Err(Status::NotFound));
        assert_eq!(data.set(b"k", b"0", 7), Err(Status::CasMismatch));
        data.set(b"k", b"1", 0).unwrap();
        let (value, cas) = data.get(b"k").unwrap();
        assert_eq!(value, b"1");
        data.set(b"k", b"2", cas).unwrap();
        assert_eq!(data.set(b"k", b"3", cas), Err(Status::CasMismatch));
        assert_eq!(data.get(b"k").unwrap().0, b"2");
        assert_eq!(data.set(b"large", &[0; 300], 0), Err(Status::InternalFailure));
        for round in 0..100_u8 {
            data.set(b"k", &[round], 0).unwrap();
        }
        assert_eq!(data.get(b"k").unwrap().0, [99]);
    }
}
