// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Reads Envoy's substitution formats: one reader and one table of operators for access logs and header values.

mod operators;

use crate::decode::{Fault, Scope};
use crate::{Format, JsonFormat, Operator, Piece};
use gateway_xds_api::pb::google::protobuf::{Struct, Value, value::Kind};

/// Values inside values are read this deep.
const DEEPEST: usize = 16;

/// Reads a format; an operator that cannot be filled here is a warning.
pub(crate) fn format(scope: &mut Scope, field: &str, text: &str) -> Result<Format, Fault> {
    let format = parse(text).map_err(|message| scope.field_fault(field, message))?;
    for (command, written) in format.commands().zip(written_commands(text)) {
        if command.operator == Operator::Blank {
            scope.warn(field, format_args!("{written} has no value in this gateway"));
        }
    }
    Ok(format)
}

/// Reads the format of a JSON line.
pub(crate) fn json_format(scope: &mut Scope, field: &str, value: Struct) -> Result<JsonFormat, Fault> {
    scope.at(field, |scope| object(scope, value, 0))
}

fn object(scope: &mut Scope, value: Struct, depth: usize) -> Result<JsonFormat, Fault> {
    let mut fields: Vec<_> = value.fields.into_iter().collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    let fields = fields.into_iter().map(|(key, value)| {
        let mut quoted = json_text(&key);
        quoted.push(':');
        let value = scope.at(&key, |scope| json_value(scope, value, depth + 1))?;
        Ok((quoted.into(), value))
    });
    Ok(JsonFormat::Object(fields.collect::<Result<_, _>>()?))
}

fn json_value(scope: &mut Scope, value: Value, depth: usize) -> Result<JsonFormat, Fault> {
    if depth > DEEPEST {
        return Err(scope.fault(format_args!("lies deeper than {DEEPEST} values")));
    }
    let literal = |text: String| Ok(JsonFormat::Literal(text.into()));
    match value.kind {
        None | Some(Kind::NullValue(_)) => literal("null".to_owned()),
        Some(Kind::BoolValue(truth)) => literal(truth.to_string()),
        Some(Kind::NumberValue(number)) => match serde_json::Number::from_f64(number) {
            // Envoy writes whole numbers without a fraction.
            Some(_) if number.fract() == 0.0 && number.abs() < 9e15 => literal(format!("{number:.0}")),
            Some(number) => literal(number.to_string()),
            None => Err(scope.fault("is not a number that JSON has")),
        },
        Some(Kind::StringValue(text)) => {
            let format = format(scope, "", &text)?;
            Ok(match Vec::from(format.pieces) {
                pieces if pieces.is_empty() => JsonFormat::Literal("\"\"".into()),
                mut pieces if pieces.len() == 1 => match pieces.remove(0) {
                    Piece::Text(text) => JsonFormat::Literal(json_text(&text).into()),
                    Piece::Command(command) => JsonFormat::Value(command),
                },
                pieces => JsonFormat::Text(Format { pieces: pieces.into() }),
            })
        }
        Some(Kind::StructValue(inner)) => object(scope, inner, depth),
        Some(Kind::ListValue(list)) => {
            let values = list.values.into_iter().enumerate();
            let values = values.map(|(at, value)| {
                scope.at(format_args!("[{at}]"), |scope| json_value(scope, value, depth + 1))
            });
            Ok(JsonFormat::Array(values.collect::<Result<_, _>>()?))
        }
    }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Reads a format; `%%` is a percent sign.
pub(crate) fn parse(text: &str) -> Result<Format, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        if let Some(following) = after.strip_prefix('%') {
            literal.push('%');
            rest = following;
            continue;
        }
        let (parts, following) =
            split(after).ok_or("a percent sign must be written %%, or begin a command that ends with %")?;
        if !literal.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
        }
        pieces.push(Piece::Command(operators::command(&parts)?));
        rest = following;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal.into()));
    }
    Ok(Format { pieces: pieces.into() })
}

/// A command as written.
pub(crate) struct Parts<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameters: Option<&'a str>,
    pub(crate) max_length: Option<usize>,
}

/// Takes a command apart, from behind its first percent sign. Parameters end at the first parenthesis after which the command ends.
fn split(text: &str) -> Option<(Parts<'_>, &str)> {
    let end = text.find(|c: char| !matches!(c, 'A'..='Z' | '0'..='9' | '_')).filter(|end| *end > 0)?;
    let (name, rest) = text.split_at(end);
    let Some(inner) = rest.strip_prefix('(') else {
        let (max_length, following) = tail(rest)?;
        return Some((Parts { name, parameters: None, max_length }, following));
    };
    inner.match_indices(')').find_map(|(at, _)| {
        let (max_length, following) = tail(&inner[at + 1..])?;
        Some((Parts { name, parameters: Some(&inner[..at]), max_length }, following))
    })
}

/// `:length%` or `%`.
fn tail(text: &str) -> Option<(Option<usize>, &str)> {
    if let Some(following) = text.strip_prefix('%') {
        return Some((None, following));
    }
    let (length, following) = text.strip_prefix(':')?.split_once('%')?;
    (!length.is_empty() && length.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    Some((Some(length.parse().ok()?), following))
}

/// The commands of a readable format, as written.
fn written_commands(text: &str) -> Vec<String> {
    let mut written = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(following) = after.strip_prefix('%') {
            rest = following;
            continue;
        }
        let Some((_, following)) = split(after) else { break };
        written.push(format!("%{}", &after[..after.len() - following.len()]));
        rest = following;
    }
    written
}

#[cfg(test)]
mod tests;
