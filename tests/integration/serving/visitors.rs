//! Who may see what: through a gateway, with and without the token, and under another name.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::http::exchange;
use tests::load::{Load, Plan};
use tests::world::World;

use super::Served;

const TOKEN: &str = "sentinel-token-4711";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_visitor_sees_health_of_the_gateways_environment_and_nothing_else() {
    let served = Served::serving("");
    served.world.run("deploy", &["prod", "--promote"]).ok();
    let (status, head, body) = served.visit("/_deploy/health", &["X-Deploy-Environment: prod"]);
    assert_eq!((status, &json(&body)["environment"]), (200, &"dev".into()), "a visitor cannot choose");
    assert_eq!(json(&body)["database"], "ok");
    let head = head.to_lowercase();
    for header in
        ["nosniff", "no-store", "frame-ancestors 'none'", "default-src 'none'", "x-frame-options: deny"]
    {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert!(!head.contains("unsafe"));
    assert_eq!(served.visit("/_deploy/prod/health", &[]).0, 404);
    assert_eq!(served.visit("/_deploy/health?environment=prod", &[]).0, 404);
    for path in
        ["/_deploy/", "/_deploy/status", "/_deploy/metrics", "/_deploy/events", "/_deploy/deployments"]
    {
        for headers in [&[][..], &["Host: 127.0.0.1"], &["Host: localhost", "X-Forwarded-For: 127.0.0.1"]] {
            let (status, head, body) = served.visit(path, headers);
            assert_eq!((status, &json(&body)["type"]), (403, &"not-public".into()), "{path} {headers:?}");
            assert!(head.to_lowercase().contains("application/problem+json"));
        }
    }
    let (status, _, body) = exchange(served.world.listen("dev"), "POST", "/_deploy/health", &[]).unwrap();
    assert_eq!((status, &json(&body)["type"]), (405, &"only-reading".into()));
}

#[test]
fn its_own_address_is_open_to_this_host_under_its_own_name_only() {
    let served = Served::serving("");
    let (status, told) = served.own("/_deploy/status");
    assert_eq!((status, told["environments"].as_array().unwrap().len()), (200, 2));
    let (_, dev) = served.own("/_deploy/dev/status");
    let revision = served.world.git(&["rev-parse", "HEAD"]);
    for (member, value) in [
        ("environment", Value::from("dev")),
        ("git_branch", "dev".into()),
        ("git_commit", revision.into()),
        ("service_status", "healthy".into()),
        ("state", "verified".into()),
    ] {
        assert_eq!(dev[member], value, "{member}");
    }
    assert_eq!(dev["facts"]["instance"]["condition"], "running");
    for headers in [
        &["Host: evil.example"][..],
        &["Host: 127.0.0.1", "X-Forwarded-For: 192.0.2.1"],
        &["Host: 127.0.0.1", "X-Real-IP: 192.0.2.1"],
        &["Host: 127.0.0.1", "X-Forwarded-Proto: https"],
        &["Host: 127.0.0.1", "Via: 1.1 proxy"],
    ] {
        let (status, _, body) = exchange(served.own, "GET", "/_deploy/status", headers).unwrap();
        assert_eq!(status, 404, "whose visitor it is nobody said: {headers:?}");
        assert!(json(&body)["hint"].as_str().unwrap().contains("X-Deploy-Environment"), "{body}");
        assert_eq!(
            exchange(served.own, "GET", "/_deploy/dev/status", headers).unwrap().0,
            403,
            "{headers:?}"
        );
        assert_eq!(
            exchange(served.own, "GET", "/_deploy/dev/health", headers).unwrap().0,
            200,
            "{headers:?}"
        );
    }
}

#[test]
fn the_token_opens_everything_and_stands_nowhere() {
    let world = Served::new(
        "public = [\"status\", \"deployments\", \"dashboard\", \"metrics\"]\ntoken = \"$STATUS_TOKEN\"\nenv_file = \"../status.env\"",
    );
    world.world.write_secrets("../status.env", &format!("STATUS_TOKEN={TOKEN}\n"));
    world.world.release("v1");
    world.world.run("deploy", &["dev"]).ok();
    world.own("/_deploy/version");
    let id = world.world.status("dev")["deployment"].as_str().unwrap().to_owned();
    let (bearer, wrong) =
        (format!("Authorization: Bearer {TOKEN}"), "Authorization: Bearer wrong-wrong-wrong-1");
    let (status, head, _) = world.visit("/_deploy/version", &[wrong]);
    assert_eq!(status, 401);
    assert!(head.to_lowercase().contains("www-authenticate: basic"), "{head}");
    let (status, _, body) = world.visit("/_deploy/prod/status", &[&bearer]);
    assert_eq!((status, &json(&body)["environment"]), (200, &"prod".into()));
    let place = world.world.path().display().to_string();
    let who = format!("@{}", common::lock::host());
    for path in [
        "/_deploy/status",
        "/_deploy/deployments",
        &format!("/_deploy/deployments/{id}"),
        "/_deploy/",
        "/_deploy/view/dev",
        &format!("/_deploy/view/dev/{id}"),
        "/_deploy/metrics",
        "/_deploy/health",
    ] {
        let (status, _, public) = world.visit(path, &[]);
        assert_eq!(status, 200, "{path}: {public}");
        for hidden in [place.as_str(), who.as_str(), TOKEN] {
            assert!(!public.contains(hidden), "{path} shows {hidden}: {public}");
        }
        let (status, _, full) = world.visit(path, &[&bearer]);
        assert_eq!(status, 200, "{path}");
        assert!(!full.contains(TOKEN), "{path}");
    }
    assert!(world.visit(&format!("/_deploy/deployments/{id}"), &[&bearer]).2.contains(&place));
    for entry in walkdir::WalkDir::new(world.world.state()).into_iter().flatten() {
        let text = std::fs::read(entry.path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&text).contains(TOKEN), "{}", entry.path().display());
    }
    let socket = world.world.state().join("status/status.sock");
    assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn secrets_of_an_app_never_come_with_the_end_of_a_log() {
    let served = Served::new("");
    served.world.write_secrets("../dev.env", "API_TOKEN=sentinel-in-a-log\n");
    served.world.configure("[app]\n", "[app]\nbuild = \"echo token sentinel-in-a-log here\"\n");
    served.world.configure("[environments.dev]\n", "[environments.dev]\nenv_file = \"../dev.env\"\n");
    let id = served.world.run("deploy", &["dev"]).ok().report().deployment.unwrap();
    let (_, told) = served.own(&format!("/_deploy/deployments/{id}"));
    assert!(told["log"].as_str().unwrap().contains("token $API_TOKEN here"), "{}", told["log"]);
    let shown = served.world.run("status", &["show", &id]);
    shown.ok();
    assert!(shown.stdout.contains("token $API_TOKEN here"), "{}", shown.stdout);
    for text in
        [told.to_string(), shown.stdout.clone(), served.own_text(&format!("/_deploy/view/dev/{id}")).2]
    {
        assert!(!text.contains("sentinel"), "{text}");
    }
}

#[test]
fn without_a_server_the_gateway_says_what_to_start_and_the_app_never_hears_of_it() {
    let world = World::new();
    world.release("v1");
    world.run("deploy", &["dev"]).ok();
    for path in ["/_deploy/health", "/_deploy", "/%5Fdeploy/health"] {
        let (status, head, body) = exchange(world.listen("dev"), "GET", path, &[]).unwrap();
        assert_eq!((status, &json(&body)["type"]), (503, &"no-status-server".into()), "{path}");
        assert!(json(&body)["hint"].as_str().unwrap().starts_with("status serve"));
        assert!(head.to_lowercase().contains("application/problem+json"), "{head}");
    }
    assert_eq!(world.get("dev", "/_deployed").0, 404, "that is the app's");
}

#[test]
fn health_tells_of_an_app_that_does_not_work() {
    let served = Served::serving("");
    assert_eq!(served.own("/_deploy/dev/health").0, 200);
    let database = served.world.database("dev");
    std::fs::rename(&database, database.with_extension("away")).unwrap();
    std::fs::write(&database, "this is no database, and long enough to look at").unwrap();
    let begun = std::time::Instant::now();
    loop {
        let (status, told) = served.own("/_deploy/dev/health");
        if told["database"] == "unreadable" {
            assert_eq!((status, &told["status"]), (503, &"unhealthy".into()));
            return;
        }
        assert!(begun.elapsed().as_secs() < 10, "{told}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn who_watches_keeps_no_deployment_waiting_and_is_no_request_of_the_app() {
    let served = Served::serving("public = [\"events\"]");
    let before = served.world.status("dev")["gateway"]["requests"].clone();
    let mut watcher = tests::stream::Stream::open(served.world.listen("dev"), "/_deploy/events", &[]);
    served.visit("/_deploy/health", &[]);
    assert_eq!(served.world.status("dev")["gateway"]["in_flight"], 0);
    let requests = served.world.status("dev")["gateway"]["requests"].as_u64().unwrap();
    assert!(requests - before.as_u64().unwrap() <= 4, "only status itself asked for health");
    let load = Load::start(served.world.listen("dev"), Plan::mixed());
    load.wait_for(2);
    served.world.release("v2");
    let report = served.world.run("deploy", &["dev"]).ok().report();
    load.wait_for(2);
    load.stop().assert_nothing_lost();
    assert_eq!(report.details["deploy"]["drain"]["requests_cut"], 0);
    let told = watcher.until(|event| event.data["deployment"]["state"] == "verified");
    assert!(told.iter().any(|event| event.data["step"]["name"] == "cutover"));
}

#[test]
fn an_app_that_does_not_answer_holds_up_nothing_else() {
    let served = Served::serving("");
    let app = Pid::from_raw(served.world.serving_pid("dev")).unwrap();
    kill_process(app, Signal::STOP).unwrap();
    let is_asking = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let told = served.own("/_deploy/dev/health");
            is_asking.store(false, Ordering::Release);
            assert_eq!((told.0, &told.1["service"]), (503, &"silent".into()), "{told:?}");
        });
        for path in ["dev/deployments", "prod/health", "openapi.json"] {
            served.own(&format!("/_deploy/{path}"));
        }
        assert!(is_asking.load(Ordering::Acquire), "they waited for the app");
    });
    kill_process(app, Signal::CONT).unwrap();
}
