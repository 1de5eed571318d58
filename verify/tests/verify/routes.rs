//! Routes, content and sessions.

use serde_json::json;

use crate::world::World;

const PAGES: &[&str] = &["dev", "--slot", "blue", "--only", "routes,content"];

#[test]
fn what_is_right_passes() {
    let world = World::new(
        r#"
[defaults]
time = "5s"
absent = ["Internal Server Error"]
[routes]
"/" = { text = ["Welcome", "Tom & Jerry"] }
"/whole/" = { css = "table#docs td", regex = '\d rows', header = { x-frame-options = "DENY" } }
"/doc/<name>/" = { name = ["a b", "c"], text = "document" }
"/old/" = "301 /new/"
"/missing/" = "404 Page not found"
"HEAD /" = "200"
"/account/" = { session = "user", text = ["Log out"] }
"POST /login/" = { form = { user = "$VERIFY_USER", password = "$VERIFY_PASSWORD" }, to = "/", session = "user" }
"POST /written/" = { form = { a = "1" }, writes = false }
"#,
        "",
    )
    .serving(&[]);
    let run = world.verify(PAGES);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert_eq!(run.ending("routes.GET /account/"), "passed");
    assert_eq!(run.ending("routes.GET /doc/a%20b/"), "passed");
    assert_eq!(run.ending("content"), "passed");
    assert_eq!(run.ending("routes.POST /written/"), "skipped");
    assert!(!world.release().join("written").exists());
    let details = &run.report["details"]["verify"];
    assert_eq!((&details["partial"], &details["slot"]), (&true.into(), &"blue".into()));
    assert_eq!(details["counts"], serde_json::json!({"passed": 10, "failed": 0, "skipped": 1}));
    let order: Vec<_> = run.report["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert_eq!(order[0], "routes.GET /");
    assert_eq!(order[7], "routes.GET /account/");
}

#[test]
fn what_may_write_runs_only_where_the_check_says_so() {
    let world =
        World::new("[routes]\n\"POST /written/\" = { form = { a = \"1\" }, writes = true }", "").serving(&[]);
    assert_eq!(world.verify(PAGES).outcome(), ("succeeded", 0));
    assert_eq!(std::fs::read_to_string(world.release().join("written")).unwrap(), "a=1\n");
}

#[test]
fn each_finding_says_what_and_how_to_see_it() {
    let world = World::new(
        r#"
[defaults]
absent = ["Traceback"]
[routes]
"/" = { text = ["Goodbye", "Farewell"], absent = "Welcome" }
"/missing/" = "200"
"/broken-page/" = "200"
"#,
        "",
    )
    .serving(&[]);
    let run = world.verify(PAGES);
    assert_eq!(run.outcome(), ("failed", 1));
    let problem = &run.step("routes.GET /")["problem"];
    assert_eq!(problem["title"], "GET / does not show 'Goodbye'");
    assert_eq!(
        problem["detail"],
        "expected: Goodbye\nexcerpt: Welcome Tom & Jerry\nalso: does not show 'Farewell'\nalso: shows 'Welcome', which no page may"
    );
    assert_eq!(problem["hint"], format!("curl -si http://{}/", world.address()));
    assert_eq!(run.report["problem"], *problem);
    assert_eq!(run.ending("routes.GET /missing/"), "route-status");
    assert_eq!(run.ending("routes.GET /broken-page/"), "passed");
    assert_eq!(run.ending("content.GET /broken-page/"), "text-present");
}

#[test]
fn a_failed_login_skips_what_needs_it_and_shows_no_secret() {
    let world = World::new(
        r#"
[routes]
"POST /login/" = { form = { user = "$VERIFY_PASSWORD", password = "$VERIFY_USER" }, to = "/", session = "user" }
"/account/" = { session = "user" }
"/" = "200"
"#,
        "",
    )
    .serving(&[]);
    let run = world.verify(PAGES);
    assert_eq!(run.outcome(), ("failed", 1));
    assert_eq!(run.ending("routes.POST /login/"), "route-status");
    assert_eq!(run.ending("routes.GET /account/"), "skipped");
    assert_eq!(run.step("routes.GET /account/")["problem"]["title"], "POST /login/ failed");
    assert_eq!(run.ending("routes.GET /"), "passed");
    let hint = run.step("routes.POST /login/")["problem"]["hint"].as_str().unwrap();
    assert!(hint.contains("password=\"$VERIFY_USER\""), "{hint}");
    assert!(!run.stdout.contains("sentinel-password") && !run.stdout.contains("wrong password someone"));
}

#[test]
fn a_page_slow_beside_others_is_measured_alone() {
    let routes: Vec<_> = (0..8).map(|n| format!("\"/fault/slow?{n}\" = {{ time = \"2s\" }}\n")).collect();
    let routes = routes.concat();
    let world =
        World::new(&format!("[routes]\n{routes}\"/fault/slow\" = {{ time = \"100ms\" }}"), "").serving(&[]);
    let run = world.verify(PAGES);
    assert_eq!(run.ending("routes.GET /fault/slow"), "too-slow");
    assert_eq!(run.report["details"]["verify"]["counts"]["failed"], 1);
}

#[test]
fn documents_in_json_and_elements_are_looked_into() {
    let items = json!({"items": [{"name": "x", "price": 3.5}, {"name": "y"}], "ok": true}).to_string();
    let site =
        json!({"/api": items, "/": "<table id=docs><tr><td>one</td></tr><tr><td>two</td></tr></table>"});
    let checks = r#"
[routes]
"/api" = { json = { "items[0].name" = "x", "items[0].price" = ">=3", "items.length" = 2, "ok" = true } }
"/api?1" = { json = { "items[1].name" = "x" } }
"/api?2" = { json = { "items[5].name" = "x" } }
"/" = { css = { "table#docs tr" = 2, "tr" = ">=1", "td" = "two" } }
"/?1" = { css = { "table#docs tr" = ">2" } }
"/?2" = { css = { "td" = "three" } }
"/?3" = { json = { "a" = 1 } }
"#;
    let world = World::new(checks, "").with_site(&site).serving(&[]);
    let run = world.verify(PAGES);
    for (name, ending) in [
        ("/api", "passed"),
        ("/api?1", "json-wrong"),
        ("/api?2", "json-missing"),
        ("/", "passed"),
        ("/?1", "css-count"),
        ("/?2", "css-missing"),
        ("/?3", "json-missing"),
    ] {
        assert_eq!(run.ending(&format!("routes.GET {name}")), ending, "{name}: {}", run.stdout);
    }
    let problem = &run.step("routes.GET /api?1")["problem"];
    assert_eq!(problem["title"], "GET /api?1 has another value at items[1].name");
    assert_eq!(problem["detail"], "expected: \"x\"\nactual: \"y\"");
    assert_eq!(run.step("routes.GET /?1")["problem"]["detail"], "expected: >2\nactual: 2");
}

#[test]
fn captured_values_are_used_by_later_routes_in_any_order_of_the_file() {
    let site = json!({
        "/list": "<a class=doc href=/doc/a%20b/>first</a> <i>id=7;</i>",
        "/doc/7/first": "welcome to first",
        "POST /save/7": {"status": 302, "headers": ["Location: /doc/7/first"]},
    });
    let checks = r#"
[routes]
"POST /save/<id>" = { form = { title = "{name}" }, to = "/doc/{id}/first", writes = true }
"/doc/<id>/<name>" = { text = "welcome to {name}" }
"/list" = { capture = { id = 'regex:id=(\d+)', name = "css:a.doc" } }
"/empty" = { status = 404, capture = { none = "css:table" } }
"/uses/{none}" = "200"
"/circle/{self}" = { capture = { self = "css:p" } }
"#;
    let world = World::new(checks, "").with_site(&site).serving(&[]);
    let run = world.verify(PAGES);
    for (name, ending) in [
        ("POST /save/{id}", "passed"),
        ("GET /doc/{id}/{name}", "passed"),
        ("GET /list", "passed"),
        ("GET /empty", "capture-missing"),
        ("GET /uses/{none}", "skipped"),
        ("GET /circle/{self}", "skipped"),
    ] {
        assert_eq!(run.ending(&format!("routes.{name}")), ending, "{name}: {}", run.stdout);
    }
    assert_eq!(
        run.step("routes.GET /uses/{none}")["problem"]["title"],
        "GET /empty captured nothing as 'none'"
    );
    assert_eq!(
        run.step("routes.GET /doc/{id}/{name}")["target"],
        format!("http://{}/doc/7/first", world.address())
    );
    assert!(world.asked().iter().any(|line| line.contains("title=first")), "{:?}", world.asked());
}

#[test]
fn several_sessions_are_open_at_once() {
    let login =
        |name: &str| json!({"status": 302, "headers": ["Location: /", format!("Set-Cookie: who={name}")]});
    let mine = |name: &str| json!({"cookie": format!("who={name}"), "body": "mine", "else": {"status": 403}});
    let site = json!({
        "POST /as/ann": login("ann"), "POST /as/bob": login("bob"), "/ann": mine("ann"), "/bob": mine("bob"),
        "GET /as/ann": {"status": 405}, "GET /as/bob": {"status": 405},
    });
    let checks = r#"
[routes]
"/ann" = { session = "ann" }
"/bob" = { session = "bob" }
"/ann?by=bob" = { session = "bob", status = 403 }
"/bob?by=nobody" = "403"
"POST /as/ann" = { form = { a = "1" }, to = "/", session = "ann" }
"POST /as/bob" = { form = { a = "1" }, to = "/", session = "bob" }
"#;
    let world = World::new(checks, "").with_site(&site).serving(&[]);
    let run = world.verify(PAGES);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
}

#[test]
fn a_route_is_asked_again_only_where_it_says_so() {
    let late = json!([{"status": 503}, {"status": 503}, "ready"]);
    let site = json!({"/late": late, "/once": late, "/never": {"status": 503}});
    let checks = "[routes]\n\"/late\" = { text = \"ready\", retry = \"20s\" }\n\"/once\" = \"200\"\n\"/never\" = { retry = \"600ms\" }";
    let world = World::new(checks, "").with_site(&site).serving(&[]);
    let run = world.verify(PAGES);
    assert_eq!(run.ending("routes.GET /late"), "passed", "{}", run.stdout);
    assert_eq!(run.ending("routes.GET /once"), "route-status");
    assert_eq!(run.ending("routes.GET /never"), "route-status");
    let asked = |path: &str| world.asked().iter().filter(|line| line.ends_with(path)).count();
    assert_eq!((asked("/late"), asked("/once"), asked("/never")), (3, 1, 2));
}

#[test]
fn content_alone_asks_the_pages_itself() {
    let world = World::new("[defaults]\nabsent = [\"Traceback\"]\n[routes]\n\"/broken-page/\" = \"200\"", "")
        .serving(&[]);
    let run = world.verify(&["dev", "--slot", "blue", "--only", "content"]);
    assert_eq!(run.ending("content.GET /broken-page/"), "text-present");
    assert_eq!(run.report["steps"].as_array().unwrap().len(), 1);
}

#[test]
fn a_kept_connection_that_the_server_closed_is_no_finding() {
    let routes: Vec<_> = (0..60).map(|n| format!("\"/fault/gone?{n}\" = \"200\"\n")).collect();
    let world = World::new(&format!("[routes]\n{}", routes.concat()), "").serving(&[]);
    assert_eq!(world.verify(PAGES).outcome(), ("succeeded", 0));
}
