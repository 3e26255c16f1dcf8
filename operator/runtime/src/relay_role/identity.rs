// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The relay's authority, from the Secret that the hub writes beside it.

use super::RelayName;
use crate::objects::{ObjectEvent, Objects, Scope, chain};
use crate::relay::Relay;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use multicluster_manifests::relay_identity_secret;
use operator_identity::{AuthorityPem, ClusterAuthority, IdentityError, KeyPem};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Keys of the Secret: intermediate, its key, the fleet's roots.
pub(crate) const CERTIFICATE: &str = "tls.crt";
/// The key of the intermediate.
pub(crate) const KEY: &str = "tls.key";
/// The fleet's roots.
pub(crate) const ROOTS: &str = "ca.crt";

/// What a relay signs with.
pub(super) struct Identity {
    pub(super) authority: ClusterAuthority,
    pub(super) trust_bundle: String,
}

/// The newest content of the Secret.
pub(super) type Identities = watch::Receiver<Option<(AuthorityPem, String)>>;

/// Follows the Secret; one that is gone or cannot be read leaves the last one standing.
pub(super) fn follow(objects: &Objects, name: &RelayName, stop: CancellationToken) -> Identities {
    let (sender, receiver) = watch::channel(None);
    let secret = relay_identity_secret(&name.fleet.name);
    let scope = Scope::namespace(&name.namespace).fields(format!("metadata.name={secret}"));
    let mut events = objects.watch::<Secret>(scope);
    tokio::spawn(async move {
        while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
            match event {
                ObjectEvent::Upsert(found) => {
                    let content = read(&found);
                    if content.is_none() {
                        tracing::error!(secret, "the relay's identity lacks a key; the hub writes it anew");
                    }
                    sender.send_if_modified(|held| {
                        let differs = content.is_some() && *held != content;
                        if differs {
                            *held = content;
                        }
                        differs
                    });
                }
                ObjectEvent::Failed(reason) => {
                    tracing::warn!(secret, reason, "the relay's identity cannot be read now")
                }
                ObjectEvent::Delete(_) | ObjectEvent::Listed => {}
            }
        }
    });
    receiver
}

fn read(secret: &Secret) -> Option<(AuthorityPem, String)> {
    let text = |key: &str| String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok();
    Some((AuthorityPem { certificate: text(CERTIFICATE)?, key: KeyPem::new(text(KEY)?) }, text(ROOTS)?))
}

fn parse(content: &(AuthorityPem, String)) -> Result<Identity, IdentityError> {
    let authority = ClusterAuthority::from_pem(content.0.clone())?;
    Ok(Identity { authority, trust_bundle: content.1.clone() })
}

/// Waits for an identity that can be used; `None` when everything stops.
pub(super) async fn first(identities: &mut Identities, stop: &CancellationToken) -> Option<Identity> {
    tracing::info!("waiting for the relay's identity");
    loop {
        if let Some(content) = identities.borrow_and_update().as_ref() {
            match parse(content) {
                Ok(identity) => return Some(identity),
                Err(error) => tracing::error!(error = chain(&error), "the relay's identity cannot be used"),
            }
        }
        stop.run_until_cancelled(identities.changed()).await?.ok()?;
    }
}

/// Hands every renewed identity to the relay.
pub(super) async fn renew(identities: &mut Identities, relay: &Relay) {
    while identities.changed().await.is_ok() {
        let content = identities.borrow_and_update().clone();
        let Some(content) = content else { continue };
        let replaced = parse(&content).map_err(|e| chain(&e)).and_then(|identity| {
            relay.replace_authority(identity.authority, identity.trust_bundle).map_err(|e| chain(&e))
        });
        match replaced {
            Ok(()) => tracing::info!("identity renewed"),
            Err(error) => tracing::error!(error, "renewed identity refused; the old one goes on"),
        }
    }
    // The watch ended: everything stops.
    std::future::pending().await
}
