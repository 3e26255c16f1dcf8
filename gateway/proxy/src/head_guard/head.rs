// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! One complete request head, line by line.

use super::{Framing, Refusal};
use gateway_filter_api::is_authority;
use memchr::{memchr, memchr_iter, memchr2};

/// Reads a head that ends with an empty line; gives back how its body is framed.
pub(super) fn scan(head: &[u8]) -> Result<Framing, Refusal> {
    let mut found = Found::default();
    let mut lines = Lines(head);
    request_line(lines.next().ok_or(Refusal::BadRequestLine)??, &mut found)?;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        header(line, &mut found)?;
    }
    found.framing()
}

/// Refuses a line feed at or after `from` that no carriage return precedes.
pub(super) fn line_ends(partial: &[u8], from: usize) -> Result<(), Refusal> {
    for at in memchr_iter(b'\n', &partial[from..]) {
        let at = from + at;
        if at == 0 || partial[at - 1] != b'\r' {
            return Err(Refusal::BareLineFeed);
        }
    }
    Ok(())
}

/// Splits a header line; the name is checked, the value only trimmed.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Refusal::Folded);
    }
    let colon = memchr(b':', line).ok_or(Refusal::BadName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !name.is_empty() && name.iter().all(|&byte| is_token(byte)) {
        return Ok((name, value.trim_ascii()));
    }
    Err(if matches!(name.last(), Some(b' ' | b'\t')) { Refusal::SpaceBeforeColon } else { Refusal::BadName })
}

/// Lines without their ends; an error for an end that is not CR LF, or a CR or NUL inside.
pub(super) struct Lines<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], Refusal>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        let Some((b'\r', line)) = line.split_last() else {
            return Some(Err(Refusal::BareLineFeed));
        };
        Some(match memchr2(b'\r', 0, line) {
            None => Ok(line),
            Some(at) if line[at] == 0 => Err(Refusal::Nul),
            Some(_) => Err(Refusal::BareCarriageReturn),
        })
    }
}

#[derive(Default)]
struct Found {
    old: bool,
    hosts: u32,
    length: Option<u64>,
    encodings: u32,
}

impl Found {
    fn framing(&self) -> Result<Framing, Refusal> {
        if self.hosts == 0 {
            return Err(Refusal::MissingHost);
        }
        match (self.length, self.encodings) {
            (Some(_), 1..) => Err(Refusal::LengthAndEncoding),
            (None, 1) if !self.old => Ok(Framing::Chunked),
            (_, 1..) => Err(Refusal::BadEncoding),
            (length, 0) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn request_line(line: &[u8], found: &mut Found) -> Result<(), Refusal> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (method, target, version, none) = (parts.next(), parts.next(), parts.next(), parts.next());
    let method_fits =
        method.is_some_and(|method| !method.is_empty() && method.iter().all(|&byte| is_token(byte)));
    let target_fits = target.is_some_and(|target| {
        !target.is_empty() && target.iter().all(|&byte| byte > b' ' && byte != 127 && byte != b'#')
    });
    found.old = version == Some(b"HTTP/1.0");
    let version_fits = found.old || version == Some(b"HTTP/1.1");
    if method_fits && target_fits && version_fits && none.is_none() {
        Ok(())
    } else {
        Err(Refusal::BadRequestLine)
    }
}

fn header(line: &[u8], found: &mut Found) -> Result<(), Refusal> {
    let (name, value) = split(line)?;
    match name.len() {
        4 if name.eq_ignore_ascii_case(b"host") => {
            found.hosts += 1;
            if found.hosts > 1 {
                return Err(Refusal::DuplicateHost);
            }
            if !is_authority(value) {
                return Err(Refusal::BadHost);
            }
        }
        14 if name.eq_ignore_ascii_case(b"content-length") => {
            if found.length.is_some() {
                return Err(Refusal::DuplicateLength);
            }
            found.length = Some(number(value).ok_or(Refusal::BadLength)?);
        }
        17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
            found.encodings += 1;
            if found.encodings > 1 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::BadEncoding);
            }
        }
        13.. if is_like_framing(name) => return Err(Refusal::BadName),
        _ => {}
    }
    Ok(())
}

/// Whether some server may take a name for one that frames the body: `Transfer_Encoding`, `Content--Length`.
fn is_like_framing(name: &[u8]) -> bool {
    let like = |wanted: &[u8]| {
        let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
        letters.map(u8::to_ascii_lowercase).eq(wanted.iter().copied())
    };
    match name.iter().find(|byte| byte.is_ascii_alphanumeric()) {
        Some(b't' | b'T') => like(b"transferencoding"),
        Some(b'c' | b'C') => like(b"contentlength"),
        _ => false,
    }
}

/// A decimal number of at most 18 digits, without sign, space or list.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
