//! The crawl: what it finds, what it leaves alone, and that it asks each address once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::{Run, World};

const LINKS: &[&str] = &["dev", "--slot", "blue", "--only", "links"];

fn crawled(verify_toml: &str, site: &Value) -> (World, Run) {
    let world = World::new(verify_toml, "").with_site(site).serving(&[]);
    let run = world.verify(LINKS);
    (world, run)
}

fn facts(run: &Run) -> &Value {
    &run.report["details"]["verify"]["links"]
}

fn many(count: usize, link: impl Fn(usize) -> String) -> String {
    (0..count).map(link).collect::<Vec<_>>().concat()
}

fn paths(world: &World) -> Vec<String> {
    world.asked().iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn each_kind_of_bad_link_is_told_with_the_page_that_has_it() {
    let site = json!({
        "/": r##"<a href="/sub/page">ok</a> <a href="/gone/?a=1&amp;b=2">x</a> <img src="/gone.png">
            <a href="/sub/page#here">ok</a> <a href="/sub/page#nowhere">x</a> <a href="/moved#here">ok</a>
            <a href="/round/a">x</a> <a href="/nowhere">x</a> <a href="/moved-away">x</a>
            <a href="/guarded">ok</a> <a href="http://localhost:5000/x">x</a> <a href="http://[x/">x</a>
            <a href="mailto:a@b">ok</a> <a href="//other.example/">ok</a> <a href="#top">ok</a>
            <a href="/broken">x</a> <a href="/fault/close">x</a>"##,
        "/sub/page": r#"<p id=here><a href="../gone/?a=1&b=2">x</a> <a href="relative">ok</a>"#,
        "/sub/relative": {"body": "plain", "headers": ["Content-Type: text/plain"]},
        "/moved": {"status": 301, "headers": ["Location: /sub/page"]},
        "/moved-away": {"status": 302, "headers": ["Location: /gone-too/"]},
        "/round/a": {"status": 302, "headers": ["Location: /round/b"]},
        "/round/b": {"status": 302, "headers": ["Location: /round/a"]},
        "/nowhere": {"status": 302},
        "/guarded": {"status": 401},
        "/broken": {"status": 500, "body": "<h1>Oh no</h1>"},
    });
    let (world, run) = crawled("[links]", &site);
    assert_eq!(run.outcome(), ("failed", 1), "{}", run.stdout);
    for (name, kind) in [
        ("/gone/?a=1&b=2", "link-dead"),
        ("/gone.png", "asset-dead"),
        ("/sub/page#nowhere", "fragment-dead"),
        ("/round/a", "redirect-loop"),
        ("/nowhere", "redirect-nowhere"),
        ("/gone-too/", "link-dead"),
        ("http://localhost:5000/x", "link-local"),
        ("http://[x/", "link-broken"),
        ("/broken", "link-dead"),
        ("/fault/close", "closed-early"),
    ] {
        assert_eq!(run.ending(&format!("links.{name}")), kind, "{name}");
    }
    assert_eq!(run.report["details"]["verify"]["counts"], json!({"passed": 0, "failed": 10, "skipped": 0}));
    let problem = &run.step("links./gone/?a=1&b=2")["problem"];
    assert_eq!(problem["title"], "link /gone/?a=1&b=2 answered 404");
    assert_eq!(
        problem["detail"],
        "excerpt: Page not found\nlinked from: /, /sub/page\nwritten: /gone/?a=1&b=2"
    );
    let hint = format!("curl -si 'http://{}/gone/?a=1&b=2'", world.address());
    assert_eq!(problem["hint"], hint);
    assert_eq!(
        run.step("links./gone-too/")["problem"]["detail"].as_str().unwrap().lines().nth(1),
        Some("linked from: /moved-away")
    );
    assert!(run.step("links./broken")["problem"]["detail"].as_str().unwrap().contains("Oh no"));
    assert_eq!((&facts(&run)["guarded"], &facts(&run)["external"]), (&json!(1), &json!(1)));
}

#[test]
fn what_style_sheets_name_is_asked_too() {
    let style = |body: &str| json!({"body": body, "headers": ["Content-Type: text/css; charset=utf-8"]});
    let site = json!({
        "/": r#"<link rel=stylesheet href="/css/a.css"><style>h1 { background: url("in-page.png") }</style>
            <p style="background: url(/in-attribute.png)"><a href="/css/a.css">the style</a>"#,
        "/css/a.css": style("@import 'b.css'; @import '/css/gone.css'; p { background: url(../there.png#x), url(data:,x) }
            q { fill: url(#y); src: url(\"//fonts.example/z.woff2\") } /* url(/comment) */"),
        "/css/b.css": style("@import url(a.css); @font-face { src: url(gone.woff2) format('woff2') }"),
        "/there.png": {"body": "", "headers": ["Content-Type: image/png"]},
        "/in-page.png": {"status": 500},
    });
    let (world, run) = crawled("[links]", &site);
    let dead = ["/css/gone.css", "/css/gone.woff2", "/in-page.png", "/in-attribute.png"];
    for name in dead {
        assert_eq!(run.ending(&format!("links.{name}")), "asset-dead", "{name}");
    }
    assert_eq!((&facts(&run)["findings"], &facts(&run)["external"]), (&json!(4), &json!(1)));
    let told = run.step("links./css/gone.woff2")["problem"]["detail"].as_str().unwrap().to_owned();
    assert!(told.ends_with("linked from: /css/b.css\nwritten: gone.woff2"), "{told}");
    let mut paths = paths(&world);
    paths.sort();
    let asked = ["/", "/css/a.css", "/css/b.css", "/css/gone.css", "/css/gone.woff2", "/in-attribute.png"];
    assert_eq!(paths, [&asked[..], &["/in-page.png", "/there.png"]].concat());
}

#[test]
fn a_style_sheet_that_is_too_large_is_not_read() {
    for chunked in [false, true] {
        let large = json!({"body": "/* much */ p { background: url(/never.png) } ", "times": 120_000,
            "headers": ["Content-Type: text/css"], "chunked": chunked});
        let (world, run) =
            crawled("[links]", &json!({"/": "<link rel=stylesheet href=/a.css>", "/a.css": large}));
        assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
        assert_eq!(paths(&world), ["/", "/a.css"]);
    }
}

#[test]
fn each_address_is_asked_once_also_when_a_route_asked_it() {
    let site = json!({
        "/": r#"<a href="/a">1</a><a href="/a#x">2</a><a href="./a">3</a><a href="/b?q=1">4</a>"#,
        "/a": r#"<p id=x><a href="/">home</a><a href="/b?q=1#y">5</a><a href="/declared">6</a>"#,
        "/b": "<p id=y>",
        "/declared": r#"<a href="/only-there">7</a>"#,
        "/only-there": "the end",
    });
    let checks = "[routes]\n\"/\" = \"200\"\n\"/declared\" = \"200\"\n[links]";
    let world = World::new(checks, "").with_site(&site).serving(&[]);
    let run = world.verify(&["dev", "--slot", "blue", "--only", "routes,links"]);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    let mut paths = paths(&world);
    paths.sort();
    assert_eq!(paths, ["/", "/a", "/b?q=1", "/declared", "/only-there"]);
    assert_eq!(run.step("links")["target"], "5 addresses, 8 links");
}

#[test]
fn what_acts_or_is_skipped_is_left_alone_and_said() {
    let site = json!({
        "/": r#"<a href="/auth/logout">out</a><a href="/doc/1/delete?now=1">x</a><a href="/admin/x">a</a><a href="/fine">f</a>"#,
        "/fine": "ok", "/auth/logout": "gone", "/doc/1/delete": "gone", "/admin/x": "admin",
    });
    let (world, run) = crawled("[links]\nskip = [\"/admin/*\"]", &site);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert_eq!(paths(&world), ["/", "/fine"]);
    let said = run.step("links.deeds")["problem"]["title"].as_str().unwrap();
    assert!(said.starts_with("2 not asked") && said.contains("/auth/logout, /doc/1/delete?now=1"), "{said}");
    assert_eq!(
        (&facts(&run)["not_asked"]["skip"], &facts(&run)["not_asked"]["deeds"]),
        (&json!(1), &json!(2))
    );
}

#[test]
fn limits_end_a_crawl_and_are_said() {
    let days: String = many(150, |day| format!("<a href='/day?d={day}'>{day}</a>"));
    let site = json!({"/": days + "<a href=/1>1</a>", "/day": "a day", "/1": "<a href=/2>2</a>", "/2": "<a href=/3>3</a>", "/3": "end"});
    let (world, run) = crawled("[links]\ndepth = 2", &site);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    let not_asked = &facts(&run)["not_asked"];
    assert_eq!(
        (&not_asked["variants"], &not_asked["depth"], &not_asked["limit"]),
        (&json!(50), &json!(1), &json!(0))
    );
    assert!(run.step("links.variants")["problem"]["title"].as_str().unwrap().starts_with("50 not asked"));
    assert!(!paths(&world).contains(&"/3".to_owned()));
    let (world, run) = crawled("[links]\npages = 7", &site);
    // The health path was asked before.
    assert_eq!((run.outcome(), world.asked().len()), (("succeeded", 0), 8));
    assert_eq!(run.ending("links.limit"), "skipped");
}

#[test]
fn texts_that_no_page_may_show_are_looked_for_on_crawled_pages() {
    let site = json!({"/": "<a href=/deep>x</a>", "/deep": "<pre>Traceback (most recent call last)</pre>"});
    let checks = "[defaults]\nabsent = [\"Traceback\"]\n[routes]\n\"/\" = \"200\"\n[links]";
    let world = World::new(checks, "").with_site(&site).serving(&[]);
    let run = world.verify(&["dev", "--slot", "blue", "--only", "routes,content,links"]);
    assert_eq!(run.outcome(), ("failed", 1));
    assert_eq!(run.ending("content.GET /deep"), "text-present");
    assert_eq!(run.ending("links"), "passed");
    assert_eq!(world.asked().len(), 2);
}

#[test]
fn a_circle_that_a_cookie_ends_is_no_finding() {
    let knows = json!({"cookie": "seen=1", "body": "welcome back",
        "else": {"status": 302, "headers": ["Location: /start", "Set-Cookie: seen=1"]}});
    let (_world, run) = crawled("[links]", &json!({"/": "<a href=/start>x</a>", "/start": knows}));
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let busy = |status: u16| json!([{"status": status, "headers": ["Retry-After: 1"]}, "now"]);
    let site = json!({"/": "<a href=/a>a</a><a href=/b>b</a>", "/a": busy(429), "/b": busy(503)});
    let (world, run) = crawled("[links]", &site);
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert_eq!(world.asked().len(), 5);
    let site = json!({"/": "<a href=/a>a</a>", "/a": {"status": 503}});
    assert_eq!(crawled("[links]", &site).1.ending("links./a"), "link-dead");
}

#[test]
fn a_crawl_may_be_logged_in() {
    let checks = r#"
[routes]
"POST /login/" = { form = { user = "$VERIFY_USER", password = "$VERIFY_PASSWORD" }, to = "/", session = "user" }
[links]
start = "/mine"
session = "user"
"#;
    let page = |body: &str| json!({"cookie": "session-7", "body": body, "else": {"status": 404}});
    let (world, run) = crawled(checks, &json!({"/mine": page("<a href=/more>x</a>"), "/more": page("ok")}));
    assert_eq!(run.outcome(), ("succeeded", 0), "{}", run.stdout);
    assert!(
        world.asked().iter().any(|line| line == "GET /more pre=1; session=session-7"),
        "{:?}",
        world.asked()
    );
}

#[test]
fn a_start_that_is_not_there_is_a_finding() {
    let (_world, run) = crawled("[links]\nstart = \"/home\"", &json!({"/": "unused"}));
    assert_eq!(run.ending("links./home"), "link-dead");
}

#[test]
fn other_hosts_are_asked_only_when_wanted_and_fail_only_when_wanted() {
    let site = json!({
        "/": "<a href='http://one.example/'>1</a><a href='http://two.example/x'>2</a><a href='http://three.example/'>3</a>",
        "HEAD http://one.example/": "fine",
        "GET http://two.example/x": {"status": 404},
        "HEAD http://two.example/x": {"status": 404},
        "HEAD http://three.example/": {"status": 405},
        "GET http://three.example/": "fine",
    });
    for (external, ending) in
        [("false", None), ("true", Some("skipped")), ("\"fail\"", Some("link-external"))]
    {
        let world = World::new(&format!("[links]\nexternal = {external}"), "").with_site(&site).serving(&[]);
        let proxy = format!("http://{}", world.address());
        let run = world.verify_in(LINKS, "http_proxy", &proxy);
        let others: BTreeSet<String> =
            world.asked().into_iter().filter(|line| line.contains("example")).collect();
        assert_eq!(others.is_empty(), ending.is_none(), "{others:?}");
        if let Some(ending) = ending {
            assert_eq!(run.ending("links.http://two.example/x"), ending, "{}", run.stdout);
            let told = run.step("links.http://two.example/x")["problem"]["title"].as_str().unwrap();
            assert!(told.contains("answered 404"), "{told}");
        }
        assert_eq!(run.code, i32::from(external == "\"fail\""));
    }
}

#[test]
fn ten_thousand_links_on_a_page_are_followed() {
    let links: String = many(10_000, |n| format!("<a href='/p/{}'>{n}</a>", n % 200));
    let site = json!({"/": links, "/p/7": {"status": 404}});
    let mut pages = site.clone();
    for n in (0..200).filter(|n| *n != 7) {
        pages[format!("/p/{n}")] = json!("fine");
    }
    let (world, run) = crawled("[links]", &pages);
    assert_eq!(run.ending("links./p/7"), "link-dead");
    assert!(run.step("links./p/7")["problem"]["detail"].as_str().unwrap().contains("links: 50"));
    assert_eq!(world.asked().len(), 201);
}

#[test]
fn many_findings_are_told_by_number() {
    let links: String = many(30, |n| format!("<a href='/gone/{n}'>{n}</a>"));
    let (_world, run) = crawled("[links]", &json!({"/": links}));
    assert_eq!(facts(&run)["findings"], 30);
    assert_eq!(run.step("links.more")["problem"]["title"], "links have 10 findings more");
    assert_eq!(run.report["steps"].as_array().unwrap().len(), 21);
}

#[test]
fn a_crawl_goes_no_faster_than_its_rate() {
    let links = many(6, |n| format!("<a href='/p/{n}'>{n}</a>"));
    let mut site = json!({"/": links});
    for n in 0..6 {
        site[format!("/p/{n}")] = json!("fine");
    }
    let begun = Instant::now();
    let (world, run) = crawled("[links]\nrate = 10", &site);
    assert_eq!((run.outcome(), world.asked().len()), (("succeeded", 0), 7));
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
}

#[test]
fn without_the_table_nothing_is_crawled() {
    let (world, run) = crawled("", &json!({"/": "<a href=/gone>x</a>"}));
    assert_eq!(run.ending("links"), "skipped");
    assert!(world.asked().is_empty());
}
