// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The chunked coding, followed strictly to know where a request ends (RFC 9112, section 7.1).

use super::Refusal;
use super::head::{Lines, split};
use memchr::memmem;

/// Extensions mean nothing to us; more than this only serves attacks.
const LONGEST_EXTENSION: u32 = 256;
/// All trailers together.
const LARGEST_TRAILERS: usize = 8 * 1024;

/// The place in a chunked body.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    place: Place,
    size: u64,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// At the first digit of a size.
    #[default]
    First,
    /// After `n` digits.
    Digits(u8),
    /// In an extension of `n` bytes.
    Extension(u32),
    /// After the carriage return of the size's line.
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    Trailers,
}

impl Chunks {
    /// Takes bytes until the body ends or they do; gives back how many belong to the body, and whether it ended.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut at = 0;
        while at < bytes.len() {
            match self.place {
                Place::Data => {
                    let used = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                    self.size -= used as u64;
                    at += used;
                    if self.size == 0 {
                        self.place = Place::DataReturn;
                    }
                }
                Place::Trailers => {
                    let (used, done) = self.trailers(&bytes[at..])?;
                    return Ok((at + used, done));
                }
                _ => {
                    self.line(bytes[at])?;
                    at += 1;
                }
            }
        }
        Ok((at, false))
    }

    fn line(&mut self, byte: u8) -> Result<(), Refusal> {
        self.place = match (self.place, byte) {
            (Place::First | Place::Digits(..15), _) if byte.is_ascii_hexdigit() => {
                let digits = if let Place::Digits(digits) = self.place { digits } else { 0 };
                let value = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = self.size * 16 + u64::from(value);
                Place::Digits(digits + 1)
            }
            (Place::Digits(_), b'\r') => Place::SizeEnd,
            (Place::Digits(_), b';') => Place::Extension(1),
            (Place::Extension(_), b'\r') => Place::SizeEnd,
            (Place::Extension(length), b'\t' | b' '..=b'~' | 128..) if length < LONGEST_EXTENSION => {
                Place::Extension(length + 1)
            }
            (Place::SizeEnd, b'\n') if self.size == 0 => Place::Trailers,
            (Place::SizeEnd, b'\n') => Place::Data,
            (Place::DataReturn, b'\r') => Place::DataEnd,
            (Place::DataEnd, b'\n') => {
                self.size = 0;
                Place::First
            }
            _ => return Err(Refusal::BadChunk),
        };
        Ok(())
    }

    fn trailers(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let known = self.trailers.len();
        let taken = bytes.len().min(LARGEST_TRAILERS + 4);
        self.trailers.extend_from_slice(&bytes[..taken]);
        let end = if self.trailers.starts_with(b"\r\n") {
            Some(2)
        } else {
            memmem::find(&self.trailers, b"\r\n\r\n").map(|end| end + 4)
        };
        let Some(end) = end else {
            let fits = self.trailers.len() <= LARGEST_TRAILERS;
            return if fits { Ok((bytes.len(), false)) } else { Err(Refusal::BadTrailer) };
        };
        for line in Lines(&self.trailers[..end]) {
            let line = line?;
            if !line.is_empty() && is_forbidden(split(line)?.0) {
                return Err(Refusal::BadTrailer);
            }
        }
        Ok((end - known, true))
    }
}

/// What frames, routes or authenticates must not come behind the body (RFC 9110, 6.5.1).
fn is_forbidden(name: &[u8]) -> bool {
    [
        "content-length",
        "transfer-encoding",
        "host",
        "trailer",
        "connection",
        "upgrade",
        "te",
        "authorization",
        "cookie",
        "content-encoding",
    ]
    .iter()
    .any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}
