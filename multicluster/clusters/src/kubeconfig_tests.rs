// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! Hostile and broken kubeconfigs: each is refused by its field, and the message names it.

use super::kubeconfig_access;
use crate::{Credential, Refusal};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;

fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: main
contexts: [{{name: main, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{{cluster}}}}}, {{name: other, cluster: {{server: 'http://other'}}}}]
users: [{{name: u, user: {{{user}}}}}, {{name: other, user: {{exec: {{command: /bin/false}}}}}}]
"
    )
}

fn refusal(text: &str, allow_insecure: bool) -> Refusal {
    kubeconfig_access("Secret fleet/a", "kubeconfig", text, None, allow_insecure).unwrap_err()
}

const SERVER: &str = "server: 'https://10.0.0.1:6443'";
const TOKEN: &str = "token: abc";

#[test]
fn a_context_that_is_data_is_taken() {
    let text =
        kubeconfig(&format!("{SERVER}, tls-server-name: api"), "token: ' abc\n', exec: null, tokenFile: ''");
    let access = kubeconfig_access("Secret fleet/a", "kubeconfig", &text, None, false).unwrap();
    assert_eq!(access.server.to_string(), "https://10.0.0.1:6443/");
    assert_eq!(access.server_name.as_deref(), Some("api"));
    let Credential::Token(token) = access.credential else { panic!("token") };
    assert_eq!(token.expose_secret(), "abc");
}

#[test]
fn what_is_not_data_is_refused_by_its_field() {
    let cases: &[(&str, &str, &str)] = &[
        (SERVER, "exec: {command: /bin/sh, args: [-c, id]}", "users[u].exec"),
        (SERVER, "token: abc, exec: {apiVersion: client.authentication.k8s.io/v1}", "users[u].exec"),
        (SERVER, "auth-provider: {name: oidc}", "users[u].auth-provider"),
        (SERVER, "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token", "users[u].tokenFile"),
        (SERVER, "token: abc, tokenFile: /etc/shadow", "users[u].tokenFile"),
        (SERVER, "client-certificate: /c.pem, client-key-data: YQ==", "users[u].client-certificate"),
        (SERVER, "client-certificate-data: YQ==, client-key: /k.pem", "users[u].client-key"),
        (SERVER, "token: ''", "users[u]"),
        (SERVER, "client-certificate-data: '%%', client-key-data: YQ==", "users[u].client-certificate-data"),
        ("server: 'https://a', certificate-authority: /ca.crt", TOKEN, "clusters[c].certificate-authority"),
        (
            "server: 'https://a', certificate-authority-data: YQ==",
            TOKEN,
            "clusters[c].certificate-authority-data",
        ),
        ("server: 'https://a', proxy-url: 'http://evil:3128'", TOKEN, "clusters[c].proxy-url"),
        (
            "server: 'https://a', insecure-skip-tls-verify: true",
            TOKEN,
            "clusters[c].insecure-skip-tls-verify",
        ),
        ("server: 'http://a'", TOKEN, "clusters[c].server"),
        ("server: 'file:///etc/passwd'", TOKEN, "clusters[c].server"),
        ("server: 'unix:///run/api.sock'", TOKEN, "clusters[c].server"),
        ("server: 'https://user:pw@a'", TOKEN, "clusters[c].server"),
        ("server: '/just/a/path'", TOKEN, "clusters[c].server"),
        ("insecure-skip-tls-verify: false", TOKEN, "clusters[c].server"),
    ];
    for (cluster, user, field) in cases {
        let refused = refusal(&kubeconfig(cluster, user), false);
        assert_eq!(refused.field, format!("kubeconfig: {field}"), "{cluster} | {user}");
        assert_eq!(refused.object, "Secret fleet/a");
        assert!(!refused.remedy.is_empty());
    }
}

#[test]
fn insecure_needs_consent_and_then_works() {
    for cluster in ["server: 'http://a'", "server: 'https://a', insecure-skip-tls-verify: true"] {
        let text = kubeconfig(cluster, TOKEN);
        assert!(kubeconfig_access("s", "k", &text, None, true).is_ok(), "{cluster}");
        assert!(refusal(&text, false).remedy.contains("allowInsecure"));
    }
    // Consent to an insecure connection is none to programs and files.
    assert_eq!(refusal(&kubeconfig(SERVER, "exec: {command: id}"), true).field, "kubeconfig: users[u].exec");
}

#[test]
fn the_context_in_use_decides() {
    let text = kubeconfig(SERVER, TOKEN).replace("user: u}", "user: other}");
    assert_eq!(refusal(&text, false).field, "kubeconfig: users[other].exec");
    for (from, to, field) in [
        ("current-context: main", "current-context: nowhere", "contexts[nowhere]"),
        ("current-context: main", "", "current-context"),
        ("cluster: c,", "cluster: gone,", "clusters[gone]"),
        ("user: u}", "user: gone}", "users[gone]"),
    ] {
        let text = kubeconfig(SERVER, TOKEN).replacen(from, to, 1);
        assert_eq!(refusal(&text, false).field, format!("kubeconfig: {field}"));
    }
}

#[test]
fn text_that_is_no_kubeconfig_is_refused() {
    let alias_bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    let long = format!("x: {}", "y".repeat(300 * 1024));
    for text in ["", "[]", "just text", "{: : :", "\u{0}", alias_bomb, &long] {
        let _ = refusal(text, true);
    }
}

#[test]
fn a_message_never_holds_a_secret() {
    let text = kubeconfig("server: 'ftp://a'", "token: s3cr3t, exec: {command: s3cr3t-program}");
    assert!(!refusal(&text, false).to_string().contains("s3cr3t"));
}

#[test]
fn a_client_certificate_needs_both_halves() {
    let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
    let (chain, key) = (STANDARD.encode(made.cert.pem()), STANDARD.encode(made.signing_key.serialize_pem()));
    let good = kubeconfig(SERVER, &format!("client-certificate-data: {chain}, client-key-data: {key}"));
    let access = kubeconfig_access("s", "k", &good, None, false).unwrap();
    assert!(matches!(access.credential, Credential::Certificate { .. }));
    let none = kubeconfig(SERVER, &format!("client-certificate-data: {chain}"));
    assert_eq!(refusal(&none, false).field, "kubeconfig: users[u].client-key-data");
    let swapped = kubeconfig(SERVER, &format!("client-certificate-data: {chain}, client-key-data: {chain}"));
    assert_eq!(refusal(&swapped, false).field, "kubeconfig: users[u].client-key-data");
}
