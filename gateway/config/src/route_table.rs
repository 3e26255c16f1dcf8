// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A route table: from host to virtual host to route.

use crate::route::FilterSettings;
use crate::wildcard_hosts::{FixedEnd, WildcardHosts};
use crate::{HeaderMutations, Mirror, RequestView, Route, ShardedMap, VirtualHost};
use http::HeaderName;
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
    /// By what follows the `*` of other suffixes.
    pub(crate) wide_suffixes: WildcardHosts,
    /// By what stands before the `*`.
    pub(crate) prefixes: WildcardHosts,
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
    /// Clusters that get a copy where neither route nor virtual host names any.
    pub mirrors: Box<[Mirror]>,
    /// Headers that only internal requests may have.
    pub internal_only_headers: Box<[HeaderName]>,
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
    /// The virtual host of an authority: the exact host, else the longest suffix, else the longest prefix, else `*`.
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
        self.by_suffix(&host)
            .or_else(|| self.prefixes.longest(&host, FixedEnd::Prefix, 0))
            .or(self.any.as_ref())
    }

    fn by_suffix(&self, host: &str) -> Option<&Arc<VirtualHost>> {
        let mut labels = None;
        if !self.suffixes.is_empty() {
            // A wildcard stands for at least one character, hence from 1.
            let dots = host.bytes().enumerate().skip(1).filter(|(_, b)| *b == b'.');
            labels =
                dots.map(|(dot, _)| &host[dot + 1..]).find_map(|rest| Some((rest, self.suffixes.get(rest)?)));
        }
        // The dot belongs to the suffix.
        let length = labels.map_or(0, |(rest, _)| rest.len() + 1);
        self.wide_suffixes.longest(host, FixedEnd::Suffix, length).or(labels.map(|(_, found)| found))
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
        let wide = self.wide_suffixes.iter().map(|(suffix, host)| (format!("*{suffix}"), host));
        let prefixes = self.prefixes.iter().map(|(prefix, host)| (format!("{prefix}*"), host));
        exact
            .chain(suffixes)
            .chain(wide)
            .chain(prefixes)
            .chain(self.any.iter().map(|host| ("*".to_owned(), host)))
    }

    /// The number of domains in the table.
    #[must_use]
    pub fn domain_count(&self) -> usize {
        let wildcards = self.suffixes.len() + self.wide_suffixes.len() + self.prefixes.len();
        self.exact.len() + wildcards + usize::from(self.any.is_some())
    }
}

/// The kinds of domains.
enum Domain<'a> {
    Any,
    Exact(&'a str),
    /// `*.` and this.
    Labels(&'a str),
    /// `*` and this.
    Suffix(&'a str),
    /// This and `*`.
    Prefix(&'a str),
}

impl<'a> Domain<'a> {
    fn of(domain: &'a str) -> Self {
        match (domain.strip_prefix("*."), domain.strip_prefix('*'), domain.strip_suffix('*')) {
            (_, Some(""), _) => Self::Any,
            (Some(labels), ..) => Self::Labels(labels),
            (None, Some(suffix), _) => Self::Suffix(suffix),
            (None, None, Some(prefix)) => Self::Prefix(prefix),
            (None, None, None) => Self::Exact(domain),
        }
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
            wide_suffixes: WildcardHosts::default(),
            prefixes: WildcardHosts::default(),
            any: None,
        }
    }

    pub(crate) fn has_domain(&self, domain: &str) -> bool {
        match Domain::of(domain) {
            Domain::Any => self.any.is_some(),
            Domain::Exact(host) => self.exact.get(host).is_some(),
            Domain::Labels(suffix) => self.suffixes.get(suffix).is_some(),
            Domain::Suffix(suffix) => self.wide_suffixes.get(suffix).is_some(),
            Domain::Prefix(prefix) => self.prefixes.get(prefix).is_some(),
        }
    }

    /// Gives a domain to a virtual host, or to none.
    pub(crate) fn set_domain(&mut self, domain: &str, host: Option<&Arc<VirtualHost>>) {
        let (map, key) = match Domain::of(domain) {
            Domain::Labels(suffix) => (&mut self.suffixes, suffix),
            Domain::Exact(host) => (&mut self.exact, host),
            Domain::Any => {
                self.any = host.cloned();
                return;
            }
            Domain::Suffix(suffix) => return self.wide_suffixes.set(suffix, host),
            Domain::Prefix(prefix) => return self.prefixes.set(prefix, host),
        };
        match host {
            Some(host) => drop(map.insert(key, Arc::clone(host))),
            None => drop(map.remove(key)),
        }
    }
}
