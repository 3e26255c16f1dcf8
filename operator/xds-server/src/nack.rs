// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A proxy's refusal, mapped to the user's object that it is about.

use gateway_xds_api::{PackedResource, ResourceType};
use std::sync::Arc;

/// Longest text that is kept of a refusal.
const TEXT_LIMIT: usize = 4096;

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The type that was refused.
    pub kind: ResourceType,
    /// What the proxy said, cut to 4 KiB.
    pub text: String,
    /// The resource that the text names, or the only one that was sent.
    pub resource: Option<String>,
    /// The user's object and rule behind it, such as `HTTPRoute shop/cart rule 3`.
    pub origin: Option<String>,
}

impl Nack {
    /// Reads a refusal of a response that carried `sent`.
    #[must_use]
    pub fn read(kind: ResourceType, text: &str, sent: &[Arc<PackedResource>]) -> Self {
        let text: String = text.chars().take(TEXT_LIMIT).collect();
        let named = sent.iter().filter(|r| names(&text, &r.name)).max_by_key(|r| r.name.len());
        let resource = named.or(match sent {
            [only] => Some(only),
            _ => None,
        });
        let origin =
            rule_in(&text).or_else(|| resource.map(|r| r.origin.clone()).filter(|origin| !origin.is_empty()));
        Self { kind, resource: resource.map(|r| r.name.clone()), origin, text }
    }
}

/// Whether `name` stands in `text` as a whole, not inside a longer name.
fn names(text: &str, name: &str) -> bool {
    let part_of_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'/' | b'.' | b'*');
    !name.is_empty()
        && text.match_indices(name).any(|(at, _)| {
            let before = text[..at].bytes().next_back();
            let mut after = text[at + name.len()..].bytes();
            // A full stop may end the sentence.
            let next = after.next().filter(|b| *b != b'.' || after.next().is_some_and(part_of_name));
            !before.is_some_and(part_of_name) && !next.is_some_and(part_of_name)
        })
}

/// Finds a rule's name, `<kind>/<ns>/<name>/<rule>/<match>`, and says it as an origin.
fn rule_in(text: &str) -> Option<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/' | '.'))).find_map(
        |token| {
            let parts: Vec<&str> = token.trim_end_matches('.').split('/').collect();
            let [kind, namespace, name, rule, index] = parts[..] else {
                return None;
            };
            let kind = match kind {
                "httproute" => "HTTPRoute",
                "ingress" => "Ingress",
                "gatewayfleet" => "GatewayFleet",
                _ => return None,
            };
            index.parse::<u32>().ok()?;
            let rule = rule.parse::<u32>().ok()?;
            Some(format!("{kind} {namespace}/{name} rule {rule}"))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::Nack;
    use gateway_xds_api::{PackedResource, ResourceType};
    use std::sync::Arc;

    fn resource(name: &str, origin: &str) -> Arc<PackedResource> {
        Arc::new(PackedResource {
            name: name.into(),
            version: String::new(),
            value: bytes::Bytes::new(),
            origin: origin.into(),
        })
    }

    #[test]
    fn texts_find_their_origin() {
        let sent = [
            resource("service/a/b/80", "HTTPRoute a/r"),
            resource("service/a/b/80/h2", "HTTPRoute a/r2"),
            resource("http-80/shop.example", ""),
        ];
        let cases: &[(&str, Option<&str>, Option<&str>)] = &[
            (
                "Error adding/updating cluster(s) service/a/b/80/h2: bad",
                Some("service/a/b/80/h2"),
                Some("HTTPRoute a/r2"),
            ),
            ("cluster 'service/a/b/80' is bad.", Some("service/a/b/80"), Some("HTTPRoute a/r")),
            ("bad: service/a/b/80.", Some("service/a/b/80"), Some("HTTPRoute a/r")),
            ("bad: service/a/b/8", None, None),
            (
                "http-80/shop.example: route httproute/shop/cart/3/0: regex too large",
                Some("http-80/shop.example"),
                Some("HTTPRoute shop/cart rule 3"),
            ),
            ("http-80/shop.example: no routes", Some("http-80/shop.example"), None),
            ("out of memory", None, None),
        ];
        for (text, name, origin) in cases {
            let nack = Nack::read(ResourceType::Cluster, text, &sent);
            assert_eq!((nack.resource.as_deref(), nack.origin.as_deref()), (*name, *origin), "{text}");
        }
        let alone = Nack::read(ResourceType::Cluster, "no", &sent[..1]);
        assert_eq!(alone.origin.as_deref(), Some("HTTPRoute a/r"));
    }
}
