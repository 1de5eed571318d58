//! Events as Chromium sends them, and what is told of them.

use super::*;

fn rules() -> Browser {
    Browser { pages: vec!["/".into()], ..Browser::default() }
}

fn navigated(id: &str, url: &str) -> (&'static str, Value) {
    ("Page.frameNavigated", json!({ "frame": { "id": "f", "loaderId": id, "url": url } }))
}

fn threw(id: i64, text: &str, description: &str) -> (&'static str, Value) {
    let exception = json!({ "description": description });
    let details = json!({ "exceptionId": id, "text": text, "exception": exception, "url": "http://h:1/app.js?v=1", "lineNumber": 6 });
    ("Runtime.exceptionThrown", json!({ "exceptionDetails": details }))
}

fn told(rules: &Browser, events: Vec<(&str, Value)>) -> Vec<(String, String)> {
    let mut watch = Watch::new(rules);
    for (event, facts) in events {
        watch.see(event, &facts);
    }
    watch
        .findings()
        .into_iter()
        .map(|finding| (format!("{}: {}", finding.kind, finding.phrase), finding.detail))
        .collect()
}

#[test]
fn exceptions_and_rejections_are_told_apart_with_their_place() {
    let events = vec![
        navigated("1", "http://h:1/"),
        threw(1, "Uncaught", "TypeError: x is not a function\n    at <anonymous>:1:1"),
        threw(2, "Uncaught (in promise)", "Error: no"),
        threw(3, "Uncaught (in promise)", "Error: handled later"),
        ("Runtime.exceptionRevoked", json!({ "exceptionId": 3 })),
    ];
    let at = "at: /app.js?v=1:7".to_owned();
    assert_eq!(
        told(&rules(), events),
        [
            ("script-error: throws TypeError: x is not a function".to_owned(), at.clone()),
            ("promise-rejected: rejects a promise that nobody handles: Error: no".to_owned(), at)
        ]
    );
}

#[test]
fn the_console_counts_where_it_is_asked_for() {
    let called = |kind: &str| {
        let args = json!([{ "type": "string", "value": "cannot save" }, { "description": "Error: x" }]);
        let facts = json!({ "type": kind, "args": args, "stackTrace": { "callFrames": [] } });
        ("Runtime.consoleAPICalled", facts)
    };
    let entry = |text: &str| {
        ("Log.entryAdded", json!({ "entry": { "level": "error", "text": text, "url": "http://h:1/x" } }))
    };
    let events = || {
        let noise = entry("Failed to load resource: the server responded with a status of 404 ()");
        vec![called("log"), called("error"), noise, entry("Refused to apply style")]
    };
    let phrases: Vec<_> = told(&rules(), events()).into_iter().map(|(phrase, _)| phrase).collect();
    assert_eq!(
        phrases,
        [
            "console-error: writes an error: cannot save Error: x",
            "console-error: makes the browser complain: Refused to apply style"
        ]
    );
    assert!(told(&Browser { console: false, ..rules() }, events()).is_empty());
    let ignore = vec!["cannot save".into(), "style".into()];
    assert!(told(&Browser { ignore, ..rules() }, events()).is_empty());
}

#[test]
fn what_does_not_load_is_named_but_for_the_icon_that_browsers_ask_for() {
    let asked = |id: &str, url: &str| {
        ("Network.requestWillBeSent", json!({ "requestId": id, "request": { "url": url } }))
    };
    let answered = |id: &str, url: &str, status: u16| {
        let facts = json!({ "requestId": id, "loaderId": "1", "type": "Script", "response": { "url": url, "status": status } });
        ("Network.responseReceived", facts)
    };
    let failed = |id: &str, error: &str, canceled: bool| {
        let facts = json!({ "requestId": id, "type": "Image", "errorText": error, "canceled": canceled });
        ("Network.loadingFailed", facts)
    };
    let phrases: Vec<_> = told(
        &rules(),
        vec![
            answered("2", "http://h:1/app.js", 404),
            answered("3", "http://h:1/favicon.ico", 404),
            answered("4", "http://h:1/ok.js", 200),
            asked("5", "http://elsewhere/x.png"),
            failed("5", "net::ERR_NAME_NOT_RESOLVED", false),
            asked("6", "http://h:1/y.png"),
            failed("6", "net::ERR_ABORTED", true),
        ],
    )
    .into_iter()
    .map(|(phrase, _)| phrase)
    .collect();
    assert_eq!(
        phrases,
        [
            "asset-failed: needs /app.js, which answers 404",
            "asset-failed: needs /x.png, which cannot be loaded"
        ]
    );
}

#[test]
fn an_error_is_kept_when_its_page_leads_elsewhere() {
    let elsewhere = vec![
        navigated("2", "http://h:1/b"),
        threw(1, "Uncaught", "Error: before it went on"),
        navigated("3", "http://h:1/c"),
    ];
    assert_eq!(told(&rules(), elsewhere).len(), 1);
}

#[test]
fn scripts_may_not_write_unless_the_release_says_so() {
    let paused = |method: &str| json!({ "requestId": "7", "request": { "method": method, "url": "http://h:1/beacon?x" } });
    let rules = rules();
    let mut watch = Watch::new(&rules);
    assert_eq!(watch.see("Fetch.requestPaused", &paused("GET")).unwrap().0, "Fetch.continueRequest");
    assert_eq!(watch.see("Fetch.requestPaused", &paused("POST")).unwrap().0, "Fetch.failRequest");
    assert!(watch.findings().is_empty());
    let mut watch = Watch::new(&rules);
    watch.see("Fetch.requestPaused", &paused("POST"));
    let (event, facts) = threw(1, "Uncaught (in promise)", "TypeError: Failed to fetch");
    watch.see(event, &facts);
    assert!(watch.findings()[0].detail.contains("not sent: POST /beacon?x: its scripts may not write"));
    let free = Browser { writes: true, ..rules.clone() };
    assert_eq!(
        Watch::new(&free).see("Fetch.requestPaused", &paused("POST")).unwrap().0,
        "Fetch.continueRequest"
    );
}

#[test]
fn a_page_that_errs_without_end_is_cut() {
    let events = (0..100).map(|id| threw(id, "Uncaught", "Error: again")).collect();
    let told = told(&rules(), events);
    assert_eq!(told.len(), MOST);
    assert!(told.last().unwrap().1.ends_with("more: 80 further errors"), "{:?}", told.last());
}

#[test]
fn a_page_may_linger_while_something_of_it_is_under_way() {
    let url = Url::parse("http://h:1/a").unwrap();
    let shown = |origin: &str| {
        let frame = json!({ "loaderId": "1", "url": format!("{origin}/a"), "securityOrigin": origin });
        ("Page.frameNavigated", json!({ "frame": frame }))
    };
    let asked = || {
        let request = json!({ "url": "http://h:1/x" });
        ("Network.requestWillBeSent", json!({ "requestId": "7", "request": request }))
    };
    let ended = |event| (event, json!({ "requestId": "7", "canceled": true }));
    let lingers = |events: Vec<(&str, Value)>| {
        let rules = rules();
        let mut watch = Watch::new(&rules);
        for (event, facts) in events {
            watch.see(event, &facts);
        }
        watch.may_linger(&url)
    };
    let own = || shown("http://h:1");
    assert!(!lingers(vec![own(), asked(), ended("Network.loadingFinished")]));
    assert!(!lingers(vec![own(), asked(), ended("Network.loadingFailed")]));
    assert!(lingers(vec![own(), asked()]), "a request");
    assert!(lingers(vec![own(), shown("http://other:1")]), "a frame of another origin");
    for company in ["Target.attachedToTarget", "Target.targetCreated", "Network.webSocketCreated"] {
        assert!(lingers(vec![own(), (company, json!({}))]), "{company}");
    }
    let made = |kind: &str| ("Target.targetCreated", json!({ "targetInfo": { "type": kind } }));
    assert!(lingers(vec![own(), made("service_worker")]) && !lingers(vec![own(), made("browser_ui")]));
}
