//! The control socket and what `status` says.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::process::{Gateway, target};
use crate::visitor::{Visitor, get};

#[test]
fn several_commands_share_a_connection_and_mistakes_are_answered() {
    let gateway = Gateway::start();
    let socket = UnixStream::connect(gateway.dir.path().join("control.sock")).unwrap();
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    let mut ask = |line: &str| -> Value {
        (&socket).write_all(format!("{line}\n").as_bytes()).unwrap();
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    assert_eq!(ask(r#"{"command":"ping"}"#), json!({"ok": true}));
    for mistake in [
        "hello",
        "{}",
        r#"{"command":"fly"}"#,
        r#"{"command":"switch"}"#,
        r#"{"command":"switch","target":{"slot":"blue","address":"nowhere","deployment":"1"}}"#,
        r#"{"command":"drain","deployment":"1"}"#,
    ] {
        assert!(ask(mistake)["error"].is_string(), "{mistake}");
    }
    assert_eq!(ask(r#"{"command":"release"}"#), json!({"held": false, "waited": 0}));
    assert_eq!(ask(r#"{"command":"ping"}"#), json!({"ok": true}));
}

#[test]
fn status_counts_requests_failures_and_server_errors() {
    let gateway = Gateway::start();
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    let mut visitor = Visitor::connect(gateway.address);
    assert_eq!(visitor.get("/").status, 200);
    assert_eq!(visitor.get("/error").status, 500);
    visitor.send("POST /fail HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(visitor.response().status, 502);
    gateway.control.wait_until_in_flight(0);

    let status = gateway.control.status();
    assert_eq!(status["requests"], 3);
    assert_eq!(status["failed"], 1);
    assert_eq!(status["server_errors"], 1);
    assert_eq!(status["requests_cut"], 0);
    assert_eq!((&status["holding"], &status["held"]), (&0.into(), &false.into()));
    assert_eq!(status["active"], target(backend.address, "1"));
    assert_eq!(status["listen"], gateway.address.to_string());
    assert_eq!(status["pid"], gateway.child.id());
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["started_ms"].as_u64().unwrap() > 1_700_000_000_000);
    let idle = json!({"address": backend.address, "deployment": "1", "in_flight": 0});
    assert_eq!(status["targets"], json!([idle]));
}

#[test]
fn a_switch_that_cannot_be_saved_changes_nothing() {
    let gateway = Gateway::start();
    let backends = [Backend::start("blue"), Backend::start("green")];
    gateway.control.switch(backends[0].address, "1");
    fs::create_dir(gateway.dir.path().join("gateway.json.new")).unwrap();
    let reply = gateway.control.switch(backends[1].address, "2");
    assert!(reply["error"].as_str().unwrap().contains("gateway.json"), "{reply}");
    assert_eq!(get(gateway.address, "/").body, "blue");
}

#[test]
fn socket_and_state_are_private() {
    let gateway = Gateway::start();
    let backend = Backend::start("app");
    gateway.control.switch(backend.address, "1");
    for name in ["control.sock", "gateway.json"] {
        let mode = fs::metadata(gateway.dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let saved: Value =
        serde_json::from_slice(&fs::read(gateway.dir.path().join("gateway.json")).unwrap()).unwrap();
    assert_eq!(saved, json!({"active": target(backend.address, "1")}));
}
