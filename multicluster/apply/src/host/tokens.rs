// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Tokens of host processes: what a ServiceAccount token is to a pod. Known to the relays of this process only.

use parking_lot::RwLock;
use rand::RngExt as _;
use std::collections::HashMap;
use std::sync::Arc;

/// Whom a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostIdentity {
    /// Namespace and name of the GatewayFleet.
    pub fleet: (String, String),
    /// Name of the FleetCluster.
    pub cluster: String,
    /// Namespace of the gateway.
    pub namespace: String,
    /// Name of the gateway, which is its account's.
    pub service_account: String,
    /// Name of the process, as a pod's.
    pub pod: String,
}

/// The tokens that are valid. Cheap to clone; all clones are one set.
#[derive(Clone, Default)]
pub struct HostTokens(Arc<RwLock<HashMap<String, HostIdentity>>>);

impl std::fmt::Debug for HostTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostTokens").field("count", &self.0.read().len()).finish()
    }
}

impl HostTokens {
    /// A new token for an identity; an older one of the same identity ends.
    #[must_use]
    pub fn issue(&self, identity: &HostIdentity) -> String {
        let bytes: [u8; 32] = rand::rng().random();
        let token = bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        });
        let mut all = self.0.write();
        all.retain(|_, known| known != identity);
        all.insert(token.clone(), identity.clone());
        token
    }

    /// Whom a token speaks for.
    #[must_use]
    pub fn lookup(&self, token: &str) -> Option<HostIdentity> {
        self.0.read().get(token).cloned()
    }

    /// Ends the token of an identity.
    pub fn revoke(&self, identity: &HostIdentity) {
        self.0.write().retain(|_, known| known != identity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_speaks_for_one_identity_until_it_is_replaced_or_revoked() {
        let tokens = HostTokens::default();
        let identity = HostIdentity {
            fleet: ("n".into(), "edge".into()),
            cluster: "east".into(),
            namespace: "n".into(),
            service_account: "edge".into(),
            pod: "edge-0".into(),
        };
        let first = tokens.issue(&identity);
        assert_eq!(first.len(), 64);
        assert_eq!(tokens.lookup(&first), Some(identity.clone()));
        let second = tokens.issue(&identity);
        assert_eq!(tokens.lookup(&first), None);
        tokens.revoke(&identity);
        assert_eq!(tokens.lookup(&second), None);
    }
}
