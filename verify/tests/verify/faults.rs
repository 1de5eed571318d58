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
    assert_eq!(endings.iter().filter(|ending| *ending == "unverified").count(), 1, "{endings:?}");
}

/// What a crawl comes to: path below `/fault/`, and the problem type when it is one.
const CRAWLED: [(&str, Option<&str>); 14] = [
    ("close", Some("closed-early")),
    ("reset", Some("connection-reset")),
    ("silent", Some("no-answer")),
    ("drip-page", Some("body-slow")),
    ("endless-page", Some("body-too-large")),
    ("huge", Some("body-too-large")),
    ("garbage", Some("not-http")),
    ("head", Some("head-too-large")),
    ("charset", Some("charset-wrong")),
    ("bomb", Some("encoding-unasked")),
    ("nowhere", Some("redirect-nowhere")),
    // Neither is a page: their bodies are not waited for.
    ("events", None),
    ("endless", None),
    ("stall", None),
];

#[test]
fn a_crawl_meets_every_fault_in_bounded_time_and_memory() {
    let links: Vec<_> = CRAWLED.iter().map(|(way, _)| format!("<a href=/fault/{way}>x</a>")).collect();
    let world = World::new("[links]", "deadlines = { verify = \"6s\" }");
    let world = world.with_site(&serde_json::json!({"/": links.concat()})).serving(&[]);
    let begun = Instant::now();
    let (run, peak) = world.verify_watched(&["dev", "--slot", "blue", "--only", "links"]);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!((1..200_000).contains(&peak), "{peak} KiB");
    for (way, kind) in CRAWLED {
        match kind {
            Some(kind) => {
                let step = run.step(&format!("links./fault/{way}"));
                assert_eq!(step["problem"]["type"], kind, "{step}");
                assert!(step["problem"]["detail"].as_str().unwrap().contains("linked from: /"), "{step}");
            }
            None => {
                assert!(!run.stdout.contains(&format!("\"links./fault/{way}\"")), "{way}: {}", run.stdout);
            }
        }
    }
}

#[test]
fn a_maze_without_end_is_left_at_the_limit() {
    let world = World::new("[links]\npages = 300", "");
    let world = world.with_site(&serde_json::json!({"/": "<a href=/fault/maze>x</a>"})).serving(&[]);
    let run = world.verify(&["dev", "--slot", "blue", "--only", "links"]);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert_eq!(run.ending("links.limit"), "skipped");
    let world = World::new("[links]\ntime = \"300ms\"", "");
    let world = world.with_site(&serde_json::json!({"/": "<a href=/fault/maze>x</a>"})).serving(&[]);
    let run = world.verify(&["dev", "--slot", "blue", "--only", "links"]);
    assert_eq!(run.ending("links.limit"), "skipped");
}

#[test]
fn a_page_nested_without_end_holds_nothing_up() {
    let world = World::new("[links]", "");
    let world = world.with_site(&serde_json::json!({"/": "<a href=/fault/deep>x</a>"})).serving(&[]);
    let run = world.verify(&["dev", "--slot", "blue", "--only", "links"]);
    assert_eq!(run.ending("links./fault/deep"), "page-too-deep", "{}", run.stdout);
}
