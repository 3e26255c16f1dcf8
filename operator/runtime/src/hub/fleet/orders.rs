// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Orders to members: workloads, pin, identity; and pins to relays of this process, before anything is written.

use super::member::{InProcessRelay, WorkloadKey};
use super::{FleetState, Member, Release};
use crate::hub::bodies::{ANNOTATION_CONFIG_HASH, CHUNK_KEY, CHUNK_TYPE, chunk_secret_name};
use crate::hub::controller::Context;
use crate::hub::member::{Order, Place, RelayIdentity, Start, start};
use crate::hub::options::{RelayEndpoint, RelayRequest};
use crds::conditions::Reason;
use crds::{ClusterMode, FleetCluster, GatewayFleet};
use multicluster_apply::{Desired, HostOptions, MemberPin};
use multicluster_manifests::{
    FleetIdentity, Images, ManifestError, MemberInput, RelayPlacement, build, relay_identity_secret,
    resolve_template,
};
use operator_identity::AuthorityPem;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What stands in the way of orders for one member.
type Obstacle = (Reason, String);

impl FleetState {
    /// Gives every member its orders.
    pub(super) fn order(&mut self, context: &Context<'_>) {
        let names: Vec<String> = self.members.keys().cloned().collect();
        for name in names {
            let Some(mut member) = self.members.remove(&name) else { continue };
            if member.is_active() {
                let outcome = self.order_member(&name, &mut member, context);
                if let Err((reason, text)) = &outcome
                    && *reason == Reason::OverrideInvalid
                {
                    self.override_problem = Some(format!("{name}: {text}"));
                }
                member.obstacle = outcome.err();
            }
            self.members.insert(name, member);
        }
    }

    fn order_member(&self, name: &str, member: &mut Member, context: &Context<'_>) -> Result<(), Obstacle> {
        let Some(cluster) = member.fleet_cluster(context).cloned() else {
            return Err((Reason::UnknownCluster, format!("there is no FleetCluster {name}")));
        };
        if cluster.spec.paused {
            return Err((
                Reason::ClusterPaused,
                format!("FleetCluster {name}, field spec.paused: nothing is applied"),
            ));
        }
        if cluster.spec.mode == ClusterMode::Agent {
            let text = format!(
                "FleetCluster {name}, field spec.mode: Agent has no effect in this version; use Push"
            );
            return Err((Reason::NotYetImplemented, text));
        }
        let Some(authority) = member.authority.clone() else {
            return Err((Reason::Pending, "the fleet's certificate authority is not there yet".to_owned()));
        };
        let bundle = self.authority.as_ref().map(super::Authority::trust_bundle).unwrap_or_default();
        let in_process = self.relay(name, member, &cluster, (&authority, &bundle), context)?;
        let release = self.release_named(member.pinned.as_deref());
        // Relays of this process first: memory is faster than any write.
        if let (Some(relay), Some(release)) = (&member.relay, release) {
            self.pin_in_memory(name, relay, release);
        }
        self.work(name, member, &cluster, &bundle, context)?;
        let mut order = member.ordered.clone();
        if let Some(release) = release {
            if let Some(desired) =
                self.desired(name, member, &cluster, (release, in_process.as_ref(), &bundle), context)?
            {
                order.desired = Some(desired);
            }
            order.pin = self.member_pin(name, member, release).or(order.pin);
        }
        if in_process.is_none() {
            order.identity = Some(identity(order.identity.take(), &self.key.name, &authority, &bundle));
        }
        give(member, order);
        Ok(())
    }

    /// The relay of a member in this process, where it is to have one there.
    fn relay(
        &self,
        name: &str,
        member: &mut Member,
        cluster: &FleetCluster,
        (authority, bundle): (&AuthorityPem, &str),
        context: &Context<'_>,
    ) -> Result<Option<RelayEndpoint>, Obstacle> {
        let host = cluster.spec.mode == ClusterMode::Host;
        let Some(relays) = context.options.relays.as_ref().filter(|_| host || cluster.spec.local) else {
            if host {
                let text = format!(
                    "FleetCluster {name}, field spec.mode: Host needs gatefleet up; this hub runs on Kubernetes: use Push"
                );
                return Err((Reason::NotYetImplemented, text));
            }
            return Ok(None);
        };
        let wanted = (authority.clone(), bundle.to_owned());
        if let Some(relay) = member.relay.as_ref().filter(|relay| relay.identity == wanted) {
            return Ok(Some(relay.endpoint.clone()));
        }
        let (pins, receiver) = match member.relay.take() {
            Some(relay) => {
                let receiver = relay.pins.subscribe();
                (relay.pins, receiver)
            }
            None => watch::channel(None),
        };
        let started = relays.start(RelayRequest {
            member: member.key(&self.key, name),
            mode: cluster.spec.mode,
            host: host.then(|| cluster.host()),
            target_namespace: self.fleet.target_namespace().to_owned(),
            trust_domain: self.fleet.spec.trust_domain.clone(),
            authority: authority.clone(),
            trust_bundle: bundle.to_owned(),
            pins: receiver,
        });
        match started {
            Ok(endpoint) => {
                member.relay = Some(InProcessRelay { endpoint: endpoint.clone(), pins, identity: wanted });
                Ok(Some(endpoint))
            }
            Err(problem) if host => {
                Err((Reason::ApplyFailed, format!("the relay of cluster {name}: {problem}")))
            }
            Err(problem) => {
                tracing::info!(fleet = %self.key, cluster = name, %problem, "a relay Deployment instead of one in this process");
                Ok(None)
            }
        }
    }

    fn pin_in_memory(&self, name: &str, relay: &InProcessRelay, release: &Release) {
        let same = relay.pins.borrow().as_ref().is_some_and(|pinned| pinned.revision == release.name);
        if same {
            return;
        }
        let fleet = (self.key.namespace.clone(), self.key.name.clone());
        if let Some(pinned) = release.pinned(&fleet, name) {
            relay.pins.send_replace(Some(Arc::new(pinned)));
        }
    }

    /// The member's worker, started where it is not.
    fn work(
        &self,
        name: &str,
        member: &mut Member,
        cluster: &FleetCluster,
        bundle: &str,
        context: &Context<'_>,
    ) -> Result<(), Obstacle> {
        if let Some(key) = &member.cluster {
            let namespaces = BTreeSet::from([self.fleet.target_namespace().to_owned()]);
            context.registry.set_namespaces(key, namespaces);
        }
        if member.worker.is_some() {
            return Ok(());
        }
        let place = if cluster.spec.mode == ClusterMode::Host {
            let relay = member.relay.as_ref().map(|relay| &relay.endpoint);
            Place::Host(Box::new(self.host_options(name, member, relay, bundle, context)?))
        } else {
            let handle = member.cluster.as_ref().and_then(|key| context.registry.handle(key)).cloned();
            Place::Api(handle.ok_or((Reason::Pending, "the cluster has not been asked yet".to_owned()))?)
        };
        member.worker = Some(start(
            Start {
                member: member.key(&self.key, name),
                namespace: self.fleet.target_namespace().to_owned(),
                place,
                relay: member.relay.as_ref().map(|relay| relay.endpoint.reports.clone()),
                reports: context.reports.clone(),
            },
            context.tasks,
        ));
        Ok(())
    }

    fn host_options(
        &self,
        name: &str,
        member: &Member,
        relay: Option<&RelayEndpoint>,
        bundle: &str,
        context: &Context<'_>,
    ) -> Result<HostOptions, Obstacle> {
        let (Some(programs), Some(relay)) = (&context.options.host, relay) else {
            return Err((Reason::NotYetImplemented, "clusters of mode Host need gatefleet up".to_owned()));
        };
        let drain = u64::try_from(self.fleet.spec.template.drain_seconds).unwrap_or(0);
        Ok(HostOptions {
            member: member.key(&self.key, name),
            host: member.host.clone().unwrap_or_default(),
            gateway_program: programs.gateway.clone(),
            own_program: programs.own.clone(),
            state_dir: programs.state_dir.join(&self.key.namespace).join(&self.key.name).join(name),
            relay: relay.address.clone(),
            issuer: relay.issuer.clone(),
            server_name: relay.server_name.clone(),
            trust_bundle: bundle.to_owned(),
            tokens: programs.tokens.clone(),
            drain: Duration::from_secs(drain),
        })
    }

    /// The objects of a member; none where its release is of an earlier life: then they stay as they are.
    fn desired(
        &self,
        name: &str,
        member: &mut Member,
        cluster: &FleetCluster,
        (release, relay, bundle): (&Release, Option<&RelayEndpoint>, &str),
        context: &Context<'_>,
    ) -> Result<Option<Arc<Desired>>, Obstacle> {
        let (Some(fleet), Some(config)) = (&release.fleet, &release.config) else { return Ok(None) };
        let key = WorkloadKey {
            template: release.template.clone(),
            workloads: config.workloads.clone(),
            labels: cluster.metadata.labels.clone().unwrap_or_default(),
            relay: match relay {
                Some(relay) => {
                    RelayPlacement::Elsewhere { address: relay.address.clone(), issuer: relay.issuer.clone() }
                }
                None => RelayPlacement::Deployment { arguments: context.options.relay_arguments.clone() },
            },
            trust_bundle: bundle.to_owned(),
            drift: self.fleet.spec.drift.clone(),
        };
        if let Some((known, desired)) = &member.workload
            && *known == key
        {
            return Ok(Some(Arc::clone(desired)));
        }
        let resources = self.member_input(name, fleet, &key, context).and_then(|input| build(&input));
        let resources =
            resources.map_err(|error| (Reason::OverrideInvalid, crate::objects::chain(&error)))?;
        let drift = key.drift.clone();
        let desired = Arc::new(Desired { resources, drift, fence: context.fence.clone() });
        member.workload = Some((key, Arc::clone(&desired)));
        Ok(Some(desired))
    }

    fn member_input(
        &self,
        name: &str,
        fleet: &GatewayFleet,
        key: &WorkloadKey,
        context: &Context<'_>,
    ) -> Result<MemberInput, ManifestError> {
        let resolved = resolve_template(fleet, name, &key.labels)?;
        Ok(MemberInput {
            fleet: FleetIdentity {
                namespace: self.key.namespace.clone(),
                name: self.key.name.clone(),
                uid: fleet.metadata.uid.clone().unwrap_or_default(),
                target_namespace: fleet.target_namespace().to_owned(),
            },
            cluster: name.to_owned(),
            template: resolved.template,
            patches: resolved.patches,
            relay: key.relay.clone(),
            images: Images {
                gateway: context.options.gateway_image.clone(),
                relay: context.options.operator_image.clone(),
            },
            trust_bundle: key.trust_bundle.clone(),
            gateways: key.workloads.clone(),
        })
    }

    /// The pin to write into the cluster, where the body is known.
    fn member_pin(&self, name: &str, member: &mut Member, release: &Release) -> Option<Arc<MemberPin>> {
        let body = release.body.as_ref()?;
        let spec = member.object(&self.key, name, Some(release.config_version.clone())).spec;
        if let Some(pin) = member.pin.as_ref().filter(|pin| pin.spec == spec) {
            return Some(Arc::clone(pin));
        }
        let good = self.release_named(member.last_good.as_deref());
        let names = good.and_then(|good| good.object.as_ref()).map(|object| object.spec.chunks.as_slice());
        let keep =
            names.unwrap_or_default().iter().map(|hash| chunk_secret_name(&self.key.name, hash)).collect();
        let pin = Arc::new(MemberPin {
            member: member.key(&self.key, name),
            namespace: self.fleet.target_namespace().to_owned(),
            spec,
            annotations: BTreeMap::from([(ANNOTATION_CONFIG_HASH.to_owned(), body.hash.clone())]),
            chunks: body.secrets.clone(),
            chunk_key: CHUNK_KEY,
            chunk_type: CHUNK_TYPE,
            keep,
        });
        member.pin = Some(Arc::clone(&pin));
        Some(pin)
    }
}

/// Gives the order where it differs from the last one.
pub(super) fn give(member: &mut Member, order: Order) {
    if !order.same(&member.ordered)
        && let Some(worker) = &member.worker
    {
        worker.order(order.clone());
        member.ordered = order;
    }
}

/// The Secret that a relay of its own reads: kept while it says the same.
fn identity(
    before: Option<Arc<RelayIdentity>>,
    fleet: &str,
    authority: &AuthorityPem,
    bundle: &str,
) -> Arc<RelayIdentity> {
    let data = BTreeMap::from([
        ("tls.crt".to_owned(), authority.certificate.clone().into_bytes()),
        ("tls.key".to_owned(), authority.key.expose().as_bytes().to_vec()),
        ("ca.crt".to_owned(), bundle.as_bytes().to_vec()),
    ]);
    let wanted = RelayIdentity { secret: relay_identity_secret(fleet), data };
    match before {
        Some(before) if *before == wanted => before,
        _ => Arc::new(wanted),
    }
}
