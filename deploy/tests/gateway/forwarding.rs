//! What passes through, and how it is changed on the way.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::backend::Backend;
use crate::process::Gateway;
use crate::visitor::{Response, Visitor, get};

fn serving() -> (Gateway, Backend) {
    let gateway = Gateway::start();
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    (gateway, backend)
}

fn exchange(address: SocketAddr, raw: &str) -> Response {
    let mut visitor = Visitor::connect(address);
    visitor.send(raw);
    visitor.response()
}

/// The head that the target got, in lower case.
fn head_of(address: SocketAddr, raw: &str) -> String {
    exchange(address, raw).body.to_ascii_lowercase()
}

#[test]
fn hop_by_hop_headers_end_here_in_both_directions() {
    let (gateway, _backend) = serving();
    let head = head_of(
        gateway.address,
        "GET /head HTTP/1.1\r\nHost: App.Example:81\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\n\
         Keep-Alive: timeout=1\r\nProxy-Authorization: secret\r\nProxy: http://evil\r\nTE: gzip\r\nUpgrade: none\r\nX-Public: 1\r\n\r\n",
    );
    for gone in ["connection", "x-private", "keep-alive", "proxy", "\r\nte:", "upgrade"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    assert!(head.contains("x-public: 1") && head.contains("host: app.example:81"));

    let response = get(gateway.address, "/hop");
    assert_eq!(response.header("x-outer"), Some("1"));
    for gone in ["x-inner", "keep-alive", "proxy-authenticate", "connection"] {
        assert_eq!(response.header(gone), None);
    }
}

#[test]
fn forwarded_headers_tell_who_asked() {
    let (gateway, _backend) = serving();
    let head = head_of(gateway.address, "GET /head HTTP/1.1\r\nHost: app.example\r\n\r\n");
    for line in [
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: app.example\r\n",
        "x-real-ip: 127.0.0.1\r\n",
    ] {
        assert!(head.contains(line), "{line} not in {head}");
    }
}

#[test]
fn a_proxy_on_this_host_is_believed() {
    let (gateway, _backend) = serving();
    let head = head_of(
        gateway.address,
        "GET /head HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\nX-Real-IP: 203.0.113.9\r\nX_Real_IP: 6.6.6.6\r\n\r\n",
    );
    for line in [
        "x-forwarded-for: 203.0.113.9, 10.0.0.1, 127.0.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        "x-forwarded-host: outer\r\n",
        "x-real-ip: 203.0.113.9\r\n",
    ] {
        assert!(head.contains(line), "{line} not in {head}");
    }
    assert!(!head.contains("6.6.6.6"), "an underscore must not overrule a dash");
}

#[test]
fn request_bodies_pass_with_either_framing() {
    let (gateway, _backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(visitor.response().body, "hello");
    visitor.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
    assert_eq!(visitor.response().body, "hello");
    visitor.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(visitor.response().body, "");
}

#[test]
fn a_large_body_streams_through() {
    let (gateway, _backend) = serving();
    let body = "0123456789abcdef".repeat(1 << 17);
    let mut visitor = Visitor::connect(gateway.address);
    let mut writer = visitor.reader.get_ref().try_clone().unwrap();
    let raw = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let sending = std::thread::spawn(move || writer.write_all(raw.as_bytes()).unwrap());
    assert!(visitor.response().body == body);
    sending.join().unwrap();
}

#[test]
fn expect_continue_is_answered_and_ends_here() {
    let (gateway, backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(visitor.try_head().unwrap().status, 100);
    visitor.send("body");
    assert_eq!(visitor.response().body, "body");
    assert!(!backend.heads()[0].to_ascii_lowercase().contains("expect"));
}

#[test]
fn without_a_target_no_body_is_asked_for() {
    let gateway = Gateway::start();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(visitor.response().status, 503);
}

#[test]
fn head_has_headers_and_no_body() {
    let (gateway, _backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("HEAD /bare HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = visitor.try_response("HEAD").unwrap();
    assert_eq!(response.header("x-only"), Some("head"));
    assert_eq!(response.header("content-length"), None, "no length is invented");
}

#[test]
fn trailers_pass_both_ways() {
    let (gateway, _backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("GET /trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n");
    let response = visitor.response();
    assert_eq!((response.body.as_str(), response.trailers.to_ascii_lowercase().as_str()), ("ab", "x-sum: 7"));
    visitor.send(
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n1\r\na\r\n0\r\nX-End: z\r\n\r\n",
    );
    assert_eq!(visitor.response().body.to_ascii_lowercase(), "ax-end: z");
}

#[test]
fn http_1_0_works_on_either_side() {
    let (gateway, backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(visitor.response().body, "app");
    assert!(visitor.is_closed());
    let head = backend.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("get / http/1.1") && head.contains("host: 127.0.0.1:"), "{head}");

    visitor = Visitor::connect(gateway.address);
    visitor.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(visitor.response().header("connection"), Some("keep-alive"));
    visitor.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(visitor.response().status, 200);

    let response = get(gateway.address, "/no-length");
    assert_eq!((response.version.as_str(), response.body.as_str()), ("HTTP/1.1", "until close"));
}

#[test]
fn an_absolute_target_is_made_relative_and_names_the_host() {
    let (gateway, _backend) = serving();
    let head = head_of(
        gateway.address,
        "GET http://user@named.example:8080/head HTTP/1.1\r\nHost: other.example\r\n\r\n",
    );
    assert!(head.starts_with("get /head http/1.1"), "{head}");
    assert!(head.contains("\r\nhost: named.example:8080\r\n"), "{head}");
}

#[test]
fn connect_is_not_allowed() {
    let (gateway, backend) = serving();
    let response = exchange(gateway.address, "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert_eq!(response.status, 405);
    assert!(response.header("allow").is_some());
    assert!(backend.heads().is_empty());
}

#[test]
fn an_unclear_host_is_refused() {
    let (gateway, backend) = serving();
    assert_eq!(exchange(gateway.address, "GET / HTTP/1.1\r\n\r\n").status, 400);
    assert_eq!(exchange(gateway.address, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
    assert!(backend.heads().is_empty());
}

#[test]
fn a_request_with_two_framings_cannot_smuggle_another() {
    let (gateway, backend) = serving();
    let chunked = "0\r\n\r\n";
    let hidden = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    let length = chunked.len() + hidden.len();
    for framing in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
    ] {
        let mut visitor = Visitor::connect(gateway.address);
        visitor.send(&format!("POST /echo HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{chunked}"));
        let status = visitor.response().status;
        assert!(status == 200 || status == 400, "{status}");
    }
    for head in backend.heads() {
        let head = head.to_ascii_lowercase();
        assert!(!head.contains("content-length"), "only one framing goes on: {head}");
    }
    for refused in [
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 2",
        "Content-Length: +1",
    ] {
        let raw = format!("POST /refused HTTP/1.1\r\nHost: x\r\n{refused}\r\n\r\n{chunked}");
        let status = exchange(gateway.address, &raw).status;
        assert!(status == 400 || status == 501, "{refused}: {status}");
    }
    assert!(!backend.heads().iter().any(|head| head.contains("/refused")));
}

#[test]
fn too_many_or_too_large_headers_are_refused() {
    let (gateway, _backend) = serving();
    let many = "X-Many: 1\r\n".repeat(101);
    assert_eq!(exchange(gateway.address, &format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n")).status, 431);
    let large = "y".repeat(300_000);
    let mut visitor = Visitor::connect(gateway.address);
    let _ = visitor.try_send(&format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {large}\r\n\r\n"));
    assert!(visitor.try_response("GET").map_or(true, |response| response.status == 431));
}

#[test]
fn websocket_frames_pass_both_ways_and_count_as_in_flight() {
    let (gateway, backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send(
        "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let response = visitor.try_head().unwrap();
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let head = backend.heads()[0].to_ascii_lowercase();
    assert!(head.contains("connection: upgrade\r\n") && head.contains("upgrade: websocket\r\n"), "{head}");
    for word in ["hello", "again"] {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | u8::try_from(word.len()).unwrap()];
        frame.extend(mask);
        frame.extend(word.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        visitor.reader.get_mut().write_all(&frame).unwrap();
        let mut echo = vec![0; 2 + word.len()];
        visitor.reader.read_exact(&mut echo).unwrap();
        assert_eq!(&echo[2..], word.as_bytes());
    }
    assert_eq!(gateway.control.status()["in_flight"], 1);
    drop(visitor);
    gateway.control.wait_until_in_flight(0);
}

#[test]
fn a_websocket_is_cut_at_the_drain_limit() {
    let (gateway, _backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(visitor.try_head().unwrap().status, 101);
    let drained = gateway.control.drain("1", 20);
    assert_eq!((&drained["drained"], &drained["requests_cut"]), (&false.into(), &1.into()));
    assert!(visitor.is_closed());
    assert_eq!(gateway.control.status()["in_flight"], 0);
}

#[test]
fn an_upgrade_that_the_target_declines_is_an_ordinary_answer() {
    let (gateway, _backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    assert_eq!(visitor.response().body, "app");
    assert_eq!(visitor.get("/").body, "app");
}
