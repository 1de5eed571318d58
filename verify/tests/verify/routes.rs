//! Routes, content and sessions.

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
