// SPDX-FileCopyrightText: The Gatefleet Authors
// SPDX-License-Identifier: Apache-2.0

//! The cookies of a request, and those that answers set and delete.

use gateway_config::{OAuth2, OAuthCookie};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// The cookies of a request, in order.
#[derive(Clone, Default)]
pub(super) struct Jar {
    cookies: Vec<(Vec<u8>, Vec<u8>)>,
    changed: bool,
}

/// Cookies are credentials.
impl std::fmt::Debug for Jar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jar").field("cookies", &self.cookies.len()).finish_non_exhaustive()
    }
}

impl Jar {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(COOKIE).iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let pairs = pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()).map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            (pair[..at].to_vec(), pair.get(at + 1..).unwrap_or_default().to_vec())
        });
        Self { cookies: pairs.collect(), changed: false }
    }

    /// The first cookie of a name, without quotes; none where it is empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.cookies.iter().find(|(own, _)| own == name.as_bytes())?;
        let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        std::str::from_utf8(bare).ok().filter(|value| !value.is_empty())
    }

    /// The cookie of one login, or one from before logins had cookies of their own.
    pub(super) fn of_flow(&self, name: &str, flow_id: &str) -> Option<&str> {
        self.get(&format!("{name}.{flow_id}")).or_else(|| self.get(name))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.cookies.iter().any(|(own, _)| own == name.as_bytes())
    }

    /// Names of cookies of logins that began.
    pub(super) fn flow_names(&self, name: &str) -> impl Iterator<Item = &str> {
        let is_flow = move |own: &&str| is_of_flow(own, name);
        self.cookies.iter().filter_map(|(own, _)| std::str::from_utf8(own).ok()).filter(is_flow)
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        let pair = (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        match self.cookies.iter().position(|(own, _)| own == name.as_bytes()) {
            Some(at) => {
                self.cookies[at] = pair;
                let mut index = 0;
                self.cookies.retain(|(own, _)| {
                    index += 1;
                    index <= at + 1 || own != name.as_bytes()
                });
            }
            None => self.cookies.push(pair),
        }
        self.changed = true;
    }

    fn remove(&mut self, mut gone: impl FnMut(&str) -> bool) {
        let before = self.cookies.len();
        self.cookies.retain(|(name, _)| !std::str::from_utf8(name).is_ok_and(&mut gone));
        self.changed |= self.cookies.len() != before;
    }

    /// Leaves out what concerns the filter alone.
    pub(super) fn remove_flow(&mut self, config: &OAuth2) {
        let cookies = &config.cookies;
        let own = [&cookies.hmac, &cookies.expires, &cookies.refresh_token];
        self.remove(|name| {
            own.iter().any(|cookie| name == &*cookie.name)
                || is_of_flow(name, &cookies.nonce.name)
                || is_of_flow(name, &cookies.code_verifier.name)
        });
    }

    /// Leaves out the tokens.
    pub(super) fn remove_tokens(&mut self, config: &OAuth2) {
        let cookies = &config.cookies;
        self.remove(|name| name == &*cookies.bearer_token.name || name == &*cookies.id_token.name);
    }

    /// Puts the cookies back where they changed.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        if !self.changed {
            return;
        }
        let pairs: Vec<_> =
            self.cookies.iter().map(|(name, value)| [&name[..], b"=", value].concat()).collect();
        match HeaderValue::from_bytes(&pairs.join(&b"; "[..])) {
            Ok(line) if !line.is_empty() => {
                headers.insert(COOKIE, line);
            }
            _ => {
                headers.remove(COOKIE);
            }
        }
    }
}

fn is_of_flow(name: &str, base: &str) -> bool {
    name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || (rest.len() > 1 && rest.starts_with('.')))
}

/// A cookie that lasts so many seconds.
pub(super) fn set(config: &OAuth2, cookie: &OAuthCookie, name: &str, value: &str, seconds: u64) -> String {
    let OAuthCookie { path, attributes, .. } = cookie;
    let domain = domain(config);
    format!("{name}={value}{domain};path={path};Max-Age={seconds};secure;HttpOnly{attributes}")
}

/// Deletes a cookie.
pub(super) fn delete(config: &OAuth2, cookie: &OAuthCookie, name: &str) -> String {
    // Browsers take changes of such names only so.
    let secure = if name.starts_with("__Secure-") || name.starts_with("__Host-") { "; Secure" } else { "" };
    let (path, domain) = (&cookie.path, domain(config));
    format!("{name}=deleted; path={path}; expires=Thu, 01 Jan 1970 00:00:00 GMT{domain}{secure}")
}

fn domain(config: &OAuth2) -> String {
    config.cookie_domain.as_ref().map(|domain| format!(";domain={domain}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Jar;
    use http::HeaderMap;
    use http::header::COOKIE;

    #[test]
    fn cookies_are_read_changed_and_put_back() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; b=\"x=y\"; a=2; n.77=v;empty=".parse().unwrap());
        headers.append(COOKIE, "late=3".parse().unwrap());
        let mut jar = Jar::read(&headers);
        assert_eq!((jar.get("a"), jar.get("b"), jar.get("empty")), (Some("1"), Some("x=y"), None));
        assert_eq!(
            (jar.of_flow("n", "77"), jar.of_flow("n", "78"), jar.of_flow("a", "7")),
            (Some("v"), None, Some("1"))
        );
        assert_eq!(jar.flow_names("n").collect::<Vec<_>>(), ["n.77"]);
        jar.set("a", "9");
        jar.write(&mut headers);
        let lines: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(lines, ["a=9; b=\"x=y\"; n.77=v; empty=; late=3"]);
    }
}
