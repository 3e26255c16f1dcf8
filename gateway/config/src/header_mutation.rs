// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Changes of headers (`HeaderValueOption`, `request_headers_to_remove` ...).

use crate::Format;
use http::{HeaderName, HeaderValue};

/// Changes of one header block: removals first, then additions, as in Envoy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderMutations {
    /// Names that go.
    pub remove: Box<[HeaderName]>,
    /// Headers that come, in order.
    pub add: Box<[HeaderAddition]>,
}

/// One header that is set or appended.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderAddition {
    /// What is written.
    pub target: HeaderTarget,
    /// The value.
    pub value: HeaderFormat,
    /// What happens where the header exists already.
    pub action: AppendAction,
    /// Written even where the value comes out empty.
    pub keep_empty: bool,
}

/// What an addition writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTarget {
    /// A header.
    Header(HeaderName),
    /// The authority (`:authority` or `host`).
    Authority,
}

/// What happens to a header that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAction {
    /// Another value is appended; an absent header is added.
    Append,
    /// Only an absent header is added.
    AddIfAbsent,
    /// Replaced; an absent header is added.
    Overwrite,
    /// Replaced; an absent header stays absent.
    OverwriteIfExists,
}

/// A value, with Envoy's substitution commands read ahead.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderFormat {
    /// The same for every request.
    Literal(HeaderValue),
    /// Put together for each request.
    Parts(Format),
}
