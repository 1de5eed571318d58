//! What is sent a second time, what never is, and how failures look.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::process::Gateway;
use crate::visitor::{Visitor, get};

fn serving() -> (Gateway, Backend) {
    let gateway = Gateway::start();
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    (gateway, backend)
}

const POST: &str = "POST /then-close HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn connections_to_the_target_are_kept() {
    let (gateway, backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    for _ in 0..20 {
        assert_eq!(visitor.get("/").body, "app");
    }
    assert!(backend.connections() < 10, "{}", backend.connections());
}

#[test]
fn a_write_never_meets_a_stale_connection() {
    let (gateway, backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    for _ in 0..50 {
        // Leaves a kept connection behind that the target is just closing.
        assert_eq!(visitor.get("/then-close").body, "app");
        visitor.send(POST);
        let response = visitor.response();
        assert_eq!((response.status, response.body.as_str()), (200, "app"));
    }
    let posts = backend.heads().iter().filter(|head| head.starts_with("POST")).count();
    assert_eq!(posts, 50, "and none was sent twice");
}

#[test]
fn a_read_that_got_no_answer_is_asked_once_more() {
    let (gateway, backend) = serving();
    assert_eq!(get(gateway.address, "/fail-once").body, "app");
    assert_eq!(backend.heads().len(), 2);
    assert_eq!(get(gateway.address, "/fail").status, 502);
    assert_eq!(backend.heads().len(), 4, "once more and no further");
    assert_eq!(gateway.control.status()["failed"], 1);
}

#[test]
fn a_write_that_got_no_answer_is_never_repeated() {
    let (gateway, backend) = serving();
    for raw in [
        "POST /fail-once HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
        "DELETE /fail HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut visitor = Visitor::connect(gateway.address);
        visitor.send(raw);
        let response = visitor.response();
        assert_eq!(response.status, 502);
        assert!(!response.body.contains("127.0.0.1"), "no details");
    }
    assert_eq!(backend.heads().len(), 2);
}

#[test]
fn a_refused_connection_is_tried_again_while_the_instance_restarts() {
    let gateway = Gateway::start();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    gateway.control.switch(address, "1");
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    gateway.control.wait_until_in_flight(1);
    let _backend = Backend::listen(TcpListener::bind(address).unwrap(), "app");
    assert_eq!(visitor.response().body, "hi");
}

#[test]
fn a_target_that_stays_away_is_502_after_a_second() {
    let gateway = Gateway::start();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    gateway.control.switch(address, "1");
    let begun = Instant::now();
    let response = get(gateway.address, "/");
    assert_eq!(response.status, 502);
    assert!(begun.elapsed() >= Duration::from_millis(900));
    assert_eq!(gateway.control.status()["failed"], 1);
}

#[test]
fn a_silent_target_is_504() {
    let gateway = Gateway::start_with(&["--upstream-timeout-ms", "100"]);
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    assert_eq!(get(gateway.address, "/wait").status, 504);
    assert_eq!(gateway.control.status()["failed"], 1);
    assert_eq!(gateway.control.status()["in_flight"], 0);
    backend.release();
}

#[test]
fn a_slow_upload_is_no_silence() {
    let gateway = Gateway::start_with(&["--upstream-timeout-ms", "300"]);
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n");
    for digit in 0..10 {
        // The passing of time is what is tested: twice the limit in all.
        std::thread::sleep(Duration::from_millis(60));
        visitor.send(&digit.to_string());
    }
    assert_eq!(visitor.response().body, "0123456789");
}

#[test]
fn a_body_that_breaks_off_is_seen_to_break_off() {
    let (gateway, _backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    assert!(visitor.try_get("/break").is_err());
}

#[test]
fn an_upload_that_breaks_off_is_not_the_targets_failure() {
    let (gateway, _backend) = serving();
    let mut visitor = Visitor::connect(gateway.address);
    visitor.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
    gateway.control.wait_until_in_flight(1);
    drop(visitor);
    gateway.control.wait_until_in_flight(0);
    assert_eq!(gateway.control.status()["failed"], 0);
}
