//! Who asks, and what that lets them see.
//!
//! Everything is open at the server's own loopback address to who asks there directly, and anywhere
//! to who shows the token. What a gateway brings is a visitor's, whatever it says of itself.

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HOST};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::refusal::Refusal;
use super::source::Setting;

/// By this header a gateway tells whose visitor it is; ours lets no visitor say it.
pub(crate) const ENVIRONMENT: &str = "x-deploy-environment";
/// Whoever passes a request on says for whom.
const BROUGHT: [&str; 7] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "x-real-ip",
    "via",
    ENVIRONMENT,
];

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The server's own loopback address.
    Own,
    /// The socket that gateways of ours use.
    Gateways,
}

/// The one who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) is_trusted: bool,
    /// Whose visitor it is, where a gateway told it.
    pub(crate) environment: Option<String>,
}

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// Nothing of the host: no path, no person, no program's words.
    Public,
    Full,
}

impl Caller {
    pub(crate) fn of(door: Door, headers: &HeaderMap, setting: &Setting) -> Self {
        let is_direct = is_direct(door, headers);
        let environment = headers.get(ENVIRONMENT);
        Self {
            is_trusted: is_direct || shows_token(headers, setting.token.as_deref()),
            environment: environment.and_then(|name| name.to_str().ok()).map(str::to_owned),
        }
    }

    /// How much of `endpoint` it may see.
    ///
    /// # Errors
    /// 401, or 403 where there is no token.
    pub(crate) fn view(&self, endpoint: &str, setting: &Setting) -> Result<View, Refusal> {
        if self.is_trusted {
            return Ok(View::Full);
        }
        let public =
            setting.config.status.as_ref().map(|status| status.public.as_slice()).unwrap_or_default();
        if endpoint == "health" || public.iter().any(|name| name == endpoint) {
            return Ok(View::Public);
        }
        Err(Refusal::closed(setting.token.is_some()))
    }
}

/// Somebody of this host, whom no proxy has brought.
fn is_direct(door: Door, headers: &HeaderMap) -> bool {
    let is_brought = door == Door::Gateways || BROUGHT.iter().any(|name| headers.contains_key(*name));
    !is_brought && names_loopback(headers)
}

/// A page elsewhere may lead a browser of this host here under a name of its own.
fn names_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// As a bearer token, or as the password that a browser asks for.
fn shows_token(headers: &HeaderMap, token: Option<&str>) -> bool {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((token, (scheme, shown))) = token.zip(shown.and_then(|shown| shown.split_once(' '))) else {
        return false;
    };
    let shown = shown.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return is_same(shown.as_bytes(), token.as_bytes());
    }
    let pair = STANDARD.decode(shown).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"));
    pair.is_some_and(|pair| {
        let colon = pair.iter().position(|byte| *byte == b':');
        colon.is_some_and(|colon| is_same(&pair[colon + 1..], token.as_bytes()))
    })
}

/// In a time that does not depend on where they differ.
fn is_same(shown: &[u8], token: &[u8]) -> bool {
    shown.ct_eq(token).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parsed =
            pairs.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        parsed.collect()
    }

    #[test]
    fn only_a_loopback_name_without_a_proxy_is_somebody_of_this_host() {
        for (pairs, is_local) in [
            (&[("host", "127.0.0.1:9100")][..], true),
            (&[("host", "[::1]:9100")], true),
            (&[("host", "localhost")], true),
            (&[("host", "evil.example:9100")], false),
            (&[("host", "127.0.0.1.evil.example")], false),
            (&[], false),
        ] {
            assert_eq!(is_direct(Door::Own, &headers(pairs)), is_local, "{pairs:?}");
            assert!(!is_direct(Door::Gateways, &headers(pairs)), "{pairs:?}");
        }
        for name in ["X-Forwarded-For", "X-Forwarded-Proto", "Via", "Forwarded", "X-Deploy-Environment"] {
            assert!(!is_direct(Door::Own, &headers(&[("host", "127.0.0.1"), (name, "x")])), "{name}");
        }
    }

    #[test]
    fn the_token_is_taken_as_a_bearer_and_as_a_password() {
        let token = Some("0123456789abcdef");
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        for (shown, is_right) in [
            ("Bearer 0123456789abcdef".to_owned(), true),
            ("bearer 0123456789abcdef".to_owned(), true),
            (basic("anybody:0123456789abcdef"), true),
            (basic("0123456789abcdef"), false),
            ("Bearer 0123456789abcde".to_owned(), false),
            ("Bearer ".to_owned(), false),
            ("0123456789abcdef".to_owned(), false),
            ("Basic !".to_owned(), false),
        ] {
            assert_eq!(shows_token(&headers(&[("authorization", &shown)]), token), is_right, "{shown}");
        }
        assert!(!shows_token(&headers(&[("authorization", "Bearer x")]), None));
    }
}
