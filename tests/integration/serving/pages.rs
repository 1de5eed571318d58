//! The dashboard in a real browser: it opens, follows a deployment as it happens, is read without a
//! script, and axe finds nothing serious.

use std::io::{Read, Write};

use serde_json::Value;
use tests::browser::Browser;
use tests::parts;
use tests::stream::Stream;

use super::Served;

/// Widths and colours that people look at it with.
const LOOKS: [(u32, u32, &str); 3] = [(1280, 900, "light"), (1280, 900, "dark"), (390, 844, "light")];

fn page(served: &Served, path: &str) -> String {
    format!("http://{}{path}", served.own)
}

/// Keeps a picture where `PICTURES` names a directory.
fn keep_picture(browser: &mut Browser, name: &str) {
    if let Some(dir) = std::env::var_os("PICTURES") {
        browser.picture(&std::path::Path::new(&dir).join(format!("{name}.png")));
    }
}

/// A world with something to see: two environments, a failure, a migration, a backup.
fn eventful() -> Served {
    let served = Served::serving("");
    served.world.run("deploy", &["prod", "--promote"]).ok();
    served.world.faulty("{\"exit_at_start\": 1}");
    served.world.run("deploy", &["dev"]).refused("instance-exited");
    served
        .world
        .write("migrations/002_notes.up.sql", "CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT);\n");
    served.world.write("migrations/002_notes.down.sql", "DROP TABLE notes;\n");
    served.world.mend("v2");
    served.world.run("deploy", &["dev"]).ok();
    served
}

#[test]
fn a_deployment_is_followed_step_by_step_and_the_page_ends_up_to_date() {
    let served = Served::serving("");
    let Some(mut browser) = Browser::start() else { return };
    browser.open(&page(&served, "/_deploy/"));
    assert_eq!(browser.ask("document.querySelectorAll('article.card').length"), 2);
    browser.await_true("document.getElementById('link').dataset.state === 'live'");
    let revision = served.world.release("v2");
    let deploy = served.deploying();
    browser.await_true("document.querySelectorAll('#runs li').length > 2");
    assert_eq!(browser.ask("document.getElementById('live').hidden"), false);
    keep_picture(&mut browser, "live");
    assert!(deploy.wait_with_output().unwrap().status.success());
    let short = &revision[..7];
    browser.await_true(&format!("document.querySelector('#main .what code').textContent === '{short}'"));
    browser.await_true("document.querySelector('#runs .state').textContent === 'verified'");
    browser.ask("document.querySelector('#main tbody a').click()");
    browser.await_true("document.querySelectorAll('.steps li').length > 5");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn every_page_looks_well_to_axe_in_every_look() {
    let served = eventful();
    let (Some(mut browser), Some(axe)) = (Browser::start(), parts::find("axe.min.js")) else { return };
    let axe = std::fs::read_to_string(axe).unwrap();
    let failed = served.world.status("dev")["last"][1]["id"].as_str().unwrap().to_owned();
    let pages = [
        ("overview", "/_deploy/".to_owned()),
        ("environment", "/_deploy/view/dev".to_owned()),
        ("deployment", format!("/_deploy/view/dev/{failed}")),
    ];
    for (width, height, scheme) in LOOKS {
        browser.look(width, height, scheme);
        for (name, path) in &pages {
            browser.open(&page(&served, path));
            keep_picture(&mut browser, &format!("{name}-{scheme}-{width}"));
            browser.ask(&format!("{axe}; true"));
            let found = browser.ask("axe.run().then(found => found.violations.map(v => ({id: v.id, impact: v.impact, nodes: v.nodes.map(n => n.html)})))");
            let grave = |found: &&Value| matches!(found["impact"].as_str(), Some("serious" | "critical"));
            let grave: Vec<&Value> = found.as_array().unwrap().iter().filter(grave).collect();
            assert!(grave.is_empty(), "{name} {scheme} {width}: {grave:#?}");
            let wider = browser.ask("document.documentElement.scrollWidth > window.innerWidth");
            assert_eq!(wider, false, "{name} {width} must be scrolled sideways");
        }
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_verification_is_shown_with_its_screenshots_and_what_differs_in_them() {
    let served = Served::new("");
    served.world.write("verify.toml", "[routes]\n\"/\" = \"200\"\n[browser]\npages = [\"/\"]\n");
    served.world.release("v1");
    let Some(_) = Browser::start() else { return };
    let id = served.world.run("deploy", &["dev"]).ok().report().deployment.unwrap();
    let (_, _, text) = served.own_text("/_deploy/view/dev");
    let address = text.split("<img loading=\"lazy\" src=\"").nth(1).and_then(|rest| rest.split('"').next());
    let address = address.unwrap_or_else(|| panic!("no screenshot: {text}"));
    assert!(address.contains(&id) && text.contains("Screenshot of GET /"), "{address}");
    let host = format!("Host: {}", served.own);
    let mut stream = std::net::TcpStream::connect(served.own).unwrap();
    write!(stream, "GET {address} HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = String::from_utf8_lossy(&answer[..12]).into_owned();
    assert!(head.ends_with("200") && answer.windows(4).any(|bytes| bytes == b"\x89PNG"), "{head}");
    let (status, _, _) = served.visit(address, &[]);
    assert_eq!(status, 403, "pictures are not for visitors");
}

#[test]
fn everything_can_be_read_without_a_script() {
    let served = eventful();
    let Some(mut browser) = Browser::start() else { return };
    browser.let_scripts_run(false);
    let (status, head, text) = served.own_text("/_deploy/view/dev");
    assert_eq!(status, 200);
    for told in ["healthy", "notes", "Verification", "How long deployments took", "failed"] {
        assert!(text.contains(told), "{told}");
    }
    assert!(
        !text.contains("<style") && !text.contains(" style=") && !text.contains(" onclick"),
        "nothing inline"
    );
    assert!(head.to_lowercase().contains("script-src 'self'"));
    let (_, _, prod) = served.own_text("/_deploy/view/prod");
    assert!(prod.contains("In dev, not yet in prod") && prod.contains("deploy prod --promote"), "{prod}");
    let (_, _, filtered) = served.own_text("/_deploy/view/dev?state=failed");
    assert!(filtered.contains("<option value=\"failed\" selected>"));
    browser.open(&page(&served, "/_deploy/"));
    assert_eq!(served.own_text("/_deploy/view/nowhere").0, 404);
    assert_eq!(served.own_text("/_deploy/view/dev/none").0, 404);
    for path in ["..%2Fstructure.json", "passed-..%2Fx.png", "structure.json"] {
        assert_eq!(served.own_text(&format!("/_deploy/view/dev/x/{path}")).0, 404, "{path}");
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_page_whose_stream_was_refused_comes_back_by_itself() {
    let served = Served::serving("");
    let Some(mut browser) = Browser::start() else { return };
    let listen = || Stream::open(served.own, "/_deploy/events", &[]);
    let streams: Vec<Stream> = std::iter::repeat_with(listen).take(256).collect();
    browser.open(&page(&served, "/_deploy/"));
    browser.await_true("document.getElementById('link').dataset.state === 'lost'");
    drop(streams);
    browser.await_true("document.getElementById('link').dataset.state === 'live'");
    let revision = served.world.release("v2");
    served.world.run("deploy", &["dev"]).ok();
    let short = &revision[..7];
    browser.await_true(&format!("document.querySelector('#main .what code').textContent === '{short}'"));
}
