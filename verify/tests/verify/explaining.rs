//! One check run alone, and the report as a page.

use std::fs;

use crate::world::World;

const CHECKS: &str = r#"
[defaults]
absent = ["Traceback"]
[routes]
"/" = { text = "Goodbye", header = { x-none = "1" } }
"/old/" = "301 /new/"
"POST /login/" = { form = { user = "$VERIFY_USER", password = "$VERIFY_PASSWORD" }, to = "/", session = "user" }
"/account/" = { session = "user", text = ["Log out"], time = "5s" }
[browser]
pages = ["/", "/browser/throw"]
"#;

fn lines(value: &serde_json::Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

fn explain(world: &World, id: &str) -> crate::world::Run {
    world.verify(&["dev", "--slot", "blue", "--explain", id])
}

#[test]
fn a_route_is_explained_with_its_request_and_answer() {
    let world = World::new(CHECKS, "").serving(&[]);
    let run = explain(&world, "routes.GET /");
    assert_eq!(run.outcome(), ("failed", 1));
    assert_eq!(run.report["steps"].as_array().unwrap().len(), 1);
    let told = &run.report["details"]["verify"]["explained"];
    assert_eq!(lines(&told["request"])[0], "GET / HTTP/1.1");
    assert_eq!(lines(&told["response"])[0], "HTTP/1.1 200");
    assert_eq!(
        lines(&told["expected"]),
        ["status 200", "a header x-none with '1'", "the text 'Goodbye'", "no 'Traceback'"]
    );
    assert_eq!(lines(&told["found"])[0], "GET / lacks the header x-none");
    assert_eq!(told["excerpt"], "Welcome Tom & Jerry");
    assert_eq!(run.report["details"]["verify"]["partial"], true);
}

#[test]
fn a_check_of_a_session_logs_in_and_shows_no_secret() {
    let world = World::new(CHECKS, "").serving(&[]);
    let run = explain(&world, "routes.GET /account/");
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    let told = &run.report["details"]["verify"]["explained"];
    assert!(
        lines(&told["request"]).iter().any(|line| line.starts_with("cookie: ") && line.contains("session=…"))
    );
    let login = explain(&world, "routes.POST /login/");
    let told = &login.report["details"]["verify"]["explained"];
    assert!(lines(&told["request"]).contains(&"form: password=$VERIFY_PASSWORD&user=$VERIFY_USER"));
    assert!(lines(&told["response"]).contains(&"set-cookie: session=…; HttpOnly"), "{told}");
    for run in [run, login] {
        for secret in ["session-7", "sentinel-password", "pre=1"] {
            assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{secret}: {}", run.stdout);
        }
    }
}

#[test]
fn other_stages_are_explained_too_and_an_unknown_id_is_refused() {
    let world = World::new(CHECKS, "").serving(&[]);
    for (id, expected) in [
        ("identity", "the processes behind the port are those of release"),
        ("content.GET /old/", "no 'Traceback'"),
        ("browser.GET /", "no error of a script"),
    ] {
        let run = explain(&world, id);
        let told = &run.report["details"]["verify"]["explained"];
        assert!(lines(&told["expected"])[0].contains(expected), "{id}: {}", run.stdout);
        assert_eq!(run.code, 0, "{id}: {}", run.stdout);
    }
    for unknown in ["routes.GET /nowhere/", "rotues", "browser.GET /nowhere/"] {
        let run = explain(&world, unknown);
        assert_eq!((run.code, run.report["problem"]["type"].as_str()), (2, Some("usage")), "{unknown}");
        assert!(run.report["problem"]["hint"].as_str().unwrap().contains("jq -r '.steps[].name'"));
    }
}

#[test]
fn the_page_has_the_report_and_its_screenshots_and_no_secret() {
    let world = World::new(CHECKS, "").serving(&[]);
    let file = world.path("report.html");
    let run = world.verify(&[
        "dev",
        "--slot",
        "blue",
        "--only",
        "routes,browser",
        "--html",
        file.to_str().unwrap(),
    ]);
    assert_eq!(run.outcome(), ("failed", 1));
    let page = fs::read_to_string(&file).unwrap();
    assert!(page.contains("GET / lacks the header x-none"));
    assert!(!page.contains("sentinel-password") && !page.contains("<script"));
    if run.ending("browser.GET /") == "passed" {
        assert_eq!(page.matches("data:image/png;base64,iVBOR").count(), 2);
    }
    let nowhere = world.path("no/such/dir.html");
    let run = world.verify(&["dev", "--slot", "blue", "--html", nowhere.to_str().unwrap()]);
    assert_eq!((run.code, run.report["problem"]["type"].as_str()), (2, Some("usage")));
}
