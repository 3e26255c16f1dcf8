// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What happens where the service fails, talks nonsense or answers itself.

use super::Process;
use super::apply::Rejected;
use super::session::Problem;
use crate::callout::GrpcError;
use gateway_filter_api::{LocalResponse, Outcome};
use http::StatusCode;
use std::borrow::Cow;

/// Why a request can not go on as the service says.
pub(super) enum Wrong {
    /// An answer to another question.
    Spurious,
    /// A change that is not allowed.
    Rejected,
    /// The service answers itself.
    Answered(Box<LocalResponse>),
}

impl From<Rejected> for Wrong {
    fn from(_: Rejected) -> Self {
        Self::Rejected
    }
}

impl Process {
    /// `replaced`: the body that could go on without the service is gone.
    pub(super) fn went_wrong(&mut self, wrong: Wrong, replaced: bool) -> Outcome {
        match wrong {
            Wrong::Answered(response) => {
                self.end();
                Outcome::Respond(response)
            }
            Wrong::Rejected => {
                self.place.counters.rejected_mutations.increment();
                self.end();
                refused(StatusCode::INTERNAL_SERVER_ERROR, "ext_proc_error_invalid_mutation")
            }
            Wrong::Spurious => {
                self.place.counters.spurious_messages.increment();
                let (status, details) =
                    (StatusCode::INTERNAL_SERVER_ERROR, "ext_proc_error_spurious_message");
                if replaced {
                    self.end();
                    return refused(status, details);
                }
                self.give_up(status, details.to_owned())
            }
        }
    }

    pub(super) fn failed(&mut self, problem: Problem) -> Outcome {
        let config = &self.place.config;
        tracing::debug!(cluster = %config.service.cluster, ?problem, "processing service failed");
        let (status, details) = match problem {
            Problem::Timeout => {
                self.place.counters.message_timeouts.increment();
                let details = "ext_proc_error_per-message_timeout_exceeded";
                (StatusCode::GATEWAY_TIMEOUT, details.to_owned())
            }
            Problem::Grpc(error) => {
                self.place.counters.streams_failed.increment();
                let code = match error {
                    GrpcError::Status(code) => code,
                    GrpcError::Call(_) => 14,
                    GrpcError::Malformed => 13,
                    GrpcError::TooLarge => 8,
                };
                (config.status_on_error, format!("ext_proc_error_gRPC_error_{code}"))
            }
            Problem::TooLarge => {
                (StatusCode::INTERNAL_SERVER_ERROR, "ext_proc_error_body_too_large".to_owned())
            }
        };
        self.give_up(status, details)
    }

    /// The request goes on without the service where that is allowed.
    fn give_up(&mut self, status: StatusCode, details: String) -> Outcome {
        self.end();
        if self.failure_mode_allow() {
            self.place.counters.failure_mode_allowed.increment();
            return Outcome::Continue;
        }
        refused(status, details)
    }
}

fn refused(status: StatusCode, details: impl Into<Cow<'static, str>>) -> Outcome {
    Outcome::Respond(Box::new(LocalResponse::new(status, details)))
}
