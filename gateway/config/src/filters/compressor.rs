// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Answers that are compressed.

use crate::StringMatcher;

/// How answers are compressed (`envoy.extensions.filters.http.compressor.v3.Compressor`).
#[derive(Clone, Debug, PartialEq)]
pub struct Compressor {
    /// The way.
    pub encoding: Encoding,
    /// Nothing is compressed where this is false.
    pub enabled: bool,
    /// Answers whose length is known and below this stay as they are, bytes (default 30).
    pub min_content_length: u64,
    /// Content types that are compressed, without parameters.
    pub content_types: Box<[StringMatcher]>,
    /// Answers with an `etag` stay as they are.
    pub disable_on_etag: bool,
    /// A strong `etag` of a compressed answer becomes a weak one; otherwise it is removed.
    pub weaken_etag: bool,
    /// The upstream does not see what the client accepts.
    pub remove_accept_encoding: bool,
    /// Answers with these statuses stay as they are.
    pub uncompressible_statuses: Box<[u16]>,
    /// Wins where the client likes several ways equally.
    pub choose_first: bool,
}

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// gzip (RFC 1952).
    Gzip {
        /// 1 to 9.
        level: u32,
    },
    /// Brotli (RFC 7932).
    Brotli {
        /// 0 to 11.
        quality: u32,
        /// Logarithm of the window, 10 to 24.
        window: u32,
    },
    /// Zstandard (RFC 8878).
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

impl Encoding {
    /// Its name in `content-encoding`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip { .. } => "gzip",
            Self::Brotli { .. } => "br",
            Self::Zstd { .. } => "zstd",
        }
    }
}
