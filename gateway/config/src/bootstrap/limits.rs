// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What a gateway takes on at the most.

use super::BootstrapError;
use serde::Deserialize;

/// Limits of the process; what is not written keeps its safe default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessLimits {
    /// Memory that the process should stay below, such as `512Mi`; else 85 % of its cgroup's limit, if there is one.
    #[serde(default)]
    pub memory: Option<String>,
    /// Connections of all listeners.
    #[serde(default)]
    pub connections: Option<usize>,
    /// Connections of each listener.
    #[serde(default)]
    pub listener_connections: Option<usize>,
    /// Connections of each listener from one client address; 0: no limit.
    #[serde(default)]
    pub source_connections: Option<usize>,
}

impl ProcessLimits {
    /// The memory in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        bytes(self.memory.as_deref()?)
    }

    pub(super) fn check(&self) -> Result<(), BootstrapError> {
        let fail = |field, message: &str| Err(BootstrapError::Field { field, message: message.to_owned() });
        if self.memory.is_some() && self.memory_bytes().is_none_or(|bytes| bytes < 1 << 20) {
            return fail("limits.memory", "must be a number of bytes with Ki, Mi or Gi, at least 1Mi");
        }
        for (field, value) in [
            ("limits.connections", self.connections),
            ("limits.listenerConnections", self.listener_connections),
        ] {
            if value == Some(0) {
                return fail(field, "must be at least 1");
            }
        }
        Ok(())
    }
}

/// Reads a quantity as Kubernetes writes memory.
fn bytes(text: &str) -> Option<u64> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let with_unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (number, shift) = with_unit.unwrap_or((text, 0));
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::{ProcessLimits, bytes};

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("1048576", Some(1 << 20)),
            ("64Mi", Some(64 << 20)),
            ("2Gi", Some(2 << 30)),
            ("8Ki", Some(8192)),
            ("64M", None),
            ("-1", None),
            ("Mi", None),
            ("99999999999999Gi", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn limits_that_nothing_could_run_with_are_refused() {
        let check = |limits: ProcessLimits| limits.check().map_err(|error| error.to_string());
        assert!(check(ProcessLimits::default()).is_ok());
        for memory in ["much", "100Ki", "0"] {
            let limits = ProcessLimits { memory: Some(memory.into()), ..ProcessLimits::default() };
            assert!(check(limits).unwrap_err().contains("limits.memory"), "{memory}");
        }
        let none = ProcessLimits { connections: Some(0), ..ProcessLimits::default() };
        assert!(check(none).unwrap_err().contains("limits.connections"));
    }
}
