// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The anchor: a ConfigMap beside a member's objects with their inventory, the hub that owns them and its epoch.
//!
//! It is no owner of the objects: deleted, or restored under another uid, it would let garbage collection take the gateways.

use super::call::Caller;
use crate::{ApplyError, Fence, Inventory, MemberKey};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use std::collections::BTreeMap;

const HUB: &str = "hub";
const EPOCH: &str = "epoch";
const INVENTORY: &str = "inventory";

/// What the anchor says.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    member: MemberKey,
    object: ConfigMap,
    fence: Option<Fence>,
    pub(super) inventory: Inventory,
}

impl Anchor {
    /// Reads it.
    pub(super) async fn read(
        caller: &Caller,
        member: &MemberKey,
        namespace: &str,
    ) -> Result<Option<Self>, ApplyError> {
        let api: Api<ConfigMap> = Api::namespaced(caller.client().clone(), namespace);
        let found = caller.run("read the anchor", api.get_opt(&name(member))).await?;
        Ok(found.map(|object| Self::parse(member, object)))
    }

    /// Reads or makes it, and writes our epoch into it. Turned away: an older epoch and another hub.
    pub(super) async fn claim(
        caller: &Caller,
        member: &MemberKey,
        namespace: &str,
        fence: &Fence,
    ) -> Result<Self, ApplyError> {
        match Self::read(caller, member, namespace).await? {
            Some(anchor) => anchor.take(caller, fence).await,
            None => {
                let fresh = Self::fresh(member, namespace);
                fresh.write(caller, Some(fence.clone()), Inventory::default()).await
            }
        }
    }

    /// Writes our epoch into it, where we may.
    pub(super) async fn take(self, caller: &Caller, fence: &Fence) -> Result<Self, ApplyError> {
        if let Some(problem) = turned_away(self.fence.as_ref(), fence) {
            return Err(self.fenced(problem));
        }
        if self.fence.as_ref() == Some(fence) {
            return Ok(self);
        }
        let inventory = self.inventory.clone();
        self.write(caller, Some(fence.clone()), inventory).await
    }

    /// Writes the inventory. A write in between by another hub or leader is refused by the resource version.
    pub(super) async fn record(self, caller: &Caller, inventory: &Inventory) -> Result<Self, ApplyError> {
        if self.inventory == *inventory {
            return Ok(self);
        }
        let fence = self.fence.clone();
        self.write(caller, fence, inventory.clone()).await
    }

    /// Removes it; the last step of a deletion.
    pub(super) async fn remove(self, caller: &Caller) -> Result<(), ApplyError> {
        let api = self.api(caller);
        let uid = self.object.metadata.uid.clone();
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid, resource_version: None }),
            ..DeleteParams::default()
        };
        let answer = caller.answer("remove the anchor", api.delete(&name(&self.member), &params)).await?;
        match answer {
            Ok(_) => Ok(()),
            Err(error) if super::call::code(&error) == 404 => Ok(()),
            Err(source) => Err(ApplyError::Refused { what: "remove the anchor", source }),
        }
    }

    async fn write(
        mut self,
        caller: &Caller,
        fence: Option<Fence>,
        inventory: Inventory,
    ) -> Result<Self, ApplyError> {
        let mut data = BTreeMap::new();
        if let Some(fence) = &fence {
            data.insert(HUB.to_owned(), fence.hub.clone());
            data.insert(EPOCH.to_owned(), fence.epoch.to_string());
        }
        data.insert(INVENTORY.to_owned(), serde_json::to_string(&inventory).unwrap_or_default());
        self.object.data = Some(data);
        let api = self.api(caller);
        let (params, name) = (
            PostParams { field_manager: Some(crds::FIELD_MANAGER.to_owned()), ..PostParams::default() },
            name(&self.member),
        );
        let answer = match self.object.metadata.resource_version {
            Some(_) => caller.answer("write the anchor", api.replace(&name, &params, &self.object)).await?,
            None => caller.answer("write the anchor", api.create(&params, &self.object)).await?,
        };
        match answer {
            Ok(object) => Ok(Self { fence, inventory, object, member: self.member }),
            Err(error) if super::call::code(&error) == 409 => {
                Err(self.fenced("another writer changed it in between".to_owned()))
            }
            Err(source) => Err(ApplyError::Refused { what: "write the anchor", source }),
        }
    }

    fn fenced(&self, owner: String) -> ApplyError {
        ApplyError::Fenced {
            namespace: self.object.metadata.namespace.clone().unwrap_or_default(),
            name: name(&self.member),
            owner,
            remedy: "remove the fleet from the other hub, or delete this ConfigMap to hand the cluster over",
        }
    }

    fn api(&self, caller: &Caller) -> Api<ConfigMap> {
        Api::namespaced(
            caller.client().clone(),
            self.object.metadata.namespace.as_deref().unwrap_or_default(),
        )
    }

    fn fresh(member: &MemberKey, namespace: &str) -> Self {
        let labels = [
            (crds::LABEL_MANAGED_BY, crds::MANAGED_BY),
            (crds::LABEL_COMPONENT, "anchor"),
            (crds::LABEL_FLEET, &member.fleet),
            (crds::LABEL_FLEET_NAMESPACE, &member.fleet_namespace),
            (crds::LABEL_CLUSTER, &member.cluster),
        ];
        let metadata = ObjectMeta {
            name: Some(name(member)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            ..ObjectMeta::default()
        };
        let object = ConfigMap { metadata, ..ConfigMap::default() };
        Self { member: member.clone(), object, fence: None, inventory: Inventory::default() }
    }

    fn parse(member: &MemberKey, object: ConfigMap) -> Self {
        let data = object.data.clone().unwrap_or_default();
        let fence = data.get(HUB).filter(|hub| !hub.is_empty()).map(|hub| Fence {
            hub: hub.clone(),
            epoch: data.get(EPOCH).and_then(|text| text.parse().ok()).unwrap_or(0),
        });
        let inventory =
            data.get(INVENTORY).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Self { member: member.clone(), object, fence, inventory }
    }
}

/// Name of the anchor of a fleet.
fn name(member: &MemberKey) -> String {
    format!("gatefleet-anchor-{}", member.fleet)
}

/// Why a writer is turned away, if it is.
fn turned_away(owner: Option<&Fence>, writer: &Fence) -> Option<String> {
    let owner = owner?;
    if owner.hub != writer.hub {
        return Some(format!("belongs to hub {}, we are hub {}", owner.hub, writer.hub));
    }
    (owner.epoch > writer.epoch).then(|| {
        format!("was written by a newer leader (epoch {}), our epoch is {}", owner.epoch, writer.epoch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_epoch_and_another_hub_are_turned_away() {
        let fence = |hub: &str, epoch| Fence { hub: hub.to_owned(), epoch };
        let owner = fence("a", 5);
        assert!(turned_away(None, &fence("a", 0)).is_none());
        assert!(turned_away(Some(&owner), &fence("a", 5)).is_none());
        assert!(turned_away(Some(&owner), &fence("a", 6)).is_none());
        assert!(turned_away(Some(&owner), &fence("a", 4)).unwrap().contains("newer leader"));
        assert!(turned_away(Some(&owner), &fence("b", 9)).unwrap().contains("hub a"));
    }
}
