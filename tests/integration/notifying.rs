//! Notifications: each is told once, with the report, and nobody who is told can do any harm.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::Value;
use tests::fault::Act;
use tests::keepers;
use tests::ran::Running;
use tests::receiver::{Address, Receiver, await_senders, command_lines, has_sender};
use tests::world::World;

const SECRET: &str = "sentinel-hook-51c7";

/// Dev tells `notify`, the value of that key.
fn world(notify: &str) -> World {
    let world = World::new();
    world.write_secrets("../dev.env", &format!("HOOK_TOKEN={SECRET}\n"));
    let keys = format!("[environments.dev]\nenv_file = \"../dev.env\"\nnotify = {notify}\n");
    world.configure("[environments.dev]\n", &keys);
    world.release("v1");
    world
}

fn listening() -> (World, Receiver) {
    let address = Address::claim();
    (world(&format!("[\"{}/$HOOK_TOKEN\"]", address.url())), address.listen())
}

#[test]
fn deployments_and_rollbacks_are_told_in_order_with_their_reports() {
    let (world, receiver) = listening();
    receiver.hold();
    let report = world.run("deploy", &["dev"]).ok().report();
    let id = report.deployment.clone().unwrap();
    let begun = receiver.next();
    assert!(has_sender(&world), "nobody waits for the answer");
    assert!(!command_lines().iter().any(|line| line.contains(SECRET)), "a secret in an argument");
    receiver.release();
    assert_eq!((begun.id(), begun.path), (format!("{id}/started"), format!("/hook/{SECRET}")));
    let mut ended = receiver.next();
    // On a slow machine the sender has tried again meanwhile.
    while ended.event() == "started" {
        ended = receiver.next();
    }
    let ended = ended.body;
    assert_eq!(
        (&ended["event"], &ended["outcome"], &ended["app"]),
        (&"succeeded".into(), &"succeeded".into(), &"tinyapp".into())
    );
    assert_eq!(ended["steps"].as_array().unwrap().len(), report.steps.len());
    assert!(ended["text"].as_str().unwrap().starts_with("tinyapp dev: deployment "), "{ended}");

    world.faulty(r#"{"health_status": 500}"#);
    world.run("deploy", &["dev"]);
    assert_eq!(
        [receiver.next().event().to_owned(), receiver.next().event().to_owned()],
        ["started", "failed"]
    );
    world.mend("v2");
    world.run("deploy", &["dev"]).ok();
    world.run("rollback", &["dev"]).ok();
    let events: Vec<String> = (0..4).map(|_| receiver.next().event().to_owned()).collect();
    assert_eq!(events, ["started", "succeeded", "started", "rolled_back"]);
    await_senders(&world);
    assert!(receiver.is_quiet() && world.status("dev")["notifications"].as_array().unwrap().is_empty());
    for file in
        walkdir::WalkDir::new(world.state()).into_iter().flatten().filter(|file| file.file_type().is_file())
    {
        let bytes = fs::read(file.path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(SECRET), "{}", file.path().display());
    }
}

#[test]
fn a_receiver_that_does_not_answer_delays_nothing_and_hears_of_it_later() {
    let address = Address::claim();
    let world = world(&format!("[\"{}/$HOOK_TOKEN\", \"command cat >> ../told\"]", address.url()));
    world.run("deploy", &["dev"]).ok();
    await_senders(&world);
    let told = fs::read_to_string(world.path().join("told")).unwrap();
    assert_eq!(told.lines().count(), 2, "another receiver has waited: {told}");
    fs::remove_file(world.path().join("told")).unwrap();
    let overdue = &world.status("dev")["notifications"][0];
    assert_eq!((&overdue["waiting"], &overdue["given_up"]), (&2.into(), &0.into()));
    assert!(!overdue.to_string().contains(SECRET), "{overdue}");
    let again = world.run("deploy", &["dev"]).ok().report();
    assert!(again.details["deploy"]["warnings"][0].as_str().unwrap().contains("did not reach"), "{again:?}");
    world.run("status", &["deliver"]).refused("not-delivered");
    let receiver = address.listen();
    world.run("status", &["deliver"]).ok();
    assert_eq!([receiver.next().event(), receiver.next().event()], ["started", "succeeded"]);
    assert_eq!(world.run("status", &["deliver"]).ok().report().details["status"]["delivered"], 0);
    assert!(receiver.is_quiet());
    await_senders(&world);
}

#[test]
fn a_receiver_that_refuses_is_named_with_its_answer() {
    let (world, receiver) = listening();
    receiver.answer_with(404);
    world.run("deploy", &["dev"]).ok();
    assert_eq!(receiver.next().event(), "started");
    await_senders(&world);
    let report = world.run("status", &["deliver"]).refused("not-delivered");
    let detail = report.problem.unwrap().detail.unwrap();
    assert!(detail.ends_with("/… of 'dev': answered 404"), "{detail}");
}

/// Killed before the mark it is told again, after the mark it is not.
#[test]
fn a_killed_sender_loses_nothing_and_repeats_what_it_had_not_marked() {
    let (world, receiver) = listening();
    receiver.answer_with(404);
    world.run("deploy", &["dev"]).ok();
    let started = receiver.next().id();
    await_senders(&world);
    receiver.hold();
    receiver.answer_with(200);
    while !receiver.is_quiet() {}
    let mut sender = world.command("status", &["deliver"]).stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(receiver.next().id(), started);
    sender.kill().unwrap();
    sender.wait().unwrap();
    receiver.release();
    let (killed, _) = Act::new("status", &["deliver"]).run(&world, Some("status:ledger.after-commit#1"));
    assert_eq!((killed.status, receiver.next().id()), (-1, started.clone()));
    world.run("status", &["deliver"]).ok();
    assert_eq!(receiver.next().event(), "succeeded");
    await_senders(&world);
    assert!(receiver.is_quiet());
}

#[test]
fn a_killed_deployment_is_told_by_the_command_that_undoes_it() {
    let (world, receiver) = listening();
    world.run("deploy", &["dev"]).ok();
    assert_eq!(
        [receiver.next().event().to_owned(), receiver.next().event().to_owned()],
        ["started", "succeeded"]
    );
    world.release("v2");
    let (killed, _) = Act::new("deploy", &["dev"]).run(&world, Some("deploy:drain#1"));
    assert_eq!((killed.status, receiver.next().event()), (-1, "started"));
    world.run("backup", &["dev", "create"]).ok();
    let told = receiver.next();
    assert_eq!((told.event(), &told.body["tool"]), ("rolled_back", &"recovery".into()));
    await_senders(&world);
    assert!(receiver.is_quiet());

    world.run("deploy", &["dev"]).ok();
    (0..2).for_each(|_| drop(receiver.next()));
    let (killed, _) = Act::new("rollback", &["dev"]).run(&world, Some("rollback:cutover.after-switch#1"));
    assert_eq!((killed.status, receiver.next().event()), (-1, "started"));
    world.run("backup", &["dev", "create"]).ok();
    let told = receiver.next();
    let text = told.body["text"].as_str().unwrap();
    assert!(told.event() == "failed" && text.contains("was cut off and undone"), "{text}");
}

#[test]
fn what_recovery_cannot_undo_is_told_at_once() {
    let (world, receiver) = listening();
    let first = world.run("deploy", &["dev"]).ok().report().deployment.unwrap();
    (0..2).for_each(|_| drop(receiver.next()));
    world.release("v2");
    let (killed, _) = Act::new("deploy", &["dev"]).run(&world, Some("deploy:cutover.after-switch#1"));
    assert_eq!((killed.status, receiver.next().event()), (-1, "started"));
    await_senders(&world);
    keepers::end_below(&world.state());
    let releases = world.state().join("dev/releases");
    fs::rename(releases.join(&first), world.path().join("gone")).unwrap();
    world.run("backup", &["dev", "create"]);
    assert_eq!(receiver.next().event(), "broken");
    await_senders(&world);
}

/// The script takes a letter as sendmail does.
#[test]
fn a_letter_is_handed_to_sendmail_with_its_address_in_the_head() {
    let world = world("[\"mailto:$HOOK_TOKEN\"]");
    let programs = world.path().join("programs");
    fs::create_dir(&programs).unwrap();
    let letters = world.path().join("letters");
    let script = format!("#!/bin/sh\necho \"$@\" >> {0}\ncat >> {0}\n", letters.display());
    fs::write(programs.join("sendmail"), script).unwrap();
    fs::set_permissions(programs.join("sendmail"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    assert!(world.command("deploy", &["dev"]).env("PATH", path).output().unwrap().status.success());
    await_senders(&world);
    let letters = fs::read_to_string(letters).unwrap();
    let lines: Vec<&str> = letters.lines().collect();
    assert_eq!(lines[..3], ["-i -t", &format!("To: {SECRET}"), "Subject: tinyapp dev: started"], "{letters}");
    assert!(letters.contains("Subject: tinyapp dev: succeeded\n"), "{letters}");
}

/// An address with encryption, whose certificate curl is told to trust.
#[test]
fn a_webhook_is_reached_with_encryption_and_only_where_its_certificate_is_known() {
    let (address, _claim) = tests::ports::claim();
    let url = format!("https://localhost:{}/hook", address.port());
    let world = world(&format!("[\"{url}\"]"));
    let (key, certificate) = (world.path().join("key.pem"), world.path().join("certificate.pem"));
    let program = |name: &str, args: &[&str]| world.program(name, args).output().unwrap();
    let made = program(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            key.to_str().unwrap(),
            "-out",
            certificate.to_str().unwrap(),
        ],
    );
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let heard = world.path().join("heard");
    let script = world.path().join("receiver.py");
    fs::write(&script, ENCRYPTED).unwrap();
    let args = [&script, &certificate, &key, &heard].map(|path| path.to_str().unwrap());
    let port = address.port().to_string();
    let mut receiver = Running(
        world.program("python3", &[&args[..], &[&port]].concat()).stdout(Stdio::piped()).spawn().unwrap(),
    );
    let mut ready = String::new();
    BufReader::new(receiver.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "listening\n");

    world.run("deploy", &["dev"]).ok();
    await_senders(&world);
    let report = world.run("status", &["deliver"]).refused("not-delivered");
    assert!(!heard.exists(), "{report:?}");
    let mut trusting = world.command("status", &["deliver"]);
    assert!(trusting.env("CURL_CA_BUNDLE", &certificate).output().unwrap().status.success());
    let told = fs::read_to_string(heard).unwrap();
    let events: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!([&events[0]["event"], &events[1]["event"]], ["started", "succeeded"]);
}

/// Writes each body that comes into a file, a line each.
const ENCRYPTED: &str = r#"
import http.server, ssl, sys
certificate, key, heard, port = sys.argv[1:]
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(heard, "ab") as out:
            out.write(body + b"\n")
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(port)), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("listening", flush=True)
server.serve_forever()
"#;
