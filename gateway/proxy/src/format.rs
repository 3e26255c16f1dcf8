// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Fills Envoy's substitution formats: header values while a request goes on, log lines once it is over.

mod command;
mod peer;
mod time;
mod values;

pub(crate) use values::{Headers, LiveHeaders, Values};

pub(crate) use command::grpc_code;
use command::{Shape, write_command};
use gateway_config::{Format, JsonFormat, Piece};

/// Appends a text; `absent` stands for what is not there.
pub(crate) fn write_text(out: &mut Vec<u8>, format: &Format, values: &Values<'_>, absent: &str) {
    for piece in &format.pieces {
        match piece {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Command(command) => {
                if write_command(out, command, values) == Shape::Absent {
                    out.extend_from_slice(absent.as_bytes());
                }
            }
        }
    }
}

/// Appends JSON; with `omit_empty` fields without a value are left out. False where nothing was appended for want of a value.
pub(crate) fn write_json(
    out: &mut Vec<u8>,
    format: &JsonFormat,
    values: &Values<'_>,
    omit_empty: bool,
) -> bool {
    match format {
        JsonFormat::Literal(text) => out.extend_from_slice(text.as_bytes()),
        JsonFormat::Object(fields) => {
            let mut before = b'{';
            for (key, value) in fields {
                let start = out.len();
                out.push(before);
                out.extend_from_slice(key.as_bytes());
                if write_json(out, value, values, omit_empty) {
                    before = b',';
                } else {
                    out.truncate(start);
                }
            }
            if before == b'{' {
                out.push(b'{');
            }
            out.push(b'}');
        }
        JsonFormat::Array(items) => {
            let mut before = b'[';
            for item in items {
                let start = out.len();
                out.push(before);
                if write_json(out, item, values, omit_empty) {
                    before = b',';
                } else {
                    out.truncate(start);
                }
            }
            if before == b'[' {
                out.push(b'[');
            }
            out.push(b']');
        }
        JsonFormat::Value(command) => {
            let start = out.len();
            match write_command(out, command, values) {
                Shape::Number | Shape::Json => {}
                Shape::Text => quote(out, start),
                Shape::Absent if omit_empty => return false,
                Shape::Absent => out.extend_from_slice(b"null"),
            }
        }
        JsonFormat::Text(format) => {
            let start = out.len();
            write_text(out, format, values, if omit_empty { "" } else { "-" });
            quote(out, start);
        }
    }
    true
}

/// Makes what stands from `start` on a JSON text.
fn quote(out: &mut Vec<u8>, start: usize) {
    let plain = out[start..].iter().all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\'));
    if plain {
        out.insert(start, b'"');
        out.push(b'"');
        return;
    }
    let text = String::from_utf8_lossy(&out[start..]).into_owned();
    out.truncate(start);
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            control if control < ' ' => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests;
