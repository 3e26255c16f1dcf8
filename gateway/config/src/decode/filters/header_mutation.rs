// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Decodes the header mutation filter.

use crate::decode::headers::addition;
use crate::decode::strings::string_matcher;
use crate::decode::{Fault, Scope, fields};
use crate::{HeaderMutation, HeaderMutations, Mutations, QueryMutation};
use gateway_xds_api::pb::envoy::config::common::mutation_rules::v3::{
    self as rules,
    header_mutation::{Action, RemoveOnMatch},
};
use gateway_xds_api::pb::envoy::config::core::v3::{
    KeyValueAppend, KeyValueMutation, KeyValuePair, key_value_append::KeyValueAppendAction,
};
use gateway_xds_api::pb::envoy::extensions::filters::http::header_mutation::v3 as pb;
use gateway_xds_api::pb::google::protobuf::{Any, value::Kind};
use gateway_xds_api::unpack;
use http::HeaderName;

/// The listener's changes.
pub(crate) fn filter(scope: &mut Scope, any: &Any) -> Result<Mutations, Fault> {
    let message: pb::HeaderMutation = unpack(any).map_err(|error| scope.fault(error))?;
    fields!(scope, message => pb::HeaderMutation {
        use { mutations }
        warn { most_specific_header_mutations_wins }
        quiet { }
    });
    scope.at("mutations", |scope| self::mutations(scope, mutations.unwrap_or_default()))
}

/// A route's changes.
pub(crate) fn per_route(scope: &mut Scope, any: &Any) -> Result<Mutations, Fault> {
    let pb::HeaderMutationPerRoute { mutations } = unpack(any).map_err(|error| scope.fault(error))?;
    scope.at("mutations", |scope| self::mutations(scope, mutations.unwrap_or_default()))
}

fn mutations(scope: &mut Scope, message: pb::Mutations) -> Result<Mutations, Fault> {
    fields!(scope, message => pb::Mutations {
        use { request_mutations, query_parameter_mutations, response_mutations }
        warn { response_trailers_mutations, request_trailers_mutations }
        quiet { }
    });
    Ok(Mutations {
        request: scope.each("request_mutations", request_mutations, mutation)?.into(),
        query: scope.each("query_parameter_mutations", query_parameter_mutations, query)?.into(),
        response: scope.each("response_mutations", response_mutations, mutation)?.into(),
    })
}

fn mutation(scope: &mut Scope, message: rules::HeaderMutation) -> Result<HeaderMutation, Fault> {
    Ok(match scope.required("action", message.action)? {
        Action::Remove(name) => {
            let name = HeaderName::try_from(&name)
                .map_err(|_| scope.field_fault("remove", format_args!("{name:?} is not a header name")))?;
            if name == http::header::HOST {
                return Err(scope.field_fault("remove", "the host header cannot be removed"));
            }
            HeaderMutation::Change(HeaderMutations { remove: [name].into(), add: Box::default() })
        }
        Action::Append(option) => {
            let addition = scope.at("append", |scope| addition(scope, option))?;
            HeaderMutation::Change(HeaderMutations { remove: Box::default(), add: [addition].into() })
        }
        Action::RemoveOnMatch(RemoveOnMatch { key_matcher }) => {
            let matcher = scope.required("remove_on_match.key_matcher", key_matcher)?;
            HeaderMutation::RemoveMatching(
                scope.at("remove_on_match.key_matcher", |scope| string_matcher(scope, matcher))?,
            )
        }
    })
}

#[allow(deprecated, reason = "`entry` is still sent by older control planes")]
fn query(scope: &mut Scope, message: KeyValueMutation) -> Result<QueryMutation, Fault> {
    let KeyValueMutation { append, remove } = message;
    let Some(append) = append else {
        return match remove.is_empty() {
            true => Err(scope.fault("needs append or remove")),
            false => Ok(QueryMutation::Remove(remove.into())),
        };
    };
    let KeyValueAppend { record, entry, action } = append;
    let (key, value) = match (record, entry) {
        (Some(KeyValuePair { key, value }), _) => match value.and_then(|value| value.kind) {
            Some(Kind::StringValue(text)) => (key, text),
            _ => return Err(scope.field_fault("append.record.value", "must be a string")),
        },
        (None, Some(entry)) => match String::from_utf8(entry.value) {
            Ok(text) => (entry.key, text),
            Err(_) => return Err(scope.field_fault("append.entry.value", "is not text")),
        },
        (None, None) => return Err(scope.field_fault("append.record", "is missing")),
    };
    if key.is_empty()
        || [&key, &value].iter().any(|text| text.bytes().any(|b| b"&#= ".contains(&b) || b < 33))
    {
        return Err(scope.field_fault("append.record", "must be a name and a value as they stand in a query"));
    }
    let (key, value) = (key.into(), value.into());
    Ok(match KeyValueAppendAction::try_from(action) {
        Ok(KeyValueAppendAction::AppendIfExistsOrAdd) => QueryMutation::Append(key, value),
        Ok(KeyValueAppendAction::AddIfAbsent) => QueryMutation::AddIfAbsent(key, value),
        Ok(KeyValueAppendAction::OverwriteIfExistsOrAdd) => QueryMutation::Overwrite(key, value),
        Ok(KeyValueAppendAction::OverwriteIfExists) => QueryMutation::OverwriteIfExists(key, value),
        Err(_) => return Err(scope.field_fault("append.action", "is unknown")),
    })
}
