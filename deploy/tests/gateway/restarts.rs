//! The gateway under its keeper: killed, upgraded, stopped, with visitors at the door.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::json;

use crate::backend::Backend;
use crate::load::Load;
use crate::process::{Control, GATEWAY, Gateway, Keeper, signal, target, wait_for};
use crate::visitor::{Visitor, get};

struct Kept {
    keeper: Keeper,
    control: Control,
    address: SocketAddr,
}

fn start() -> Kept {
    let options = ["--listen", "127.0.0.1:0", "--stop-timeout-ms", "35000"];
    let keeper = Keeper::start(&options, &[GATEWAY, "--dir", "."]);
    let control = Control::new(keeper.dir.path());
    let address = wait_for("the gateway", || {
        control.try_ask(&json!({"command": "status"}))?["listen"].as_str()?.parse().ok()
    });
    Kept { keeper, control, address }
}

impl Kept {
    fn pid(&self) -> i64 {
        self.control.status()["pid"].as_i64().unwrap()
    }
}

#[test]
fn after_kill_9_the_same_target_serves_and_who_came_meanwhile_is_answered() {
    let kept = start();
    let backend = Backend::start("app");
    kept.control.switch(backend.address, "1");
    for round in 1..=3 {
        let killed = kept.pid();
        signal(killed, Signal::KILL);
        // Nobody accepts now: the connection waits in the keeper's backlog.
        assert_eq!(get(kept.address, "/").body, "app");
        let record = kept.keeper.wait_for_record("the restart", |record| record["starts"] == 1 + round);
        assert_ne!(record["child"].as_i64(), Some(killed));
    }
    let active = wait_for("the restarted gateway", || {
        Some(kept.control.try_ask(&json!({"command": "status"}))?["active"].clone())
    });
    assert_eq!(active, target(backend.address, "1"));
}

#[test]
fn an_upgrade_under_load_loses_nothing() {
    let kept = start();
    let backend = Backend::start("app");
    kept.control.switch(backend.address, "1");
    let load = Load::start(kept.address, 8);
    let mut pid = kept.pid();
    for _ in 0..3 {
        load.wait_for_more(100);
        kept.keeper.signal(Signal::HUP);
        kept.keeper.wait_for_record("the upgrade", |record| {
            record["child"].as_i64() != Some(pid) && record["retiring"] == json!([])
        });
        assert_ne!(kept.pid(), pid);
        pid = kept.pid();
    }
    load.wait_for_more(100);
    for answer in load.finish() {
        assert_eq!(answer.outcome, Ok("app".into()));
    }
}

#[test]
fn an_upgrade_lets_a_long_request_finish_and_an_idle_visitor_come_back() {
    let kept = start();
    let backend = Backend::start("app");
    kept.control.switch(backend.address, "1");
    let mut long = Visitor::connect(kept.address);
    long.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut idle = Visitor::connect(kept.address);
    assert_eq!(idle.get("/").body, "app");
    kept.control.wait_until_in_flight(1);
    let old = kept.pid();
    kept.keeper.signal(Signal::HUP);
    kept.keeper.wait_for_record("the old one retiring", |record| record["retiring"] == json!([old]));
    // Its connection still belongs to the old process, which asks it to come back anew.
    let response = idle.get("/");
    assert_eq!((response.body.as_str(), response.header("connection")), ("app", Some("close")));
    backend.release();
    let response = long.response();
    assert_eq!((response.body.as_str(), response.header("connection")), ("app", Some("close")));
    kept.keeper.wait_for_record("the old one gone", |record| record["retiring"] == json!([]));
    assert_eq!(kept.control.status()["active"], target(backend.address, "1"));
}

#[test]
fn a_switch_beside_an_older_gateway_reaches_its_kept_connections_too() {
    let kept = start();
    let backends = [Backend::start("blue"), Backend::start("green")];
    kept.control.switch(backends[0].address, "1");
    let mut long = Visitor::connect(kept.address);
    long.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut idle = Visitor::connect(kept.address);
    assert_eq!(idle.get("/").body, "blue");
    let old = kept.pid();
    kept.keeper.signal(Signal::HUP);
    wait_for("the newer gateway", || (kept.pid() != old).then_some(()));
    kept.control.switch(backends[1].address, "2");
    assert_eq!(idle.get("/").body, "green");
    backends[0].release();
    assert_eq!(long.response().body, "blue");
}

#[test]
fn sigterm_finishes_what_is_under_way_and_removes_the_socket() {
    let mut gateway = Gateway::start();
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    let mut long = Visitor::connect(gateway.address);
    long.send("GET /wait HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut idle = Visitor::connect(gateway.address);
    assert_eq!(idle.get("/").status, 200);
    gateway.control.wait_until_in_flight(1);
    signal(i64::from(gateway.child.id()), Signal::TERM);
    assert!(idle.is_closed());
    assert!(gateway.child.try_wait().unwrap().is_none());
    backend.release();
    let response = long.response();
    assert_eq!((response.body.as_str(), response.header("connection")), ("app", Some("close")));
    assert!(gateway.child.wait().unwrap().success());
    assert!(!gateway.dir.path().join("control.sock").exists());
    assert!(Visitor::try_connect(gateway.address).is_err());
}
