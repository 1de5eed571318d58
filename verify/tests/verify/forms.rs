//! Forms: inspected without being sent, and sent where the file says so.

use serde_json::{Value, json};

use crate::world::{Run, World};

const FORMS: &[&str] = &["dev", "--slot", "blue", "--only", "forms"];

fn inspected(verify_toml: &str, site: &Value) -> (World, Run) {
    let world = World::new(verify_toml, "").with_site(site).serving(&[]);
    let run = world.verify(FORMS);
    (world, run)
}

#[test]
fn what_is_wrong_with_a_form_is_told_and_nothing_is_sent() {
    let guard = "<input type=hidden name=csrf value=x>";
    let site = json!({
        "/": format!("<a href=/other>x</a><form method=post action=/good>{guard}</form><form method=post action=/gone>{guard}</form>
            <form method=post action=/only-get id=f>{guard}</form><form action=/search><input name=q></form>
            <form action=/no-search><input name=q></form><form method=post action=/good><input name=bare></form>
            <form method=put action=/good></form><form method=post action=/good name=n>{guard}<input required id=age></form>
            <form method=post action=http://localhost:1/x>{guard}</form><form method=post action=//pay.example/></form>"),
        "/other": format!("<form method=post action=/good>{guard}</form>"),
        "OPTIONS /": {"headers": ["Allow: GET, HEAD"]},
        "OPTIONS /good": {"headers": ["Allow: POST, OPTIONS"]},
        "OPTIONS /only-get": {"headers": ["Allow: GET, HEAD"]},
        "OPTIONS /gone": {"status": 404},
        "/search": {"status": 400},
    });
    let (world, run) = inspected("[links]\n[forms]\ncsrf = \"csrf\"", &site);
    assert_eq!(run.outcome(), ("failed", 1), "{}", run.stdout);
    for (name, kind) in [
        ("POST /gone", "form-dead"),
        ("POST /only-get #f", "form-method"),
        ("GET /no-search", "form-dead"),
        ("POST /good", "form-unguarded"),
        ("PUT /good", "form-method"),
        ("POST /good n", "form-field-nameless"),
        ("POST http://localhost:1/x", "link-local"),
    ] {
        assert_eq!(run.ending(&format!("forms.{name}")), kind, "{name}: {}", run.stdout);
    }
    assert_eq!(run.report["details"]["verify"]["forms"], json!({"forms": 10, "findings": 7, "untold": 0}));
    let problem = &run.step("forms.POST /only-get #f")["problem"];
    assert_eq!(
        problem["title"],
        "form POST /only-get #f is sent with POST to /only-get, which does not take that"
    );
    assert_eq!(problem["detail"], "expected: POST\nactual: GET, HEAD\non: /\npages: 1");
    assert!(world.asked().iter().all(|line| !line.starts_with("POST")), "{:?}", world.asked());
    assert_eq!(world.asked().iter().filter(|line| line.starts_with("OPTIONS /good")).count(), 1);
}

#[test]
fn a_server_without_options_is_not_said_to_lack_what_it_may_well_take() {
    let site = json!({"/": "<form method=post action=/good></form>", "OPTIONS /good": {"status": 404}});
    let (_, run) = inspected("[links]", &site);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert_eq!(run.report["details"]["verify"]["forms"], json!({"forms": 1, "findings": 0, "untold": 1}));
}

#[test]
fn the_listed_rules_say_what_a_form_may_be_sent_to() {
    let site = json!({"/": "<form method=post action=/a/7></form><form method=post action=/b></form>"});
    let checks = r#"
[discover]
command = "echo 'POST /a/<id>'; echo 'GET /b'"
[links]
"#;
    let (world, run) = inspected(checks, &site);
    assert_eq!(run.ending("forms.POST /b"), "form-method", "{}", run.stdout);
    assert_eq!(run.report["details"]["verify"]["forms"]["findings"], 1);
    assert!(world.asked().iter().all(|line| line.starts_with("GET")), "{:?}", world.asked());
}

#[test]
fn a_form_of_the_file_is_sent_as_a_browser_does() {
    let page = "<form id=other></form><form name=note method=post action=/notes?a=1>
        <input type=hidden name=token value=7><textarea name=body>draft</textarea><input type=checkbox name=now checked></form>
        <form id=find action=/find><input name=q><input type=hidden name=lang value=en></form>";
    let site = json!({
        "/new": {"body": page, "headers": ["Set-Cookie: c=1"]},
        "POST /notes": {"status": 302, "headers": ["Location: /notes/1"]},
        "/find?lang=en&q=x": "found it",
    });
    let checks = r#"
[forms]
"/new#note" = { fields = { body = "a & b" }, to = "/notes/1", writes = true }
"/new#find" = { fields = { q = "x" }, text = "found it" }
"#;
    let (world, run) = inspected(checks, &site);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert!(
        world.asked().contains(&"POST /notes?a=1 c=1 token=7&now=on&body=a+%26+b".to_owned()),
        "{:?}",
        world.asked()
    );
    assert_eq!(run.ending("forms./new#find"), "passed");
}

#[test]
fn a_form_that_cannot_be_sent_says_why() {
    let page = "<form id=a method=post action=/x><input name=b></form><form id=out method=post action=//evil.example/><input name=p></form>";
    let checks = r#"
[forms]
"/p#a" = { fields = { b = "1" } }
"/p#gone" = { fields = { b = "1" }, writes = true }
"/p#out" = { fields = { p = "$VERIFY_PASSWORD" }, writes = true }
"/nowhere" = { fields = { b = "1" } }
"#;
    let (world, run) = inspected(checks, &json!({"/p": page}));
    assert_eq!(run.ending("forms./p#a"), "skipped");
    assert_eq!(run.ending("forms./p#gone"), "form-missing");
    assert_eq!(run.step("forms./p#gone")["problem"]["detail"], "forms: a, out");
    assert_eq!(run.ending("forms./p#out"), "form-dead");
    assert_eq!(run.ending("forms./nowhere"), "form-missing");
    assert!(world.asked().iter().all(|line| line.starts_with("GET")), "{:?}", world.asked());
    assert!(!run.stdout.contains("sentinel-password"));
}

#[test]
fn a_form_behind_a_login_is_sent_with_its_session() {
    let form = "<form method=post action=/save><input name=name></form>";
    let site = json!({
        "/profile": {"cookie": "session-7", "body": form, "else": {"status": 302, "headers": ["Location: /login/"]}},
        "POST /save": {"cookie": "session-7", "body": "saved", "else": {"status": 403}},
    });
    let checks = r#"
[routes]
"POST /login/" = { form = { user = "$VERIFY_USER", password = "$VERIFY_PASSWORD" }, to = "/", session = "user" }
[forms]
"/profile" = { fields = { name = "x" }, text = "saved", session = "user", writes = true }
"#;
    let (_world, run) = inspected(checks, &site);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
}
