// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The gateway under attack: the real proxy with its default limits, configured by Envoy resources.

use crate::resources::{Typed, any};
use anyhow::{Context, bail};
use gateway_config::{ConfigStore, Update};
use gateway_proxy::{Proxy, ProxyOptions};
use gateway_xds_api::ResourceType;
use std::net::SocketAddr;

/// A running proxy and the resources it serves.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) proxy: Proxy,
    store: ConfigStore,
}

impl Gateway {
    /// Starts a proxy of two workers with these resources.
    pub(crate) async fn start(options: ProxyOptions, resources: Vec<Typed>) -> anyhow::Result<Self> {
        let proxy = Proxy::start(ProxyOptions { workers: 2, ..options })?;
        let mut gateway = Self { proxy, store: ConfigStore::new() };
        gateway.set(resources).await?;
        gateway.proxy.ready().await?;
        Ok(gateway)
    }

    /// Adds or replaces resources, and waits until every worker serves by them.
    pub(crate) async fn set(&mut self, resources: Vec<Typed>) -> anyhow::Result<()> {
        let updates = resources.into_iter().map(|typed| Update {
            kind: typed.kind,
            upserts: vec![(typed.name, typed.body)],
            removals: vec![],
        });
        let applied = self.store.apply_all(updates.collect::<Vec<_>>());
        if let Some(rejection) = applied.rejections.first() {
            bail!("{}: {}", rejection.name, rejection.message);
        }
        self.install().await
    }

    async fn install(&self) -> anyhow::Result<()> {
        Ok(self.proxy.install(self.store.snapshot().clone()).await?)
    }

    /// Where a listener listens.
    pub(crate) fn address(&self, listener: &str) -> anyhow::Result<SocketAddr> {
        let all = self.proxy.listeners();
        let found = all.into_iter().find(|status| status.name == listener);
        Ok(found
            .with_context(|| format!("no listener {listener}; waiting: {:?}", self.store.waiting()))?
            .address)
    }

    /// The sum of all samples of a metric whose line contains `part`.
    pub(crate) fn metric(&self, name: &str, part: &str) -> u64 {
        let mut text = String::new();
        self.proxy.write_metrics(&mut text);
        let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(part));
        let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum::<f64>() as u64
    }
}

/// A self-signed certificate for a secret, and for clients to trust.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Certificate {
    /// A new one for a name.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()])?;
        Ok(Self { chain: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// As a secret of that name.
    pub(crate) fn secret(&self, name: &str) -> Typed {
        use gateway_xds_api::pb::envoy::config::core::v3::{DataSource, data_source};
        use gateway_xds_api::pb::envoy::extensions::transport_sockets::tls::v3::{
            Secret, TlsCertificate, secret,
        };
        let inline = |text: &str| {
            let specifier = Some(data_source::Specifier::InlineString(text.to_owned()));
            Some(DataSource { specifier, ..DataSource::default() })
        };
        let certificate = TlsCertificate {
            certificate_chain: inline(&self.chain),
            private_key: inline(&self.key),
            ..TlsCertificate::default()
        };
        let message =
            Secret { name: name.to_owned(), r#type: Some(secret::Type::TlsCertificate(certificate)) };
        Typed { kind: ResourceType::Secret, name: name.to_owned(), body: any(&message) }
    }
}
