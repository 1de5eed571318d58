//! `verify init`: the first file is right at once, and no file is overwritten.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::world::World;

const FLASK: &str = "#!/bin/sh
echo 'Endpoint  Methods    Rule'
echo '--------  ---------  ----------------'
echo 'home      GET        /'
echo 'all       GET        /all/'
echo 'account   GET        /account/'
echo 'doc       GET        /doc/<name>/'
echo 'other     GET        /other/<text>/'
echo 'broken    GET        /broken/'
echo 'admin     GET        /admin/<id>'
echo 'logout    GET, POST  /logout'
";

fn site() -> Value {
    json!({
        "/": r#"<title>Tom &amp; Jerry's "place"</title><a href=/doc/a%20b/>1</a><a href=/doc/b/>2</a><a href=/doc/gone/>3</a>
            <a href="/all/#nowhere">4</a><a href=http://localhost:5000/>5</a><form method=post action=/nothing></form>
            <a href=/other/x/>6</a>"#,
        "/all/": "<title>All\n of them</title>Internal Server Error is a phrase of ours",
        "/account/": {"status": 302, "headers": ["Location: /login/?next=/account/"]},
        "/doc/a b/": "no", "/doc/a%20b/": "a b", "/doc/b/": "b", "/other/x/": "x",
        "/broken/": {"status": 500}, "/doc/gone/": {"status": 404}, "/healthz": "ok", "OPTIONS /nothing": {"status": 404},
        "OPTIONS /": {"headers": ["Allow: GET"]},
    })
}

fn world() -> World {
    let world = World::new("", "").with_site(&site());
    let bin = world.release().join(".venv/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("flask"), FLASK).unwrap();
    fs::set_permissions(bin.join("flask"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(world.release().join("wsgi.py"), "").unwrap();
    world.serving(&[]).in_public()
}

#[test]
fn the_first_file_is_green_and_says_what_was_seen() {
    let world = world();
    let run = world.verify(&["init"]);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    let written = world.path("verify.toml");
    let text = fs::read_to_string(&written).unwrap();
    for line in [
        "\"/all/\" = \"200\"",
        "absent = [\"Traceback\"]",
        "200 Tom & Jerry's \"place\"",
        "\"/account/\" = \"302 /login/?next=/account/\"",
        "\"/doc/<name>/\" = { name = [\"a b\", \"b\"] }",
        "\"/other/<text_value>/\" = { text_value = [\"x\"] }",
        "command = \"flask --app wsgi routes\"",
        "excuse = [\"/admin/<id>\", \"/broken/\", \"/logout\"]",
        "skip = [\"/all/#nowhere\", \"/doc/gone/\", \"http://localhost:5000/\"]",
        "skip = [\"/nothing\"]",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(fs::metadata(&written).unwrap().permissions().mode() & 0o644, 0o644);
    let seen = &run.report["details"]["verify"]["seen"][0];
    assert_eq!((&seen["path"], &seen["status"]), (&json!("/"), &json!(200)));
    assert_eq!(run.report["details"]["verify"]["written"], json!([written]));

    fs::copy(&written, world.release().join("verify.toml")).unwrap();
    let run = world.verify(&["dev", "--slot", "blue", "--only", "routes,content,links,forms"]);
    assert_eq!(run.outcome(), ("succeeded", 0), "{text}\n{}", run.stdout);
    assert_eq!(run.ending("routes.coverage"), "passed");
    assert_eq!(run.ending("routes.GET /doc/a%20b/"), "passed");
}

#[test]
fn nothing_is_overwritten() {
    let world = world();
    fs::write(world.path("verify.toml"), "mine").unwrap();
    let run = world.verify(&["dev", "init"]);
    assert_eq!((run.outcome(), run.ending("init.write")), (("succeeded", 0), "skipped"));
    assert_eq!(fs::read_to_string(world.path("verify.toml")).unwrap(), "mine");
    assert!(world.asked().is_empty());
    let run = world.verify(&["dev", "init", "--file", "new.toml"]);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert!(world.path("new.toml").exists());
    let run = world.verify(&["dev", "init", "--file", "no/such/dir.toml"]);
    assert_eq!(run.report["problem"]["type"], "not-written");
}

#[test]
fn init_needs_something_that_serves_and_one_environment() {
    let world = World::new("", "");
    assert_eq!(world.verify(&["init"]).report["problem"]["type"], "nothing-serves");
    let file = world.path("deploy.toml");
    let more = "[environments.prod]\nbranches = [\"main\"]\nlisten = \"127.0.0.1:10\"\n";
    fs::write(&file, fs::read_to_string(&file).unwrap() + more).unwrap();
    let run = world.verify(&["init"]);
    assert_eq!((run.code, &run.report["problem"]["hint"]), (2, &json!("verify dev init")));
    assert_eq!(world.verify(&["dev", "--only", "routes", "init"]).code, 2);
}
