// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Looks at the raw bytes of HTTP/1 requests before the parser does, and refuses what two parsers could read differently.
//!
//! hyper removes `Content-Length` beside `Transfer-Encoding` without a word and takes bare line feeds; a gateway must not pass on
//! what only it understood so (RFC 9112, sections 2.2, 5.1, 6.1, 6.3 and 11.2). The guard follows the framing of each request to know
//! where the next head starts. It never changes or copies bytes; only a head that arrives in pieces is kept until it is whole.

mod chunked;
mod head;

#[cfg(test)]
mod tests;

use chunked::Chunks;
use memchr::memmem;

/// Why a request was refused; the label of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Refusal {
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthAndEncoding = 1,
    /// More than one `Content-Length`.
    DuplicateLength,
    /// A `Content-Length` that is not one decimal number.
    BadLength,
    /// A `Transfer-Encoding` other than `chunked` alone, or one in HTTP/1.0.
    BadEncoding,
    /// A header that goes on in the next line.
    Folded,
    /// A line feed without a carriage return before it.
    BareLineFeed,
    /// A carriage return without a line feed after it.
    BareCarriageReturn,
    /// Space between a header's name and its colon.
    SpaceBeforeColon,
    /// A header name that is none.
    BadName,
    /// More than one `Host`.
    DuplicateHost,
    /// No `Host`.
    MissingHost,
    /// A `Host` that is not host and port.
    BadHost,
    /// A zero byte.
    Nul,
    /// A request line that is not method, target and version with single spaces.
    BadRequestLine,
    /// A head above the limit.
    TooLarge,
    /// A chunk that does not follow the grammar.
    BadChunk,
    /// Trailers that are not allowed or too large.
    BadTrailer,
    /// The parser's own refusal, where it came first.
    Syntax,
    /// A header name with an underscore, where those are not wanted.
    Underscore,
    /// A path that has no canonical form.
    BadPath,
    /// More frames of HTTP/2 without a request in them than any client needs.
    FrameFlood,
    /// What the HTTP/2 library counts as a flood: resets, continuations, empty data.
    Http2Flood,
    /// HTTP/2 that breaks the protocol.
    Http2Protocol,
    /// Requests of HTTP/2 that the client gave up as soon as it had asked, too many of all.
    RapidReset,
}

impl Refusal {
    /// All reasons, in the order of their numbers.
    pub(crate) const ALL: [Self; 24] = [
        Self::LengthAndEncoding,
        Self::DuplicateLength,
        Self::BadLength,
        Self::BadEncoding,
        Self::Folded,
        Self::BareLineFeed,
        Self::BareCarriageReturn,
        Self::SpaceBeforeColon,
        Self::BadName,
        Self::DuplicateHost,
        Self::MissingHost,
        Self::BadHost,
        Self::Nul,
        Self::BadRequestLine,
        Self::TooLarge,
        Self::BadChunk,
        Self::BadTrailer,
        Self::Syntax,
        Self::Underscore,
        Self::BadPath,
        Self::FrameFlood,
        Self::Http2Flood,
        Self::Http2Protocol,
        Self::RapidReset,
    ];

    /// The counter's label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LengthAndEncoding => "length_and_encoding",
            Self::DuplicateLength => "duplicate_length",
            Self::BadLength => "bad_length",
            Self::BadEncoding => "bad_encoding",
            Self::Folded => "folded",
            Self::BareLineFeed => "bare_line_feed",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::BadName => "bad_name",
            Self::DuplicateHost => "duplicate_host",
            Self::MissingHost => "missing_host",
            Self::BadHost => "bad_host",
            Self::Nul => "nul",
            Self::BadRequestLine => "bad_request_line",
            Self::TooLarge => "too_large",
            Self::BadChunk => "bad_chunk",
            Self::BadTrailer => "bad_trailer",
            Self::Syntax => "syntax",
            Self::Underscore => "underscore",
            Self::BadPath => "bad_path",
            Self::FrameFlood => "frame_flood",
            Self::Http2Flood => "http2_flood",
            Self::Http2Protocol => "http2_protocol",
            Self::RapidReset => "rapid_reset",
        }
    }
}

/// What bytes turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All of them may pass.
    Pass,
    /// The first `keep` may pass; with the next a head begins that must not.
    RefuseHead {
        /// Bytes that belong to earlier requests, or to no complete head.
        keep: usize,
        /// Why.
        reason: Refusal,
    },
    /// The body of a request that is being served is broken.
    RefuseBody(Refusal),
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(crate) struct HeadGuard {
    place: Place,
    /// The start of a head that is not complete.
    partial: Vec<u8>,
    limit: usize,
}

#[derive(Debug)]
enum Place {
    Head,
    Body(u64),
    Chunked(Chunks),
    Refused,
}

/// What the head says about the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
}

impl HeadGuard {
    /// A guard at the start of a connection; heads above `limit` bytes are refused.
    pub(crate) fn new(limit: usize) -> Self {
        Self { place: Place::Head, partial: Vec::new(), limit }
    }

    /// Whether a head has begun that is not complete.
    pub(crate) fn inside_head(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Whether bytes of a request may still come: its head or body is not complete, or was refused.
    pub(crate) fn inside_request(&self) -> bool {
        self.inside_head() || !matches!(self.place, Place::Head)
    }

    /// Looks at the next bytes of the connection.
    pub(crate) fn inspect(&mut self, bytes: &[u8]) -> Verdict {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.place {
                Place::Head => match self.head(rest) {
                    Ok(used) => at += used,
                    Err(reason) => {
                        self.place = Place::Refused;
                        return Verdict::RefuseHead { keep: at, reason };
                    }
                },
                Place::Body(left) => {
                    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= used as u64;
                    if *left == 0 {
                        self.place = Place::Head;
                    }
                    at += used;
                }
                Place::Chunked(chunks) => match chunks.advance(rest) {
                    Ok((used, done)) => {
                        at += used;
                        if done {
                            self.place = Place::Head;
                        }
                    }
                    Err(reason) => {
                        self.place = Place::Refused;
                        return Verdict::RefuseBody(reason);
                    }
                },
                Place::Refused => return Verdict::RefuseHead { keep: at, reason: Refusal::BadRequestLine },
            }
        }
        Verdict::Pass
    }

    /// Reads a head or a part of one; gives back how many bytes belong to it.
    fn head(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        if self.partial.is_empty() {
            // An empty line before a request line is to be ignored (RFC 9112, 2.2).
            if bytes.starts_with(b"\r\n") {
                return Ok(2);
            }
            if let Some(end) = memmem::find(bytes, b"\r\n\r\n") {
                let end = end + 4;
                self.place = self.placed(&bytes[..end])?;
                return Ok(end);
            }
        }
        let known = self.partial.len();
        self.partial.extend_from_slice(bytes);
        if self.partial.starts_with(b"\r\n") {
            self.partial.clear();
            return Ok(2_usize.saturating_sub(known));
        }
        let from = known.saturating_sub(3);
        match memmem::find(&self.partial[from..], b"\r\n\r\n") {
            Some(end) => {
                let end = from + end + 4;
                let partial = std::mem::take(&mut self.partial);
                self.place = self.placed(&partial[..end])?;
                Ok(end - known)
            }
            None => {
                // The parser takes a bare line feed for the end of a line, so it must not see one even now.
                head::line_ends(&self.partial, known)?;
                if self.partial.len() > self.limit { Err(Refusal::TooLarge) } else { Ok(bytes.len()) }
            }
        }
    }

    fn placed(&self, head: &[u8]) -> Result<Place, Refusal> {
        Ok(match head::scan(head)? {
            Framing::Length(0) => Place::Head,
            Framing::Length(length) => Place::Body(length),
            Framing::Chunked => Place::Chunked(Chunks::default()),
        })
    }
}
