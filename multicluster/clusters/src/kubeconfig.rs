// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! A kubeconfig as credentials, sanitised.
//!
//! Whoever may write the Secret must not thereby run programs or read files in the hub. So we do not hand the text to a
//! kubeconfig loader: we take the few fields that are data from the context in use, and refuse that context if it asks for
//! more. Entries that no context in use names are never looked at.

use crate::access::{certificates, client_certificate, server_url};
use crate::{ApiAccess, Credential, Refusal};
use serde_json::Value;

/// Longest kubeconfig that we parse, bytes.
const MAX_LENGTH: usize = 256 * 1024;

/// Fields of a user that would run a program or read a file, with the remedy.
const REFUSED_USER: [(&str, &str, &str); 5] = [
    ("exec", "runs a program in the hub", "use token, or client-certificate-data with client-key-data"),
    ("auth-provider", "needs a login plugin", "use token, or client-certificate-data with client-key-data"),
    ("tokenFile", "is a path in the hub's file system", "put the token itself into token"),
    (
        "client-certificate",
        "is a path in the hub's file system",
        "put base64 of the PEM into client-certificate-data",
    ),
    ("client-key", "is a path in the hub's file system", "put base64 of the PEM into client-key-data"),
];

/// The same of a cluster.
const REFUSED_CLUSTER: [(&str, &str, &str); 2] = [
    (
        "certificate-authority",
        "is a path in the hub's file system",
        "put base64 of the PEM into certificate-authority-data",
    ),
    (
        "proxy-url",
        "sends every request through a proxy",
        "make the API server reachable from the hub, or use mode Agent",
    ),
];

/// Credentials from the text of a kubeconfig. `object` and `key` name where the text came from, `context` overrides
/// `current-context`.
///
/// # Errors
/// When the text is no kubeconfig, or the context in use asks for more than data.
pub fn kubeconfig_access(
    object: &str,
    key: &str,
    text: &str,
    context: Option<&str>,
    allow_insecure: bool,
) -> Result<ApiAccess, Refusal> {
    const REMEDY: &str = "store a kubeconfig as kubectl config view --raw --minify --flatten prints it";
    if text.len() > MAX_LENGTH {
        return Err(Refusal::new(object, key, "is longer than 256 KiB", REMEDY));
    }
    let root: Value =
        serde_saphyr::from_str(text).map_err(|_| Refusal::new(object, key, "is not YAML", REMEDY))?;
    if !root.is_object() {
        return Err(Refusal::new(object, key, "is not a kubeconfig", REMEDY));
    }
    let context_name = match context.or_else(|| text_of(&root, "current-context")) {
        Some(name) => name,
        None => return Err(Refusal::new(object, format!("{key}: current-context"), "is missing", REMEDY)),
    };
    let context = named(object, key, &root, "contexts", "context", context_name)?;
    let at = |field: &str| format!("{key}: contexts[{context_name}].{field}");
    let cluster_name = text_of(context, "cluster")
        .ok_or_else(|| Refusal::new(object, at("cluster"), "is missing", REMEDY))?;
    let user_name =
        text_of(context, "user").ok_or_else(|| Refusal::new(object, at("user"), "is missing", REMEDY))?;
    let cluster = named(object, key, &root, "clusters", "cluster", cluster_name)?;
    let user = named(object, key, &root, "users", "user", user_name)?;
    let cluster_at = Place { object, path: format!("{key}: clusters[{cluster_name}]") };
    let user_at = Place { object, path: format!("{key}: users[{user_name}]") };
    cluster_at.refuse(cluster, &REFUSED_CLUSTER)?;
    user_at.refuse(user, &REFUSED_USER)?;
    let access = cluster_access(&cluster_at, cluster, allow_insecure)?;
    Ok(ApiAccess {
        credential: user_credential(&user_at, user)?,
        impersonate: text_of(user, "as").map(str::to_owned),
        impersonate_groups: user
            .get("as-groups")
            .and_then(Value::as_array)
            .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default(),
        ..access
    })
}

/// The server half. The credential is a placeholder that the caller replaces.
fn cluster_access(at: &Place<'_>, cluster: &Value, allow_insecure: bool) -> Result<ApiAccess, Refusal> {
    let server = text_of(cluster, "server").ok_or_else(|| {
        Refusal::new(at.object, at.field("server"), "is missing", "write the API server's URL")
    })?;
    let insecure = cluster.get("insecure-skip-tls-verify").and_then(Value::as_bool).unwrap_or(false);
    if insecure && !allow_insecure {
        return Err(Refusal::new(
            at.object,
            at.field("insecure-skip-tls-verify"),
            "turns off the check of the server's certificate",
            "give certificate-authority-data, or set allowInsecure: true on the FleetCluster",
        ));
    }
    let roots = match text_of(cluster, "certificate-authority-data") {
        Some(data) => Some(certificates(at.object, &at.field("certificate-authority-data"), data)?),
        None => None,
    };
    Ok(ApiAccess {
        server: server_url(at.object, &at.field("server"), server, allow_insecure)?,
        server_name: text_of(cluster, "tls-server-name").map(str::to_owned),
        roots,
        insecure,
        credential: Credential::Token(String::new().into()),
        impersonate: None,
        impersonate_groups: Vec::new(),
    })
}

fn user_credential(at: &Place<'_>, user: &Value) -> Result<Credential, Refusal> {
    if let Some(token) = text_of(user, "token") {
        return Ok(Credential::Token(token.trim().to_owned().into()));
    }
    if let Some(chain) = text_of(user, "client-certificate-data") {
        let fields = [at.field("client-certificate-data"), at.field("client-key-data")];
        let key = text_of(user, "client-key-data").ok_or_else(|| {
            Refusal::new(
                at.object,
                &fields[1],
                "is missing",
                "give base64 of the certificate's PEM private key",
            )
        })?;
        return client_certificate(at.object, [&fields[0], &fields[1]], chain, key);
    }
    if let (Some(username), Some(password)) = (text_of(user, "username"), text_of(user, "password")) {
        return Ok(Credential::Basic { username: username.to_owned(), password: password.to_owned().into() });
    }
    Err(Refusal::new(
        at.object,
        at.path.clone(),
        "has no credential",
        "give token, or client-certificate-data with client-key-data",
    ))
}

/// A place within a Secret, for messages.
struct Place<'a> {
    object: &'a str,
    path: String,
}

impl Place<'_> {
    fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn refuse(&self, value: &Value, fields: &[(&str, &str, &'static str)]) -> Result<(), Refusal> {
        for (field, problem, remedy) in fields {
            let set = match value.get(field) {
                None | Some(Value::Null) => false,
                Some(Value::String(text)) => !text.is_empty(),
                Some(_) => true,
            };
            if set {
                return Err(Refusal::new(self.object, self.field(field), *problem, remedy));
            }
        }
        Ok(())
    }
}

/// The body of the entry with this name in one of the three lists.
fn named<'a>(
    object: &str,
    key: &str,
    root: &'a Value,
    list: &str,
    body: &str,
    name: &str,
) -> Result<&'a Value, Refusal> {
    root.get(list)
        .and_then(Value::as_array)
        .and_then(|entries| entries.iter().find(|e| e.get("name").and_then(Value::as_str) == Some(name)))
        .and_then(|entry| entry.get(body))
        .filter(|body| body.is_object())
        .ok_or_else(|| {
            Refusal::new(
                object,
                format!("{key}: {list}[{name}]"),
                "is missing",
                "name an entry that the kubeconfig has",
            )
        })
}

/// A text that is there and not empty.
fn text_of<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
