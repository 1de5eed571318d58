//! Reading `verify.toml`: what it means, and how its mistakes are named.

use super::*;

fn read(text: &str) -> Result<Checks, Problem> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("verify.toml"), text).unwrap();
    Checks::load(dir.path(), "/healthz", &Secrets::parse("VERIFY_USER=someone\n").unwrap())
}

fn refused(text: &str) -> Problem {
    let problem = read(text).unwrap_err();
    assert_eq!(problem.kind, "configuration", "{problem}");
    assert!(problem.hint.is_some(), "{problem:?}");
    problem
}

#[test]
fn the_documented_forms_are_read() {
    let checks = read(
        r#"
[defaults]
time = "1s"
absent = ["Traceback", "Internal Server Error"]
[routes]
"/" = "200 Welcome home"
"/old/" = "301 /new/"
"/doc/all/" = { text = "Documents", css = "table#docs tr", absent = ["Beta"], regex = '\d+ rows' }
"/doc/<name>/<int:page>" = { name = ["a", "b c"], page = [1, 2] }
"/files/<path:file>" = { file = ["x/y.txt"], header = { content-type = "text/plain" }, time = "50ms" }
"POST /login/" = { form = { user = "$VERIFY_USER", plain = "x" }, to = "/", session = "user" }
"/account/" = { session = "user", text = ["Log out"] }
[database]
queries = { "users exist" = "select 1" }
references = { "comment.document" = "document.id" }
never_shrink = ["user"]
[browser]
pages = ["/", "/account/"]
console = "off"
settle = "200ms"
width = 800
height = 600
required = true
session = "user"
visual = "1.5%"
ignore = "analytics"
writes = true
[regressions]
allow = ["lost the link /old/"]
"#,
    )
    .unwrap();
    let names: Vec<String> = checks.routes.iter().map(Route::name).collect();
    assert_eq!(
        names,
        [
            "GET /",
            "GET /old/",
            "GET /doc/all/",
            "GET /doc/a/1",
            "GET /doc/b%20c/2",
            "GET /files/x/y.txt",
            "POST /login/",
            "GET /account/"
        ]
    );
    assert_eq!(checks.routes[0].text, ["Welcome home"]);
    assert_eq!((checks.routes[1].status, checks.routes[1].terms().to.as_deref()), (Some(301), Some("/new/")));
    assert_eq!(checks.routes[2].terms().patterns.len(), 2);
    assert_eq!(checks.routes[5].terms().time, Some(Duration::from_millis(50)));
    let login = &checks.routes[6];
    assert!(login.is_login() && login.forbidden().is_none());
    let sent: Vec<_> =
        login.terms().form.iter().map(|field| (field.written.as_str(), field.value.as_str())).collect();
    assert_eq!(sent, [("x", "x"), ("$VERIFY_USER", "someone")]);
    assert_eq!(checks.absent.len(), 2);
    assert_eq!(checks.queries, [("users exist".to_owned(), "select 1".to_owned())]);
    assert_eq!(checks.references[0].to, ("document".to_owned(), "id".to_owned()));
    assert_eq!(checks.never_shrink, ["user"]);
    let expected = Browser {
        pages: vec!["/".into(), "/account/".into()],
        console: false,
        settle: Duration::from_millis(200),
        width: 800,
        height: 600,
        required: true,
        session: Some("user".into()),
        visual: Some(1.5),
        ignore: vec!["analytics".into()],
        writes: true,
    };
    assert_eq!(checks.browser, Some(expected));
    assert_eq!(checks.regressions.unwrap(), ["lost the link /old/"]);
}

#[test]
fn without_a_file_the_health_path_is_the_only_route() {
    let dir = tempfile::tempdir().unwrap();
    let checks = Checks::load(dir.path(), "/healthz", &Secrets::default()).unwrap();
    assert_eq!(checks.routes.iter().map(Route::name).collect::<Vec<_>>(), ["GET /healthz"]);
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, line, part) in [
        ("[routes]\n\"/\" = { txet = \"x\" }", 2, "txet"),
        ("[routes]\n\n\"/\" = { status = \"x\" }", 3, "expected u16"),
        ("[routes]\n\"/\" = { text = { a = 1 } }", 2, "a text or a list of texts"),
        ("[routes]\n\"/\" = \"ok\"", 2, "status such as 200"),
        ("[routes]\n\"/\" = 200", 2, "STATUS text"),
        ("[routes]\n\"FETCH /\" = \"200\"", 2, "FETCH"),
        ("[routes]\n\"a/\" = \"200\"", 2, "begin with '/'"),
        ("[routes]\n\"/<a>/\" = \"200\"", 2, "needs its values"),
        ("[routes]\n\"/<a>/<b>\" = { a = [\"1\"], b = [\"1\", \"2\"] }", 2, "unequal"),
        ("[routes]\n\"/<text>/\" = { text = [\"1\"] }", 2, "name of an option"),
        ("[routes]\n\"/\" = { regex = \"(\" }", 2, "regular expression"),
        ("[routes]\n\"/\" = { css = \"<<\" }", 2, "CSS selector"),
        ("[routes]\n\"/\" = { form = { a = \"1\" } }", 2, "POST"),
        ("[routes]\n\"/\" = { session = \"user\" }", 2, "no check opens"),
        (
            "[routes]\n\"POST /a\" = { session = \"u\" }\n\"POST /b\" = { session = \"u\" }",
            3,
            "more than one",
        ),
        ("[routes]\n\"/\" = \"200\"\n\"/\" = \"200\"", 3, "duplicate"),
        ("[routse]\n", 1, "routse"),
        ("[defaults]\ntimes = \"1s\"", 2, "times"),
        ("[defaults]\ntime = \"1\"", 2, "length of time"),
        ("[database]\nquery = \"x\"", 2, "query"),
        ("[database]\nqueries = { a = 1 }", 2, "string"),
        ("[database]\nreferences = { a = \"b.c\" }", 2, "table.column"),
        ("[browser]\nsettle = \"1s\"", 1, "needs its pages"),
        ("[browser]\npages = \"a\"", 1, "begin with '/'"),
        ("[browser]\npage = \"/\"", 2, "page"),
        ("[browser]\npages = \"/\"\nvisual = \"1\"", 3, "percentage"),
        ("[browser]\npages = \"/\"\nvisual = \"101%\"", 3, "percentage"),
        ("[browser]\npages = \"/\"\nconsole = \"warn\"", 3, "\"error\" or \"off\""),
        ("[browser]\npages = \"/\"\nwidth = 0", 1, "a window of 0 pixels"),
        ("[browser]\npages = \"/\"\nignore = \"\"", 3, "fit everything"),
        ("[browser]\npages = \"/\"\nsession = \"user\"", 1, "no check opens"),
        ("[regressions]\nallow = [\" \"]", 2, "fit everything"),
        ("[regressions]\nallowed = []", 2, "allowed"),
        ("[links]\nskp = []", 2, "skp"),
        ("[links]\n\npages = \"x\"", 3, "usize"),
        ("[links]\nexternal = \"warn\"", 2, "'warn' is neither"),
        ("[discover]\ncomand = 1", 2, "comand"),
        ("[forms]\n\ncsfr = \"x\"", 3, "csfr"),
        ("[forms]\n\"/p#f\" = \"x\"", 2, "expected {"),
        ("[forms]\n\"/p#f\" = { to = \"/x\" }", 2, "needs fields"),
        ("[forms]\n\"/p#f\" = { form = { a = \"1\" } }", 2, "unknown key 'form'"),
        ("[forms]\n\"/p\" = { fields = { a = \"1\" }, session = \"u\" }", 2, "no check opens"),
        ("[routes]\n\"/\" = { json = { \"a[\" = 1 } }", 2, "place in a JSON document"),
        ("[routes]\n\"/\" = { css = { \"<<\" = 1 } }", 2, "CSS selector"),
        ("[routes]\n\"/\" = { css = 1.5 }", 2, "a selector, a list"),
        ("[routes]\n\"/\" = { capture = { a = \"b\" } }", 2, "does not begin with css:"),
        ("[routes]\n\"/<a>\" = { a = [1, 2], capture = { b = \"css:p\" } }", 2, "several rows"),
        ("[routes]\n\"POST /\" = { retry = \"1s\" }", 2, "never sent again"),
        ("[links]\nsession = \"user\"", 1, "no check opens"),
        ("[[command]]\nrun = \"x\"", 1, "missing field `name`"),
        ("[[command]]\nname = \"x\"\nrum = \"x\"", 3, "rum"),
        ("[command]\nname = \"x\"", 1, "expected a list"),
        (
            "[[command]]\nname = \"x\"\nrun = \"x\"\n[[command]]\nname = \"x\"\nrun = \"y\"",
            4,
            "more than one command",
        ),
        ("[files]\n\"../x\" = { text = \"x\" }", 2, "inside the release"),
        ("[files]\n\"x\" = \"md5:x\"", 2, "sha256:"),
        ("[files]\n\"x\" = \"sha256:x\"", 2, "64 hexadecimal"),
        ("[files]\n\"x\" = { txt = \"x\" }", 2, "txt"),
        ("[files]\n\"x\" = { text = \"x\", absent = true }", 2, "has no content"),
        ("routes = 1", 1, "expected a table"),
        ("=", 1, "key"),
    ] {
        let problem = refused(text);
        assert!(problem.title.contains(&format!("verify.toml:{line}: ")), "{text}: {problem}");
        assert!(problem.title.contains(part), "{text}: {problem}");
    }
    assert!(refused("[routes]\n\"/\" = { txet = \"x\" }").hint.unwrap().contains("'text'"));
    assert!(refused("[routse]").hint.unwrap().contains("'routes'"));
}

#[test]
fn every_key_is_documented() {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/verify.md");
    let text = std::fs::read_to_string(document).unwrap();
    let tables = [
        &links::KEYS[..],
        &discover::KEYS,
        &forms::OPTIONS,
        &command::KEYS,
        &file::KEYS,
        &browser::BROWSER,
        &browser::REGRESSIONS,
        &load::DATABASE,
    ];
    for key in entry::OPTIONS.iter().chain(tables.into_iter().flatten()) {
        assert!(text.contains(&format!("`{key}`")), "docs/verify.md lacks {key}");
    }
}

#[test]
fn a_missing_secret_is_named_and_nothing_else_is_shown() {
    let problem = refused("[routes]\n\"POST /l\" = { form = { p = \"$NOPE\" }, session = \"u\" }");
    assert!(problem.title.contains("$NOPE"), "{problem}");
}
