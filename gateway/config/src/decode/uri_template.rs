// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Path templates (`envoy.path.match.uri_template`, `envoy.path.rewrite.uri_template`): a template becomes an expression.

use crate::decode::{Fault, Scope, type_name};
use gateway_xds_api::pb::envoy::config::core::v3::TypedExtensionConfig;
use gateway_xds_api::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use gateway_xds_api::pb::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use gateway_xds_api::unpack;
use std::iter::Peekable;
use std::str::Chars;

/// What a segment may consist of (RFC 3986, `pchar`).
const SEGMENT: &str = "[a-zA-Z0-9._~%!$&'()+,;:@=-]";
const SEGMENTS: &str = "[a-zA-Z0-9._~%!$&'()+,;:@=/-]";
/// Envoy's limits.
const MOST_VARIABLES: usize = 5;
const LONGEST_NAME: usize = 16;

/// The expression for whole paths that a template of a route's match is.
pub(crate) fn template(scope: &Scope, policy: &TypedExtensionConfig) -> Result<String, Fault> {
    let any = scope.required("typed_config", policy.typed_config.as_ref())?;
    if type_name(any) != "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig" {
        return Err(scope.fault(format_args!("{} is not supported", type_name(any))));
    }
    let UriTemplateMatchConfig { path_template } = unpack(any).map_err(|error| scope.fault(error))?;
    expression(&path_template).map_err(|message| scope.field_fault("path_template", message))
}

/// The replacement that a template is, in the syntax of the `regex` crate; its variables must be in `expression`.
pub(crate) fn rewrite(
    scope: &Scope,
    policy: &TypedExtensionConfig,
    expression: &str,
) -> Result<String, Fault> {
    let any = scope.required("typed_config", policy.typed_config.as_ref())?;
    if type_name(any) != "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig" {
        return Err(scope.fault(format_args!("{} is not supported", type_name(any))));
    }
    let UriTemplateRewriteConfig { path_template_rewrite } =
        unpack(any).map_err(|error| scope.fault(error))?;
    substitution(&path_template_rewrite, expression)
        .map_err(|message| scope.field_fault("path_template_rewrite", message))
}

fn expression(template: &str) -> Result<String, String> {
    if !template.starts_with('/') {
        return Err("must start with a slash".to_owned());
    }
    let mut out = String::new();
    let mut names: Vec<String> = Vec::new();
    let mut rest = template.chars().peekable();
    let mut open_ended = false;
    while let Some(c) = rest.next() {
        if open_ended && matches!(c, '*' | '{' | '/') {
            return Err("must have nothing but text of the last segment behind **".to_owned());
        }
        match c {
            '*' => open_ended |= wildcard(&mut rest, &mut out),
            '{' => {
                let (name, pattern) = variable(&mut rest)?;
                if names.contains(&name) || names.len() == MOST_VARIABLES {
                    return Err(format!(
                        "{name:?} is there twice, or there are more than {MOST_VARIABLES} variables"
                    ));
                }
                out.push_str(&format!("(?P<{name}>"));
                let mut inner = pattern.chars().peekable();
                while let Some(c) = inner.next() {
                    match c {
                        '*' => open_ended |= wildcard(&mut inner, &mut out),
                        c => literal(c, &mut out)?,
                    }
                }
                out.push(')');
                names.push(name);
            }
            c => literal(c, &mut out)?,
        }
    }
    Ok(out)
}

/// One segment, or with a second star all that follows; true for that.
fn wildcard(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> bool {
    let all = rest.next_if_eq(&'*').is_some();
    out.push_str(if all { SEGMENTS } else { SEGMENT });
    out.push(if all { '*' } else { '+' });
    all
}

fn variable(rest: &mut Peekable<Chars<'_>>) -> Result<(String, String), String> {
    let mut text = String::new();
    loop {
        match rest.next() {
            Some('}') => break,
            Some('{') | None => return Err("has a brace without its other".to_owned()),
            Some(c) => text.push(c),
        }
    }
    let (name, pattern) = text.split_once('=').unwrap_or((&text, "*"));
    let fits = name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !fits || pattern.is_empty() {
        return Err(format!("{name:?} is no name of a variable, or its pattern is empty"));
    }
    Ok((name.to_owned(), pattern.to_owned()))
}

fn literal(c: char, out: &mut String) -> Result<(), String> {
    if !c.is_ascii_alphanumeric() && !"-._~%!$&'()+,;:@=/".contains(c) {
        return Err(format!("{c:?} cannot be in a path"));
    }
    if !c.is_ascii_alphanumeric() && !matches!(c, '/' | '_' | '%' | '!' | '\'' | ',' | ';' | ':' | '@' | '=')
    {
        out.push('\\');
    }
    out.push(c);
    Ok(())
}

fn substitution(template: &str, expression: &str) -> Result<String, String> {
    if !template.starts_with('/') {
        return Err("must start with a slash".to_owned());
    }
    let mut out = String::new();
    let mut rest = template.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' => {
                let (name, _) = variable(&mut rest)?;
                if !expression.contains(&format!("(?P<{name}>")) {
                    return Err(format!("the variable {name:?} is not in the route's path_template"));
                }
                out.push_str(&format!("${{{name}}}"));
            }
            '}' | '*' => return Err(format!("{c:?} cannot be in a path")),
            '$' => out.push_str("$$"),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::{expression, substitution};
    use crate::FullRegex;
    use regex::Regex;

    #[test]
    fn templates_match_as_envoy_s() {
        for (template, path, expected) in [
            ("/users/{id}", "/users/42", true),
            ("/users/{id}", "/users/42/x", false),
            ("/users/{id}", "/users/", false),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/b/b/c", false),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/a", false),
            ("/**.m3u8", "/x/y.m3u8", true),
            ("/{lang=en}/{rest=**}", "/en/x/y", true),
            ("/{lang=en}/{rest=**}", "/de/x/y", false),
            ("/a.b", "/axb", false),
        ] {
            let regex = FullRegex::new(&expression(template).unwrap()).unwrap();
            assert_eq!(regex.is_match(path.as_bytes()), expected, "{template} {path}");
        }
        for bad in ["a", "/{", "/{1}", "/{a}/{a}", "/**/b", "/{a}/{b}/{c}/{d}/{e}/{f}", "/a b", "/{a=}"] {
            assert!(expression(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_rewritten_by_their_variables() {
        let pattern = expression("/users/{id}/{rest=**}").unwrap();
        let regex = Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
        let to = substitution("/v2/{rest}/of$/{id}", &pattern).unwrap();
        assert_eq!(regex.replace_all("/users/42/x/y", &*to), "/v2/x/y/of$/42");
        assert!(substitution("/{other}", &pattern).is_err());
        assert!(substitution("/*", &pattern).is_err());
    }
}
