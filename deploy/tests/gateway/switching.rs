//! Switch, drain and hold, with requests under way.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::backend::Backend;
use crate::load::Load;
use crate::process::{Gateway, target, wait_for};
use crate::visitor::{Visitor, get};

#[test]
fn switches_under_load_lose_nothing_and_hold_from_the_reply_on() {
    let gateway = Gateway::start();
    let backends = [Backend::start("blue"), Backend::start("green")];
    gateway.control.switch(backends[0].address, "blue");
    let load = Load::start(gateway.address, 8);
    // Each entry: from `replied` until the next one's `begun`, only `name` may answer.
    let mut switches = vec![(Instant::now(), Instant::now(), "blue")];
    for round in 1..=30 {
        load.wait_for_more(40);
        let name = ["blue", "green"][round % 2];
        let begun = Instant::now();
        gateway.control.switch(backends[round % 2].address, name);
        switches.push((begun, Instant::now(), name));
    }
    load.wait_for_more(40);
    let answers = load.finish();

    let mut judged = 0;
    for answer in &answers {
        let body = answer.outcome.as_ref().expect("no request is lost");
        let last = switches.iter().rposition(|&(_, replied, _)| replied < answer.asked);
        let Some(last) = last else { continue };
        let next_begun = switches.get(last + 1).map(|next| next.0);
        let answered_by_then = next_begun.is_none_or(|begun| begun > answer.asked);
        // A request that was asked just before a switch may get either.
        if body != switches[last].2 {
            let next = switches.get(last + 1).map(|next| next.2);
            assert_eq!(next, Some(body.as_str()), "the old target answered after the reply");
        }
        judged += usize::from(answered_by_then);
    }
    assert!(judged > 1000, "{judged} of {}", answers.len());
    assert_eq!(gateway.control.status()["failed"], 0);
}

#[test]
fn a_kept_connection_survives_switches() {
    let gateway = Gateway::start();
    let backends = [Backend::start("blue"), Backend::start("green")];
    let mut visitor = None;
    for round in 0..10 {
        let backend = &backends[round % 2];
        let name = ["blue", "green"][round % 2];
        gateway.control.switch(backend.address, name);
        let visitor = visitor.get_or_insert_with(|| Visitor::connect(gateway.address));
        assert_eq!(visitor.get("/").body, name);
    }
}

#[test]
fn a_request_in_flight_is_finished_by_the_old_target_and_drain_waits_for_it() {
    let gateway = Gateway::start();
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    gateway.control.switch(old.address, "1-old");
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    gateway.control.wait_until_in_flight(1);

    let reply = gateway.control.switch(new.address, "2-new");
    assert_eq!(reply["previous"]["deployment"], "1-old");
    assert_eq!(reply["active"]["deployment"], "2-new");
    assert_eq!(get(gateway.address, "/").body, "new");
    let targets = gateway.control.status()["targets"].clone();
    assert!(
        targets
            .as_array()
            .unwrap()
            .contains(&json!({"address": old.address, "deployment": "1-old", "in_flight": 1}))
    );

    let drained = std::thread::scope(|scope| {
        let drain = scope.spawn(|| gateway.control.drain("1-old", 20_000));
        // Nothing tells that the drain has begun to wait, and it must not return before the release.
        std::thread::sleep(Duration::from_millis(100));
        assert!(!drain.is_finished());
        old.release();
        drain.join().unwrap()
    });
    assert_eq!(visitor.response().body, "old");
    assert_eq!((&drained["drained"], &drained["requests_cut"]), (&true.into(), &0.into()));
    assert!(drained["waited_ms"].as_u64().unwrap() >= 90);
    let left = gateway.control.status()["targets"].clone();
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
}

#[test]
fn a_response_counts_as_in_flight_until_its_body_is_over() {
    let gateway = Gateway::start();
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(visitor.try_head().unwrap().status, 200);
    assert_eq!(gateway.control.status()["in_flight"], 1);
    backend.release();
    let mut body = [0; 10];
    std::io::Read::read_exact(&mut visitor.reader, &mut body).unwrap();
    assert_eq!(&body, b"firstlater");
    gateway.control.wait_until_in_flight(0);
}

#[test]
fn the_drain_limit_cuts_what_is_left_and_counts_it() {
    let gateway = Gateway::start();
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    gateway.control.switch(old.address, "1");
    let mut visitors: Vec<_> = ["/wait", "/stream"]
        .into_iter()
        .map(|path| {
            let mut visitor = Visitor::connect(gateway.address);
            visitor.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            visitor
        })
        .collect();
    gateway.control.wait_until_in_flight(2);
    gateway.control.switch(new.address, "2");
    let drained = gateway.control.drain("1", 50);
    assert_eq!((&drained["drained"], &drained["requests_cut"]), (&false.into(), &2.into()));
    assert!(visitors[0].try_response("GET").is_err());
    assert!(visitors[1].try_response("GET").is_err(), "a cut body is seen to be cut");
    let status = gateway.control.status();
    assert_eq!((&status["requests_cut"], &status["in_flight"]), (&2.into(), &0.into()));
    assert_eq!(get(gateway.address, "/").body, "new");
    old.release();
}

#[test]
fn a_drain_of_something_unknown_is_done_at_once() {
    let gateway = Gateway::start();
    let drained = gateway.control.drain("never-seen", 10_000);
    assert_eq!(drained["drained"], true);
    assert!(drained["waited_ms"].as_u64().unwrap() < 5_000);
}

#[test]
fn held_requests_wait_and_then_reach_what_is_active() {
    let gateway = Gateway::start();
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    gateway.control.switch(old.address, "1");
    assert_eq!(gateway.control.ask(&json!({"command": "hold", "limit_ms": 60_000})), json!({"held": true}));
    let mut visitors: Vec<_> = (0..3)
        .map(|_| {
            let mut visitor = Visitor::connect(gateway.address);
            visitor.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            visitor
        })
        .collect();
    let status = wait_for("three held requests", || {
        Some(gateway.control.status()).filter(|status| status["holding"] == 3)
    });
    assert_eq!((&status["held"], &status["in_flight"]), (&true.into(), &0.into()));
    gateway.control.switch(new.address, "2");
    let released = gateway.control.ask(&json!({"command": "release"}));
    assert_eq!(released, json!({"held": false, "waited": 3}));
    for visitor in &mut visitors {
        assert_eq!(visitor.response().body, "new");
    }
    assert!(old.heads().is_empty(), "nothing was sent upstream while held");
}

#[test]
fn a_hold_ends_at_its_limit() {
    let gateway = Gateway::start();
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    gateway.control.ask(&json!({"command": "hold", "limit_ms": 150}));
    let begun = Instant::now();
    assert_eq!(get(gateway.address, "/").body, "app");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let status = gateway.control.status();
    assert_eq!((&status["held"], &status["holding"]), (&false.into(), &0.into()));
}

#[test]
fn a_held_request_whose_client_leaves_is_forgotten() {
    let gateway = Gateway::start();
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    gateway.control.ask(&json!({"command": "hold", "limit_ms": 60_000}));
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let holding = |count: u64| {
        wait_for("held requests", || (gateway.control.status()["holding"] == count).then_some(()));
    };
    holding(1);
    drop(visitor);
    holding(0);
    assert!(backend.heads().is_empty());
}

#[test]
fn without_a_target_the_answer_is_503_with_advice() {
    let gateway = Gateway::start();
    let response = get(gateway.address, "/");
    assert_eq!(response.status, 503);
    assert_eq!(response.header("retry-after"), Some("5"));
    assert!(response.header("content-type").unwrap().starts_with("text/html"));
    assert!(response.body.contains("Service Unavailable"));

    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    assert_eq!(get(gateway.address, "/").status, 200);
    let reply = gateway.control.ask(&json!({"command": "switch", "target": null}));
    assert_eq!(reply["previous"], target(backend.address, "1"));
    assert_eq!(get(gateway.address, "/").status, 503);
    assert_eq!(gateway.control.status()["failed"], 0);
}
