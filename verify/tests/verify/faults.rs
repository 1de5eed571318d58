//! A server that misbehaves: each way is bounded in time and told apart by its problem type.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::world::World;

/// Step and problem type.
const ZOO: [(&str, &str); 25] = [
    ("GET /fault/close", "closed-early"),
    ("GET /fault/reset", "connection-reset"),
    ("GET /fault/silent", "no-answer"),
    ("GET /fault/drip", "body-slow"),
    ("GET /fault/stall", "body-slow"),
    ("GET /fault/endless", "body-too-large"),
    ("GET /fault/cut", "body-cut-off"),
    ("GET /fault/chunk", "body-broken"),
    ("GET /fault/garbage", "not-http"),
    ("GET /fault/head", "head-too-large"),
    ("GET /fault/error", "route-status"),
    ("GET /fault/charset", "charset-wrong"),
    ("GET /fault/gzip", "encoding-unasked"),
    ("GET /fault/nowhere", "redirect-nowhere"),
    ("GET /fault/slow", "too-slow"),
    ("GET /old/", "redirect-wrong"),
    ("GET /old/?2", "redirect-unexpected"),
    ("GET /", "text-missing"),
    ("GET /?2", "text-present"),
    ("GET /?3", "regex-missing"),
    ("GET /?4", "css-missing"),
    ("GET /?5", "header-missing"),
    ("POST /login-renamed/", "form-field-missing"),
    ("POST /login-elsewhere/", "form-missing"),
    ("POST /login-without-cookie/", "session-missing"),
];

const CHECKS: &str = r#"
[routes]
"/fault/<way>" = { way = ["close", "reset", "silent", "drip", "stall", "endless", "cut", "chunk", "garbage", "head", "error", "charset", "gzip"] }
"/fault/nowhere" = { to = "/new/" }
"/fault/slow" = { time = "100ms" }
"/old/" = "301 /elsewhere/"
"/old/?2" = "200"
"/" = "200 Goodbye"
"/?2" = { absent = "Welcome" }
"/?3" = { regex = 'x{9}' }
"/?4" = { css = "table" }
"/?5" = { header = { x-none = "1" } }
"POST /login-renamed/" = { form = { user = "x" }, session = "a" }
"POST /login-elsewhere/" = { form = { user = "x" }, session = "b" }
"POST /login-without-cookie/" = { form = { user = "x" }, to = "/", session = "c" }
"#;

const ROUTES: &[&str] = &["dev", "--slot", "blue", "--only", "routes"];

#[test]
fn every_fault_is_told_apart_and_none_holds_the_run_up() {
    let world = World::new(CHECKS, "deadlines = { verify = \"4s\" }").serving(&[]);
    let begun = Instant::now();
    let run = world.verify(ROUTES);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(run.outcome(), ("failed", 1));
    for (name, kind) in ZOO {
        let step = format!("routes.{name}");
        assert_eq!(run.ending(&step), kind, "{name}: {}", run.step(&step));
        assert!(run.step(&step)["problem"]["hint"].as_str().unwrap().starts_with("curl -si"));
    }
    let kinds: BTreeSet<_> = ZOO.iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds.len(), 24);
}

#[test]
fn nobody_there_is_refused() {
    let world = World::new("", "");
    let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = bound.local_addr().unwrap();
    drop(bound);
    world.record(address);
    let run = world.verify(ROUTES);
    assert_eq!(run.ending("routes.GET /"), "connection-refused");
}

#[test]
fn the_deadline_of_the_run_ends_what_is_left() {
    let routes: Vec<_> = (0..9).map(|n| format!("\"/fault/silent?{n}\" = \"200\"\n")).collect();
    let routes = routes.concat();
    let world = World::new(&format!("[routes]\n{routes}"), "deadlines = { verify = \"1s\" }").serving(&[]);
    let begun = Instant::now();
    let run = world.verify(ROUTES);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let endings: Vec<_> =
        (0..9).map(|n| run.ending(&format!("routes.GET /fault/silent?{n}")).to_owned()).collect();
    assert_eq!(endings.iter().filter(|ending| *ending == "no-answer").count(), 8, "{endings:?}");
    assert_eq!(endings.iter().filter(|ending| *ending == "deadline").count(), 1, "{endings:?}");
}
