// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The outcome of a call to a cluster.

use crate::UnreachableReason;
use std::time::Duration;

/// Why a call to a cluster gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The cluster is known not to answer; nothing was sent.
    #[error("the cluster is not reachable")]
    Unreachable,
    /// No answer within the limit.
    #[error("no answer to {what} within {} s", limit.as_secs_f32())]
    TimedOut {
        /// What was called.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The API server, or the way to it, answered with an error.
    #[error("{what} failed")]
    Kube {
        /// What was called.
        what: &'static str,
        /// The error.
        #[source]
        source: Box<kube::Error>,
    },
}

impl CallError {
    /// The API server's own status, when it answered.
    #[must_use]
    pub fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Kube { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it tells of the cluster's health, not of the request.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unreachable | Self::TimedOut { .. } => true,
            Self::Kube { source, .. } => is_unavailable(source),
        }
    }

    /// In one line, with its causes.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let line = line(error);
            // Some libraries repeat their cause in their own text.
            if !text.contains(&line) {
                text.push_str(": ");
                text.push_str(&line);
            }
            cause = error.source();
        }
        text
    }
}

/// An error's own text; an API server's answer without its debug form, which kube appends.
fn line(error: &(dyn std::error::Error + 'static)) -> String {
    let boxed = error.downcast_ref::<Box<kube::Error>>().map(AsRef::as_ref);
    match boxed.or_else(|| error.downcast_ref()) {
        Some(kube::Error::Api(status)) => status.to_string(),
        _ => error.to_string(),
    }
}

/// Whether this error tells of the API server's health, not of the request.
#[must_use]
pub fn is_unavailable(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 401 || status.code == 429 || status.code >= 500,
        kube::Error::SerdeError(_) | kube::Error::BuildRequest(_) => false,
        _ => true,
    }
}

/// What a failed probe says of the cluster.
pub(crate) fn reason(error: &CallError) -> UnreachableReason {
    match error {
        CallError::Unreachable => UnreachableReason::NoCredentials,
        CallError::TimedOut { .. } => UnreachableReason::TimedOut,
        CallError::Kube { source, .. } => match source.as_ref() {
            kube::Error::Api(status) if status.code == 401 || status.code == 403 => {
                UnreachableReason::Unauthorized
            }
            kube::Error::Api(_) => UnreachableReason::ServerError,
            _ => UnreachableReason::ConnectFailed,
        },
    }
}
