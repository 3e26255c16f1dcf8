// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The encoders: bytes in, compressed bytes out, flushed with every piece so that a stream stays one.

use bytes::BytesMut;
use flate2::Compression;
use flate2::write::GzEncoder;
use gateway_config::Encoding;
use std::io::{self, Write};

/// Bytes that brotli works on at a time.
const BROTLI_BUFFER: usize = 4096;

/// An encoder in the middle of a body.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    /// The last byte is out.
    Ended,
}

impl Encoder {
    /// An encoder for one body.
    ///
    /// # Errors
    /// Where the library refuses the settings.
    pub(super) fn new(encoding: Encoding) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Gzip { level } => Self::Gzip(GzEncoder::new(Vec::new(), Compression::new(level))),
            Encoding::Brotli { quality, window } => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BROTLI_BUFFER,
                quality,
                window,
            ))),
            Encoding::Zstd { level } => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), level)?),
        })
    }

    /// Encodes a piece; with the last one the end mark follows.
    ///
    /// # Errors
    /// Those of the library.
    pub(super) fn encode(&mut self, piece: &[u8], end: bool) -> io::Result<BytesMut> {
        if piece.is_empty() && !end {
            return Ok(BytesMut::new());
        }
        match self {
            Self::Gzip(encoder) => step(encoder, piece, end)?,
            Self::Brotli(encoder) => step(&mut **encoder, piece, end)?,
            Self::Zstd(encoder) => step(encoder, piece, end)?,
            Self::Ended => return Ok(BytesMut::new()),
        }
        let encoded = if end {
            match std::mem::replace(self, Self::Ended) {
                Self::Gzip(encoder) => encoder.finish()?,
                Self::Brotli(encoder) => encoder.into_inner(),
                Self::Zstd(encoder) => encoder.finish()?,
                Self::Ended => Vec::new(),
            }
        } else {
            match self {
                Self::Gzip(encoder) => std::mem::take(encoder.get_mut()),
                Self::Brotli(encoder) => take_brotli(encoder),
                Self::Zstd(encoder) => std::mem::take(encoder.get_mut()),
                Self::Ended => Vec::new(),
            }
        };
        Ok(BytesMut::from(&*encoded))
    }
}

fn step(encoder: &mut impl Write, piece: &[u8], end: bool) -> io::Result<()> {
    encoder.write_all(piece)?;
    if end { Ok(()) } else { encoder.flush() }
}

fn take_brotli(encoder: &mut brotli::CompressorWriter<Vec<u8>>) -> Vec<u8> {
    std::mem::take(encoder.get_mut())
}

#[cfg(test)]
mod tests {
    use super::Encoder;
    use gateway_config::Encoding;
    use std::io::Read;

    fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        match encoding {
            Encoding::Gzip { .. } => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
            Encoding::Brotli { .. } => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
            Encoding::Zstd { .. } => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut text),
        }
        .unwrap();
        text
    }

    #[test]
    fn pieces_come_out_as_they_go_in() {
        for encoding in [
            Encoding::Gzip { level: 6 },
            Encoding::Brotli { quality: 3, window: 18 },
            Encoding::Zstd { level: 3 },
        ] {
            let mut encoder = Encoder::new(encoding).unwrap();
            let mut all = Vec::new();
            for (piece, end) in [("first ", false), ("", false), ("second", true)] {
                let out = encoder.encode(piece.as_bytes(), end).unwrap();
                assert_eq!(out.is_empty(), piece.is_empty(), "each piece is flushed");
                all.extend_from_slice(&out);
            }
            assert_eq!(decoded(encoding, &all), b"first second", "{encoding:?}");
        }
    }
}
