// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Keys that services give: fetched once for all workers, kept as long as configured, never replaced by others where they do not come.

use crate::callout::Callout;
use crate::jwt::JwtError;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use gateway_config::{Jwks, RemoteJwks};
use http::header::{ACCEPT, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

/// After a failure nobody asks again for so long: tokens are refused at once.
const PAUSE: Duration = Duration::from_secs(1);
/// Keys that are fetched early are fetched again so long before they end.
const AHEAD: Duration = Duration::from_secs(5);

/// The keys of all services, each once in the process however many filters and workers use them.
#[derive(Debug, Default)]
pub(crate) struct JwksCache(parking_lot::Mutex<Vec<Weak<RemoteKeys>>>);

impl JwksCache {
    /// The keys of a service. Not for each request.
    pub(super) fn get(&self, source: &Arc<RemoteJwks>) -> Arc<RemoteKeys> {
        let mut known = self.0.lock();
        known.retain(|keys| keys.strong_count() > 0);
        if let Some(found) = known.iter().filter_map(Weak::upgrade).find(|keys| keys.source == *source) {
            return found;
        }
        let made = Arc::new(RemoteKeys {
            source: Arc::clone(source),
            kept: ArcSwapOption::empty(),
            fetching: tokio::sync::Mutex::default(),
            prefetched: AtomicBool::new(false),
        });
        known.push(Arc::downgrade(&made));
        made
    }
}

/// The keys of one service.
#[derive(Debug)]
pub(crate) struct RemoteKeys {
    source: Arc<RemoteJwks>,
    kept: ArcSwapOption<Kept>,
    /// Held by who fetches; the value is when that failed last.
    fetching: tokio::sync::Mutex<Option<Instant>>,
    prefetched: AtomicBool,
}

#[derive(Debug)]
struct Kept {
    keys: Arc<Jwks>,
    until: Instant,
}

impl RemoteKeys {
    /// The keys; where they are not there or too old, one request fetches them and the others wait for it.
    pub(super) async fn keys(&self, callout: &Callout) -> Result<Arc<Jwks>, JwtError> {
        if let Some(keys) = self.usable() {
            return Ok(keys);
        }
        let mut failed = self.fetching.lock().await;
        if let Some(keys) = self.usable() {
            return Ok(keys);
        }
        if failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(JwtError::Fetch);
        }
        let result = self.fetch(callout).await;
        *failed = result.is_none().then(Instant::now);
        result.ok_or(JwtError::Fetch)
    }

    /// Fetches them from now on before they are needed, where the configuration says so.
    pub(super) fn prefetch(self: &Arc<Self>, callout: &Callout) {
        let Some(after_failure) = self.source.prefetch else { return };
        if self.prefetched.swap(true, Ordering::Relaxed) {
            return;
        }
        let (weak, callout) = (Arc::downgrade(self), callout.clone());
        spawn_local(async move {
            // Ends with the last filter that uses the keys.
            while let Some(keys) = weak.upgrade() {
                let wait = keys.refresh(&callout).await.unwrap_or(after_failure);
                drop(keys);
                sleep(wait).await;
            }
        });
    }

    /// Fetches keys that end soon; how long to wait until the next time, none where they did not come.
    async fn refresh(&self, callout: &Callout) -> Option<Duration> {
        let mut failed = self.fetching.lock().await;
        let cache = self.source.cache;
        let ahead = AHEAD.min(cache / 2);
        let left = self.kept.load().as_ref().map(|kept| kept.until.saturating_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| *left > ahead) {
            return Some(left - ahead);
        }
        let fetched = self.fetch(callout).await.is_some();
        *failed = (!fetched).then(Instant::now);
        fetched.then(|| cache - ahead)
    }

    /// Keys that are fetched early serve until the next ones come.
    fn usable(&self) -> Option<Arc<Jwks>> {
        let kept = self.kept.load();
        let kept = kept.as_ref()?;
        let fresh = self.source.prefetch.is_some() || Instant::now() < kept.until;
        fresh.then(|| Arc::clone(&kept.keys))
    }

    async fn fetch(&self, callout: &Callout) -> Option<Arc<Jwks>> {
        let service = &self.source.service;
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = Uri::from(service.path.clone());
        request.headers_mut().insert(HOST, service.authority.clone());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer =
            callout.http_retried(&service.cluster, request, service.timeout, self.source.retries).await;
        let keys = match answer {
            Ok(answer) if answer.status() == StatusCode::OK => {
                Jwks::parse(answer.body()).map_err(|error| error.to_string())
            }
            Ok(answer) => Err(format!("status {}", answer.status())),
            Err(error) => Err(error.to_string()),
        };
        match keys {
            Ok(keys) => {
                let keys = Arc::new(keys);
                let until = Instant::now() + self.source.cache;
                self.kept.store(Some(Arc::new(Kept { keys: Arc::clone(&keys), until })));
                Some(keys)
            }
            Err(error) => {
                tracing::warn!(cluster = %service.cluster, path = %service.path, error, "keys for tokens can not be fetched");
                None
            }
        }
    }
}
