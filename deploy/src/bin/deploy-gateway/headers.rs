//! Which headers pass, in both directions, and what the gateway adds.
//! Knows the rules of RFC 9110 section 7.6 and nothing of connections.

use std::net::IpAddr;

use hyper::body::Body;
use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Refuses what must not be forwarded: tunnels to elsewhere, an unclear host,
/// an encoding that forwarding would lose.
pub(crate) fn check<B>(request: &Request<B>) -> Result<(), StatusCode> {
    if request.method() == Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let named = hosts.next().is_some();
    if hosts.next().is_some() || (!named && request.version() == Version::HTTP_11) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !request.headers().get_all(TRANSFER_ENCODING).iter().all(is_chunked) {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    Ok(())
}

/// Makes the client's request the one that the target gets. `address_text` is
/// `address` in header form. True if the request asks for an upgrade.
pub(crate) fn prepare_request<B: Body>(
    request: &mut Request<B>,
    address: IpAddr,
    address_text: &HeaderValue,
    default_host: impl FnOnce() -> Option<HeaderValue>,
) -> bool {
    let upgrade = wanted_upgrade(request.headers()).filter(|_| request.version() >= Version::HTTP_11);
    strip(request.headers_mut());
    strip_spoofed(request.headers_mut());
    request.headers_mut().remove(EXPECT);
    *request.version_mut() = Version::HTTP_11;
    if let Some(authority) = make_origin_form(request.uri_mut()) {
        request.headers_mut().insert(HOST, authority);
    } else if !request.headers().contains_key(HOST)
        && let Some(host) = default_host()
    {
        request.headers_mut().insert(HOST, host);
    }
    add_forwarded(request.headers_mut(), address, address_text);
    let wants_upgrade = upgrade.is_some();
    if let Some(protocol) = upgrade {
        restore_upgrade(request.headers_mut(), protocol);
    }
    wants_upgrade
}

/// Makes the target's response the one that the client gets.
pub(crate) fn prepare_response<B>(response: &mut Response<B>) {
    let upgrade = (response.status() == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| response.headers().get(UPGRADE).cloned())
        .flatten();
    strip(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    if let Some(protocol) = upgrade {
        restore_upgrade(response.headers_mut(), protocol);
    }
}

fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    connection_tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade")).then(|| protocol.clone())
}

fn restore_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// Removes what belongs to one connection. `Trailer` stays: without it hyper
/// would not pass the trailers on.
fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        strip_named_by_connection(headers);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
    let takes_trailers = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if headers.get(TE).is_some_and(|value| !takes_trailers(value)) {
        headers.remove(TE);
    }
    // "Proxy" itself becomes HTTP_PROXY in a CGI-like environment.
    remove_where(headers, |name| name == "proxy" || name.starts_with("proxy-"));
}

fn strip_named_by_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_tokens(headers)
        .filter(|token| !token.eq_ignore_ascii_case("close"))
        .filter_map(|token| token.parse().ok())
        .collect();
    headers.remove(CONNECTION);
    for name in named {
        headers.remove(name);
    }
}

/// WSGI and CGI read `X_Real_IP` and `X-Real-IP` as one variable: the former
/// would let a client overrule what we say.
fn strip_spoofed(headers: &mut HeaderMap) {
    remove_where(headers, |name| {
        name.contains('_') && {
            let dashed = name.replace('_', "-");
            dashed.starts_with("x-forwarded-") || dashed == REAL_IP.as_str() || dashed == "proxy"
        }
    });
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// `http://host/path` becomes `/path`; the host it named overrules the header.
fn make_origin_form(uri: &mut Uri) -> Option<HeaderValue> {
    let host = uri.authority().map(Authority::as_str).map(without_user)?;
    let host = HeaderValue::from_str(host).ok()?;
    let path = uri.path_and_query().cloned();
    *uri = path.map_or_else(Uri::default, Uri::from);
    Some(host)
}

fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// What an earlier proxy said is believed only when it is on this host.
fn add_forwarded(headers: &mut HeaderMap, address: IpAddr, address_text: &HeaderValue) {
    let believed = address.is_loopback();
    let chain = match headers.get(FORWARDED_FOR) {
        None => address_text.clone(),
        Some(_) => join_chain(headers, address_text),
    };
    headers.insert(FORWARDED_FOR, chain);
    if !(believed && headers.contains_key(FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !(believed && headers.contains_key(REAL_IP)) {
        headers.insert(REAL_IP, address_text.clone());
    }
    if !(believed && headers.contains_key(FORWARDED_HOST))
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
}

fn join_chain(headers: &HeaderMap, address_text: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(address_text.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| address_text.clone())
}

#[cfg(test)]
mod tests {
    use http_body_util::Empty;

    use super::*;

    fn forward(address: &str, headers: &[(&str, &str)]) -> HeaderMap {
        let mut request = Request::new(Empty::<bytes::Bytes>::new());
        request.headers_mut().insert(HOST, HeaderValue::from_static("app.example"));
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let text = HeaderValue::from_str(address).unwrap();
        prepare_request(&mut request, address.parse().unwrap(), &text, || None);
        request.headers().clone()
    }

    #[test]
    fn a_visitor_from_elsewhere_cannot_say_who_it_is() {
        let claimed = [
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "admin.example"),
            ("x-real-ip", "127.0.0.1"),
        ];
        let headers = forward("203.0.113.9", &claimed);
        assert_eq!(headers[FORWARDED_FOR], "127.0.0.1, 203.0.113.9");
        assert_eq!(headers[FORWARDED_PROTO], "http");
        assert_eq!(headers[FORWARDED_HOST], "app.example");
        assert_eq!(headers[REAL_IP], "203.0.113.9");
    }

    #[test]
    fn what_the_connection_header_names_cannot_remove_what_we_add() {
        let headers = forward("203.0.113.9", &[("connection", "x-real-ip, x-forwarded-for")]);
        assert_eq!(headers[REAL_IP], "203.0.113.9");
        assert_eq!(headers[FORWARDED_FOR], "203.0.113.9");
    }

    #[test]
    fn te_passes_only_as_trailers() {
        assert_eq!(forward("::1", &[("te", "Trailers")])[TE], "Trailers");
        assert!(!forward("::1", &[("te", "trailers, gzip")]).contains_key(TE));
    }
}
