// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Settling one route: its verdict, where it is attached, and what it contributes instead of what it did before.

use super::Resolver;
use super::settle::Work;
use crate::gateway_api::resolve_http_route;
use crate::ingress::resolve_ingress;
use crate::route::{Place, RouteOutcome, SettledRoute};
use crate::view::View;
use operator_ir::{ObjectKind, ObjectRef};

impl Resolver {
    pub(super) fn settle_route(&mut self, object: &ObjectRef, work: &mut Work) {
        let mut view = View::new(&self.options, &self.store, &self.derived);
        let outcome = match object.kind {
            ObjectKind::HTTPRoute => {
                self.store.routes.get(object).map(|route| resolve_http_route(route, &mut view))
            }
            _ => self.store.ingresses.get(object).map(|ingress| resolve_ingress(ingress, &mut view)),
        };
        self.dependents.record(object, view.into_read());
        let exists = outcome.is_some();
        let mut outcome = outcome.unwrap_or_default();
        self.set_status(object, outcome.status.take(), exists, work);
        let old = self.routes.remove(object).unwrap_or_default();
        self.count(&old, &outcome, work);
        let settled = SettledRoute {
            attached: outcome.attached.iter().cloned().collect(),
            hosts: outcome.hosts.keys().cloned().collect(),
            certified: outcome.certificates.keys().cloned().collect(),
        };
        self.contribute(object, &old, outcome, work);
        if exists {
            self.routes.insert(object.clone(), settled);
        }
    }

    /// Counts the route where it is attached now, and no longer where it was.
    fn count(&mut self, old: &SettledRoute, new: &RouteOutcome, work: &mut Work) {
        let touched = |place: &Place| place.0.as_ref().clone();
        for place in old.attached.iter().filter(|place| !new.attached.contains(*place)) {
            if let Some(count) = self.attached.get_mut(place) {
                *count -= 1;
                if *count == 0 {
                    self.attached.remove(place);
                }
            }
            work.verdicts.insert(touched(place));
        }
        for place in new.attached.iter().filter(|place| !old.attached.contains(place)) {
            *self.attached.entry(place.clone()).or_default() += 1;
            work.verdicts.insert(touched(place));
        }
    }

    fn contribute(&mut self, route: &ObjectRef, old: &SettledRoute, new: RouteOutcome, work: &mut Work) {
        for place in old.hosts.iter().filter(|place| !new.hosts.contains_key(*place)) {
            if let Some(assembly) = self.gateways.get_mut(place.0.as_ref()) {
                assembly.withdraw(&place.1, route);
                work.hosts.insert(place.clone());
            }
        }
        for (place, contribution) in new.hosts {
            if let Some(assembly) = self.gateways.get_mut(place.0.as_ref())
                && assembly.contribute(&place.1, contribution)
            {
                work.hosts.insert(place);
            }
        }
        for gateway in old.certified.iter().chain(new.certificates.keys()) {
            if let Some(assembly) = self.gateways.get_mut(gateway.as_ref())
                && assembly.certify(route, new.certificates.get(gateway))
            {
                work.listeners.insert(gateway.as_ref().clone());
            }
        }
    }
}
