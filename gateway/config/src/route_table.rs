// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A route table: from host to virtual host to route.

use crate::route::FilterSettings;
use crate::{HeaderMutations, RequestView, Route, ShardedMap, VirtualHost};
use std::borrow::Cow;
use std::sync::Arc;

/// All virtual hosts behind one RouteConfiguration name. Cheap to change: a copy shares all but the touched parts.
#[derive(Clone, Debug)]
pub struct RouteTable {
    /// Its name.
    pub name: Box<str>,
    /// What is the same for all virtual hosts.
    pub settings: Arc<TableSettings>,
    /// Lower-case hosts, with or without port.
    pub(crate) exact: ShardedMap<Arc<VirtualHost>>,
    /// By what follows `*.`.
    pub(crate) suffixes: ShardedMap<Arc<VirtualHost>>,
    /// `*`.
    pub(crate) any: Option<Arc<VirtualHost>>,
}

/// What a RouteConfiguration says beside its virtual hosts.
#[derive(Clone, Debug, Default)]
pub struct TableSettings {
    /// Changes of requests.
    pub request_headers: HeaderMutations,
    /// Changes of answers.
    pub response_headers: HeaderMutations,
    /// Settings of filters where neither route nor virtual host has any.
    pub filters: FilterSettings,
    /// A port in the authority plays no part in the choice of the virtual host.
    pub ignore_port: bool,
    /// Virtual hosts come as resources of their own.
    pub vhds: bool,
    /// The table's header changes come first rather than last, so that the most specific ones win.
    pub most_specific_headers_win: bool,
}

/// What a request matched.
#[derive(Clone, Copy, Debug)]
pub struct RouteFound<'a> {
    /// The virtual host.
    pub virtual_host: &'a Arc<VirtualHost>,
    /// The route.
    pub route: &'a Arc<Route>,
}

impl RouteTable {
    /// The virtual host of an authority: the exact host, else the longest wildcard, else `*`.
    #[must_use]
    pub fn virtual_host(&self, authority: &str) -> Option<&Arc<VirtualHost>> {
        let host = if self.settings.ignore_port { without_port(authority) } else { authority };
        let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        };
        if let Some(found) = self.exact.get(&host) {
            return Some(found);
        }
        if !self.suffixes.is_empty() {
            // A wildcard stands for at least one character, hence from 1.
            let found = host
                .bytes()
                .enumerate()
                .skip(1)
                .filter(|(_, b)| *b == b'.')
                .find_map(|(dot, _)| self.suffixes.get(&host[dot + 1..]));
            if found.is_some() {
                return found;
            }
        }
        self.any.as_ref()
    }

    /// The route of a request.
    #[must_use]
    pub fn find(&self, request: &RequestView<'_>) -> Option<RouteFound<'_>> {
        let virtual_host = self.virtual_host(request.authority)?;
        Some(RouteFound { virtual_host, route: virtual_host.route(request)? })
    }

    /// Domains and whom they belong to, for operations pages.
    pub fn domains(&self) -> impl Iterator<Item = (String, &Arc<VirtualHost>)> {
        let exact = self.exact.iter().map(|(domain, host)| (domain.to_owned(), host));
        let suffixes = self.suffixes.iter().map(|(suffix, host)| (format!("*.{suffix}"), host));
        exact.chain(suffixes).chain(self.any.iter().map(|host| ("*".to_owned(), host)))
    }

    /// The number of domains in the table.
    #[must_use]
    pub fn domain_count(&self) -> usize {
        self.exact.len() + self.suffixes.len() + usize::from(self.any.is_some())
    }
}

/// The authority without `:port`; brackets of an IPv6 address stay.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
}

impl RouteTable {
    pub(crate) fn new(name: &str, settings: Arc<TableSettings>) -> Self {
        Self {
            name: name.into(),
            settings,
            exact: ShardedMap::default(),
            suffixes: ShardedMap::default(),
            any: None,
        }
    }

    pub(crate) fn has_domain(&self, domain: &str) -> bool {
        match domain.strip_prefix("*.") {
            Some(suffix) => self.suffixes.get(suffix).is_some(),
            None if domain == "*" => self.any.is_some(),
            None => self.exact.get(domain).is_some(),
        }
    }

    /// Gives a domain to a virtual host, or to none.
    pub(crate) fn set_domain(&mut self, domain: &str, host: Option<&Arc<VirtualHost>>) {
        let (map, key) = match domain.strip_prefix("*.") {
            Some(suffix) => (&mut self.suffixes, suffix),
            None if domain == "*" => {
                self.any = host.cloned();
                return;
            }
            None => (&mut self.exact, domain),
        };
        match host {
            Some(host) => drop(map.insert(key, Arc::clone(host))),
            None => drop(map.remove(key)),
        }
    }
}
