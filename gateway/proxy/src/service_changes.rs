// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Header changes that services ask for, checked before they touch a message.

use gateway_config::MutationRules;
use gateway_filter_api::{FilterError, RequestHead, ResponseHead};
use gateway_xds_api::pb::envoy::config::core::v3::{
    HeaderValueOption, header_value_option::HeaderAppendAction,
};

/// How a change treats what is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeAction {
    /// Replaces it.
    Set,
    /// Adds a value beside it.
    Append,
    /// Joins the value to it by a comma, where there is one.
    JoinIfPresent,
    /// Only where there is none.
    AddIfAbsent,
    /// Only where there is one.
    OverwriteIfExists,
}

/// One header change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderChange {
    /// In lower case.
    pub(crate) name: String,
    pub(crate) value: Vec<u8>,
    pub(crate) action: ChangeAction,
}

/// A change that was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotChanged {
    /// The rules do not allow it.
    Disallowed,
    /// It is not fit for the wire, or concerns the framing, which is the proxy's.
    Invalid,
}

/// A message's head, request or response.
pub(crate) trait Head {
    fn get(&self, name: &str) -> Option<&[u8]>;
    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError>;
    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError>;
    fn remove(&mut self, name: &str);
}

impl Head for RequestHead {
    fn get(&self, name: &str) -> Option<&[u8]> {
        Self::get(self, name)
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        Self::set(self, name, value)
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        Self::add(self, name, value)
    }

    fn remove(&mut self, name: &str) {
        Self::remove(self, name);
    }
}

impl Head for ResponseHead {
    fn get(&self, name: &str) -> Option<&[u8]> {
        Self::get(self, name)
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        Self::set(self, name, value)
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), FilterError> {
        Self::add(self, name, value)
    }

    fn remove(&mut self, name: &str) {
        Self::remove(self, name);
    }
}

impl HeaderChange {
    pub(crate) fn new(name: &str, value: &[u8], action: ChangeAction) -> Self {
        Self { name: name.to_ascii_lowercase(), value: value.to_vec(), action }
    }

    /// As a service's message has it. `unsaid` is what is meant where the message leaves the action open; `append` what is meant by an
    /// explicit `append: true`.
    #[allow(deprecated, reason = "`append` is what many services still send")]
    pub(crate) fn read(
        option: HeaderValueOption,
        unsaid: ChangeAction,
        append: ChangeAction,
    ) -> Option<Self> {
        let header = option.header?;
        let action = match (option.append, HeaderAppendAction::try_from(option.append_action)) {
            (Some(truth), _) if truth.value => append,
            (Some(_), _) => ChangeAction::Set,
            (None, Ok(HeaderAppendAction::AppendIfExistsOrAdd) | Err(_)) => unsaid,
            (None, Ok(HeaderAppendAction::AddIfAbsent)) => ChangeAction::AddIfAbsent,
            (None, Ok(HeaderAppendAction::OverwriteIfExistsOrAdd)) => ChangeAction::Set,
            (None, Ok(HeaderAppendAction::OverwriteIfExists)) => ChangeAction::OverwriteIfExists,
        };
        let value = if header.raw_value.is_empty() { header.value.into_bytes() } else { header.raw_value };
        Some(Self { name: header.key.to_ascii_lowercase(), value, action })
    }

    /// Makes the change.
    pub(crate) fn apply(
        &self,
        head: &mut impl Head,
        rules: Option<&MutationRules>,
    ) -> Result<(), NotChanged> {
        let name = &*self.name;
        if rules.is_some_and(|rules| !rules.allows(name)) {
            return Err(NotChanged::Disallowed);
        }
        // How long a message is follows from its bytes.
        if name == "content-length" {
            return Err(NotChanged::Invalid);
        }
        let present = head.get(name);
        let result = match self.action {
            ChangeAction::Set => head.set(name, &self.value),
            ChangeAction::Append => head.add(name, &self.value),
            ChangeAction::AddIfAbsent if present.is_none() => head.set(name, &self.value),
            ChangeAction::OverwriteIfExists if present.is_some() => head.set(name, &self.value),
            ChangeAction::JoinIfPresent => match present {
                Some(before) => {
                    let joined = [before, b",", &self.value].concat();
                    head.set(name, &joined)
                }
                None => return Ok(()),
            },
            ChangeAction::AddIfAbsent | ChangeAction::OverwriteIfExists => return Ok(()),
        };
        result.map_err(|_| NotChanged::Invalid)
    }
}

/// Removes a header; those that make the request's line and the framing stay.
pub(crate) fn remove(
    name: &str,
    head: &mut impl Head,
    rules: Option<&MutationRules>,
) -> Result<(), NotChanged> {
    let name = name.to_ascii_lowercase();
    if name.starts_with(':') || matches!(&*name, "host" | "content-length" | "transfer-encoding") {
        return Err(NotChanged::Invalid);
    }
    if rules.is_some_and(|rules| !rules.allows_removal(&name)) {
        return Err(NotChanged::Disallowed);
    }
    head.remove(&name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ChangeAction, HeaderChange, NotChanged, remove};
    use gateway_config::MutationRules;
    use gateway_filter_api::ResponseHead;
    use http::{HeaderMap, StatusCode};

    fn after(action: ChangeAction, name: &str, value: &str) -> (Result<(), NotChanged>, Vec<String>) {
        let mut headers = HeaderMap::new();
        headers.insert("x-a", "1".parse().unwrap());
        let mut head = ResponseHead { status: StatusCode::OK, headers };
        let result = HeaderChange::new(name, value.as_bytes(), action)
            .apply(&mut head, Some(&MutationRules::default()));
        let values = head.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned());
        (result, values.collect())
    }

    #[test]
    fn changes_are_made_as_asked() {
        for (action, name, expected) in [
            (ChangeAction::Set, "x-a", vec!["2"]),
            (ChangeAction::Append, "X-A", vec!["1", "2"]),
            (ChangeAction::JoinIfPresent, "x-a", vec!["1,2"]),
            (ChangeAction::JoinIfPresent, "x-b", vec![]),
            (ChangeAction::AddIfAbsent, "x-a", vec!["1"]),
            (ChangeAction::AddIfAbsent, "x-b", vec!["2"]),
            (ChangeAction::OverwriteIfExists, "x-a", vec!["2"]),
            (ChangeAction::OverwriteIfExists, "x-b", vec![]),
        ] {
            assert_eq!(
                after(action, name, "2"),
                (Ok(()), expected.into_iter().map(str::to_owned).collect()),
                "{action:?} {name}"
            );
        }
    }

    #[test]
    fn what_must_not_change_does_not() {
        for (name, value, why) in [
            ("content-length", "3", NotChanged::Invalid),
            ("transfer-encoding", "chunked", NotChanged::Invalid),
            ("x-b", "a\r\nb: c", NotChanged::Invalid),
            ("x-envoy-b", "1", NotChanged::Disallowed),
            ("host", "b", NotChanged::Disallowed),
        ] {
            assert_eq!(after(ChangeAction::Set, name, value).0, Err(why), "{name}");
        }
        let mut head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
        for name in ["host", "Content-Length", ":path"] {
            assert_eq!(remove(name, &mut head, None), Err(NotChanged::Invalid), "{name}");
        }
    }
}
