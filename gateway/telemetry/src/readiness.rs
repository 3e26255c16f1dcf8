// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Readiness as a set of named gates: ready when all of them are open.

use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All gates of a process. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    gates: Arc<RwLock<BTreeMap<&'static str, bool>>>,
}

impl Readiness {
    /// Adds a gate, closed at first.
    #[must_use]
    pub fn gate(&self, name: &'static str) -> Gate {
        self.gates.write().insert(name, false);
        Gate { name, readiness: self.clone() }
    }

    /// Names of the gates that are closed; empty means ready.
    #[must_use]
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.gates.read().iter().filter(|(_, open)| !**open).map(|(name, _)| *name).collect()
    }

    /// Whether all gates are open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.gates.read().values().all(|open| *open)
    }
}

/// One condition of readiness.
#[derive(Clone, Debug)]
pub struct Gate {
    name: &'static str,
    readiness: Readiness,
}

impl Gate {
    /// Opens or closes the gate.
    pub fn set(&self, open: bool) {
        let before = self.readiness.gates.write().insert(self.name, open);
        if before != Some(open) {
            tracing::info!(gate = self.name, open, "readiness gate changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Readiness;

    #[test]
    fn ready_only_while_every_gate_is_open() {
        let readiness = Readiness::default();
        let (first, second) = (readiness.gate("configuration"), readiness.gate("listeners"));
        assert_eq!(readiness.waiting_for(), ["configuration", "listeners"]);
        first.set(true);
        assert!(!readiness.is_ready());
        second.set(true);
        assert!(readiness.is_ready());
        first.set(false);
        assert_eq!(readiness.waiting_for(), ["configuration"]);
    }
}
