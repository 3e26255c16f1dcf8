// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Values that a proxy would refuse. The API server's schemas keep them out; files in a folder come without schemas, and
//! one refused value must not cost the rest of a gateway's configuration.

use operator_ir::{Action, HeaderMutation, HostPattern, PathRewrite, RuleFilters};

/// Longest hostname (RFC 1123).
const LONGEST_HOST: usize = 253;

/// Whether this is a hostname, or one behind a wildcard label.
pub(crate) fn is_host(host: &HostPattern) -> bool {
    let name = match host {
        HostPattern::Any => return true,
        HostPattern::Exact(name) | HostPattern::Suffix(name) => name,
    };
    let label = |label: &str| {
        let inside =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= LONGEST_HOST && name.split('.').all(label)
}

/// The first value of a rule that no proxy takes, as text for its owner.
pub(crate) fn unusable(action: &Action, filters: &RuleFilters) -> Option<String> {
    let mut mutations = vec![&filters.request_headers, &filters.response_headers];
    let mut paths = Vec::new();
    let mut hosts = Vec::new();
    match action {
        Action::Forward(forward) => {
            for destination in &forward.destinations {
                mutations.extend([&destination.request_headers, &destination.response_headers]);
            }
            if let Some(rewrite) = &forward.rewrite {
                paths.extend(&rewrite.path);
                hosts.extend(&rewrite.host);
            }
        }
        Action::Redirect(redirect) => {
            paths.extend(&redirect.path);
            hosts.extend(&redirect.host);
        }
        Action::Respond(_) => {}
    }
    let path = paths
        .into_iter()
        .map(|rewrite| match rewrite {
            PathRewrite::Full(path) | PathRewrite::Prefix(path) => path,
        })
        .find(|path| !is_path(path));
    let host = hosts.into_iter().find(|host| !is_host(&HostPattern::Exact(host.to_ascii_lowercase())));
    mutations
        .into_iter()
        .find_map(unusable_header)
        .or_else(|| path.map(|path| format!("{path:?} is no path")))
        .or_else(|| host.map(|host| format!("{host:?} is no hostname")))
}

fn unusable_header(mutation: &HeaderMutation) -> Option<String> {
    let named = mutation.set.iter().chain(&mutation.add);
    let name = named.clone().map(|(name, _)| name).chain(&mutation.remove).find(|name| !is_header_name(name));
    if let Some(name) = name {
        return Some(format!("{name:?} is no header name"));
    }
    if mutation.remove.iter().any(|name| name == "host") {
        return Some("the header host cannot be removed".to_owned());
    }
    let (name, _) =
        named.into_iter().find(|(_, value)| value.bytes().any(|byte| byte != b'\t' && is_control(byte)))?;
    Some(format!("the value of header {name} holds a control character"))
}

/// A token (RFC 9110 section 5.6.2), in lower case.
pub(crate) fn is_header_name(name: &str) -> bool {
    let token =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 256 && name.bytes().all(token)
}

fn is_path(path: &str) -> bool {
    path.bytes().all(|byte| byte != b' ' && !is_control(byte))
}

fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::{is_header_name, is_host, is_path};
    use operator_ir::HostPattern;

    #[test]
    fn hosts() {
        for good in
            ["", "*", "a", "a.example.com", "*.example.com", "A.Example.com", "10.0.0.1", "x_y.example"]
        {
            assert!(is_host(&HostPattern::parse(good)), "{good}");
        }
        for bad in ["*.", "a b", "a..b", "-a.com", "a.*.com", "a.com:80", "ä.com", &"a".repeat(64)] {
            assert!(!is_host(&HostPattern::parse(bad)), "{bad}");
        }
    }

    #[test]
    fn header_names_and_paths() {
        assert!(
            is_header_name("x-forwarded-for")
                && !is_header_name("x y")
                && !is_header_name(":path")
                && !is_header_name("")
        );
        assert!(is_path("/a?b=c") && !is_path("/a\r\nset-cookie: x") && !is_path("/a b"));
    }
}
