// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! What the gateway's own answers look like (`local_reply_config`).

use crate::{HeaderMutations, LogFilter, LogLine};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};

/// The form of own answers.
#[derive(Debug)]
pub struct LocalReplies {
    /// The first one whose filter holds changes the answer.
    pub mappers: Box<[ReplyMapper]>,
    /// The body where the mapper has no format of its own; none: as it is.
    pub format: Option<BodyFormat>,
}

/// Changes some of the own answers.
#[derive(Debug)]
pub struct ReplyMapper {
    /// Which ones.
    pub filter: LogFilter,
    /// Their status.
    pub status: Option<StatusCode>,
    /// Their body.
    pub body: Option<Bytes>,
    /// Their headers.
    pub headers: HeaderMutations,
    /// How the body is written.
    pub format: Option<BodyFormat>,
}

/// How a body is written (`SubstitutionFormatString`); `%LOCAL_REPLY_BODY%` is what it would be otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyFormat {
    /// The text.
    pub line: LogLine,
    /// What is not there is left out, rather than written as `-` or null.
    pub omit_empty: bool,
    /// Its type.
    pub content_type: HeaderValue,
}
