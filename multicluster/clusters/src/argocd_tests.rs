// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Argo CD's cluster Secrets: what is taken and what is refused.

use super::argocd_access;
use crate::Credential;

#[test]
fn a_bearer_token_is_taken() {
    let config = r#"{"bearerToken":"abc","tlsClientConfig":{"insecure":false,"serverName":"api"}}"#;
    let access = argocd_access("Secret argocd/a", "https://a:6443", config, false).unwrap();
    assert!(matches!(access.credential, Credential::Token(_)));
    assert_eq!(access.server_name.as_deref(), Some("api"));
}

#[test]
fn programs_proxies_and_insecurity_are_refused_by_their_field() {
    let cases = [
        (r#"{"execProviderConfig":{"command":"argocd-k8s-auth"}}"#, "config: execProviderConfig"),
        (r#"{"bearerToken":"a","execProviderConfig":{"command":"x"}}"#, "config: execProviderConfig"),
        (r#"{"awsAuthConfig":{"clusterName":"x"}}"#, "config: awsAuthConfig"),
        (r#"{"bearerToken":"a","proxyUrl":"http://evil"}"#, "config: proxyUrl"),
        (r#"{"bearerToken":"a","tlsClientConfig":{"insecure":true}}"#, "config: tlsClientConfig.insecure"),
        (r#"{"bearerToken":"a","tlsClientConfig":{"caData":"!"}}"#, "config: tlsClientConfig.caData"),
        (r#"{"tlsClientConfig":{"certData":"YQ=="}}"#, "config: tlsClientConfig.keyData"),
        ("{}", "config"),
        ("[]", "config"),
        ("not json", "config"),
    ];
    for (config, field) in cases {
        let refused = argocd_access("Secret argocd/a", "https://a", config, false).unwrap_err();
        assert_eq!(refused.field, field, "{config}");
    }
    let refused = argocd_access("Secret argocd/a", "http://a", r#"{"bearerToken":"a"}"#, false).unwrap_err();
    assert_eq!(refused.field, "server");
}
