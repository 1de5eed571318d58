//! The routes that an app lists: asked by themselves, by rows, by links, or told as unchecked.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{Run, World};

const ROUTES: &[&str] = &["dev", "--slot", "blue", "--only", "routes"];

fn discovered(verify_toml: &str, site: &Value) -> (World, Run) {
    let world = World::new(verify_toml, "").with_site(site).serving(&[]);
    let run = world.verify(ROUTES);
    (world, run)
}

fn facts(run: &Run) -> &Value {
    &run.report["details"]["verify"]["routes"]
}

const TABLE: &str = "
cat <<'END'
Endpoint    Methods    Rule
----------  ---------  --------------------------
all         GET        /all/
home        GET, POST  /
login       GET, POST  /login-first/
detail      GET        /doc/<name>/
static      GET        /static/<path:filename>
logout      GET        /logout
admin       GET        /admin/
comment     POST       /doc/<name>/comment
END
";

fn site() -> Value {
    json!({
        "/": "<link rel=stylesheet href=/static/a/b.css><a href=/all/>all</a>",
        "/all/": "all of them", "/doc/a/": "a", "/static/a/b.css": "css",
        "/login-first/": {"status": 302, "headers": ["Location: /login/"]},
        "/admin/": {"status": 500},
    })
}

#[test]
fn every_listed_route_is_checked_excused_or_told() {
    let checks = format!(
        "[routes]\n\"/\" = \"200\"\n\"/doc/<name>/\" = {{ name = [\"a\"] }}\n[discover]\ncommand = '''{TABLE}'''\nexcuse = [\"/admin/*\"]\n[links]\n"
    );
    let (world, run) = discovered(&checks, &site());
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert_eq!(run.ending("routes.GET /all/"), "passed");
    assert_eq!(run.ending("routes.GET /login-first/"), "passed");
    assert_eq!(run.ending("routes.discovery"), "passed");
    assert_eq!(run.ending("routes.coverage"), "skipped");
    let told = run.step("routes.coverage")["problem"]["title"].as_str().unwrap();
    assert!(
        told.starts_with("2 of 8 listed rules are unchecked: /logout, POST /doc/<name>/comment;"),
        "{told}"
    );
    assert_eq!(
        facts(&run),
        &json!({"rules": 8, "by_routes": 4, "by_links": 1, "by_forms": 0, "excused": 1,
            "unchecked": ["/logout", "POST /doc/<name>/comment"],
            "redirected": [{"path": "/login-first/", "to": "/login/"}]})
    );
    assert!(!world.asked().iter().any(|line| line.contains("logout") || line.contains("admin")));
}

#[test]
fn all_may_be_required() {
    let checks = format!("[discover]\ncommand = '''{TABLE}'''\nexcuse = [\"/admin/\"]\nrequire_all = true\n");
    let (_world, run) = discovered(&checks, &site());
    assert_eq!(run.outcome(), ("failed", 1));
    assert_eq!(run.ending("routes.coverage"), "routes-unchecked");
    assert_eq!(facts(&run)["unchecked"].as_array().unwrap().len(), 4);
    assert_eq!(run.ending("routes.GET /all/"), "passed");
}

#[test]
fn a_listed_route_that_fails_is_a_finding() {
    let (_world, run) = discovered("[discover]\ncommand = \"echo /admin/\"", &site());
    assert_eq!(run.ending("routes.GET /admin/"), "route-status");
    let problem = &run.step("routes.GET /admin/")["problem"];
    assert_eq!(problem["title"], "GET /admin/ answered 500 instead of an answer below 400");
}

#[test]
fn the_command_has_the_release_and_its_environment() {
    let world = World::new("[discover]\ncommand = \"list-routes\"", "").with_site(&json!({"/listed": "ok"}));
    let bin = world.release().join(".venv/bin");
    fs::create_dir_all(&bin).unwrap();
    let script = "#!/bin/sh\n[ \"$VERIFY_PASSWORD\" = sentinel-password ] && [ -f verify.toml ] && [ \"$PORT\" ] && [ \"$BASE_URL\" = \"http://127.0.0.1:$PORT\" ] && [ \"$DEPLOY_SLOT\" = blue ] && echo /listed\n";
    fs::write(bin.join("list-routes"), script).unwrap();
    fs::set_permissions(bin.join("list-routes"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let world = world.serving(&[]);
    let run = world.verify(ROUTES);
    assert_eq!(run.ending("routes.GET /listed"), "passed", "{}", run.stdout);
}

#[test]
fn a_command_that_fails_or_hangs_is_a_finding() {
    let (_world, run) = discovered("[discover]\ncommand = \"echo sentinel-password >&2; exit 3\"", &site());
    assert_eq!(run.outcome(), ("failed", 1));
    let problem = &run.step("routes.discovery")["problem"];
    assert_eq!(
        (&problem["type"], &problem["detail"]),
        (&json!("discovery-failed"), &json!("$VERIFY_PASSWORD"))
    );
    assert!(problem["title"].as_str().unwrap().ends_with("ended with exit status 3"));
    let begun = Instant::now();
    let (_world, run) =
        discovered("[discover]\ncommand = \"sleep 60 & sleep 60\"\ntime = \"300ms\"", &site());
    assert_eq!(run.ending("routes.discovery"), "discovery-failed");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let (_world, run) = discovered("[discover]\ncommand = \"echo nothing here\"", &site());
    assert_eq!(run.ending("routes.discovery"), "discovery-failed");
}

#[test]
fn descriptions_and_sitemaps_are_read_from_the_app_and_the_release() {
    let openapi = json!({"paths": {"/items": {"get": {}}, "/items/{id}": {"get": {}}}});
    let xml = ["Content-Type: application/xml"];
    let site = json!({
        "/items": "items", "/about": "about",
        "/openapi.json": {"body": openapi.to_string(), "headers": ["Content-Type: application/json"]},
        "/sitemap.xml": {"body": "<sitemapindex><sitemap><loc>https://a.example/s2.xml</loc></sitemap></sitemapindex>", "headers": xml},
        "/s2.xml": {"body": "<urlset><url><loc>https://a.example/about</loc></url></urlset>", "headers": xml},
    });
    let checks = "[discover]\nopenapi = \"/openapi.json\"\nsitemap = \"/sitemap.xml\"";
    let (_world, run) = discovered(checks, &site);
    assert_eq!(run.ending("routes.GET /items"), "passed", "{}", run.stdout);
    assert_eq!(run.ending("routes.GET /about"), "passed");
    assert_eq!(facts(&run)["unchecked"], json!(["/items/<id>"]));

    let world = World::new("[discover]\nopenapi = \"api.json\"", "").with_site(&site);
    fs::write(world.release().join("api.json"), openapi.to_string()).unwrap();
    assert_eq!(world.serving(&[]).verify(ROUTES).ending("routes.GET /items"), "passed");
    let (_world, run) = discovered("[discover]\nopenapi = \"none.json\"\nsitemap = \"/items\"", &site);
    let steps = run.report["steps"].as_array().unwrap();
    let failed: Vec<_> = steps.iter().filter(|step| step["problem"]["type"] == "discovery-failed").collect();
    assert_eq!(failed.len(), 2, "{}", run.stdout);
}
