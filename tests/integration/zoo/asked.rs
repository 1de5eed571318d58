//! What requests alone find: routes, links, forms, files, programs, the database.

use tests::world::World;

use super::Entry;
use super::Fault::{Behaviour, Database, Text};

const CHECKS: &str = r#"
[defaults]
absent = ["Traceback"]
[routes]
"/pages/all" = { text = "Documents", css = { "ul#documents li" = 2 } }
"/pages/more" = { regex = "[0-9]+ of 9", absent = "Beta" }
"/pages/data" = { json = { "items[0].name" = "one", total = ">=2" }, header = { content-type = "json" }, time = "500ms" }
"/old" = { to = "/pages/more" }
[discover]
command = "sh rules.sh"
require_all = true
[links]
[forms]
csrf = "csrf"
[files]
"pages/gone" = { absent = true }
"pages/kept" = { text = "kept" }
"pages/sealed" = "sha256:c9d0036bed6744bcdf692fc980d8717d7e5f5a4f4e8266b4a84982602fb1cd09"
[[command]]
name = "suite"
run = "sh suite.sh"
text = "all is well"
time = "3s"
[errors]
new = 0
[database]
queries = { "no negative numbers" = "select count(*) = 0 from acked where n < 0" }
"#;

/// Path and text of each file of the sound twin.
const FILES: [(&str, &str); 12] = [
    ("verify.toml", CHECKS),
    (
        "pages/all",
        "<!doctype html><title>All</title><h1>Documents</h1><ul id=documents><li>one<li>two</ul>
<a href=/pages/more#deep>more</a><a href=/old>old</a><a href=/turn>turn</a>",
    ),
    (
        "pages/more",
        "<!doctype html><title>More</title><link rel=stylesheet href=/pages/style><h2 id=deep>7 of 9</h2>
<p style='color: navy'><a href=/pages/deeper>deeper</a>",
    ),
    (
        "pages/style",
        "@import '/pages/print'; /* url(none) */ h2 { background: url(data:,x), url(kept); fill: url(#f) }",
    ),
    (
        "pages/print",
        "@namespace url(http://localhost/none); @font-face { font-family: x; src: url(\"/pages/kept#f\") }",
    ),
    (
        "pages/deeper",
        "<!doctype html><title>Deeper</title><form method=post action=/write>
<input type=hidden name=csrf value=x><input name=title required></form>",
    ),
    ("pages/data", r#"{"items": [{"name": "one"}, {"name": "two"}], "total": 2}"#),
    ("pages/kept", "kept"),
    ("pages/sealed", "sealed"),
    ("rules.sh", "cat rules.json\n"),
    (
        "rules.json",
        r#"["/", "/healthz", {"rule": "/pages/all", "methods": ["GET"]}, {"rule": "/write", "methods": ["POST"]}]"#,
    ),
    ("suite.sh", "echo all is well\nexit 0\n"),
];

const BEHAVIOUR: &str = r#"{"redirect": {"/old": "/pages/more", "/turn": "/pages/all"}, "type": {"/pages/data": "application/json", "/pages/style": "text/css", "/pages/print": "text/css"}}"#;

pub(super) const FAULTS: [Entry; 43] = [
    (
        "a page lacks a text",
        Text("pages/all", "Documents</h1>", "Doc</h1>"),
        &["routes.GET /pages/all text-missing"],
    ),
    ("an element is missing", Text("pages/all", "<li>two", ""), &["routes.GET /pages/all css-count"]),
    (
        "a pattern does not fit",
        Text("pages/more", "7 of 9", "none of 9"),
        &["routes.GET /pages/more regex-missing"],
    ),
    (
        "a page shows what is gone",
        Text("pages/more", "</h2>", "</h2>Beta"),
        &["routes.GET /pages/more text-present"],
    ),
    ("a value is another", Text("pages/data", "one", "another"), &["routes.GET /pages/data json-wrong"]),
    ("a value is missing", Text("pages/data", "total", "sum"), &["routes.GET /pages/data json-missing"]),
    ("a document is none", Text("pages/data", "{", ""), &["routes.GET /pages/data json-missing"]),
    (
        "a header is another",
        Behaviour(r#"{"redirect": {"/old": "/pages/more", "/turn": "/pages/all"}}"#),
        &["routes.GET /pages/data header-wrong"],
    ),
    (
        "a page fails",
        Behaviour(
            r#"{"redirect": {"/old": "/pages/more", "/turn": "/pages/all"}, "type": {"/pages/data": "application/json"}, "status": {"/pages/more": 500}}"#,
        ),
        &[
            "links./pages/more link-dead",
            "routes.GET /pages/more route-status",
            "routes.coverage routes-unchecked",
        ],
    ),
    (
        "a page is not there",
        Behaviour(
            r#"{"redirect": {"/old": "/pages/more", "/turn": "/pages/all"}, "type": {"/pages/data": "application/json"}, "status": {"/pages/data": 404}}"#,
        ),
        &["routes.GET /pages/data route-status"],
    ),
    (
        "a page is too slow",
        Behaviour(
            r#"{"redirect": {"/old": "/pages/more", "/turn": "/pages/all"}, "type": {"/pages/data": "application/json"}, "delay_ms": {"/pages/data": 900}}"#,
        ),
        &["routes.GET /pages/data too-slow"],
    ),
    (
        "a redirect leads elsewhere",
        Behaviour(
            r#"{"redirect": {"/old": "/pages/all", "/turn": "/pages/all"}, "type": {"/pages/data": "application/json"}}"#,
        ),
        &["routes.GET /old redirect-wrong"],
    ),
    (
        "a redirect is none any more",
        Behaviour(
            r#"{"redirect": {"/turn": "/pages/all"}, "type": {"/pages/data": "application/json"}, "status": {"/old": 200}}"#,
        ),
        &["routes.GET /old route-status"],
    ),
    (
        "redirects go in a circle",
        Behaviour(
            r#"{"redirect": {"/old": "/pages/more", "/turn": "/turn"}, "type": {"/pages/data": "application/json"}}"#,
        ),
        &["links./turn redirect-loop"],
    ),
    (
        "a link leads nowhere",
        Text("pages/all", "</ul>", "</ul><a href=/pages/none>none</a>"),
        &["links./pages/none link-dead"],
    ),
    (
        "a link leads to a page that fails",
        Text("pages/all", "</ul>", "</ul><a href=/boom>boom</a>"),
        &["links./boom link-dead"],
    ),
    (
        "a position is gone",
        Text("pages/more", "id=deep", "id=shallow"),
        &["links./pages/more#deep fragment-dead"],
    ),
    (
        "a picture is not there",
        Text("pages/more", "</h2>", "</h2><img src=/pages/none>"),
        &["links./pages/none asset-dead"],
    ),
    (
        "a picture of another size is not there",
        Text("pages/more", "</h2>", "</h2><img src=/rows srcset='/pages/none 2x'>"),
        &["links./pages/none asset-dead"],
    ),
    (
        "a style sheet is not there",
        Text("pages/more", "</h2>", "</h2><link rel=stylesheet href=/pages/none>"),
        &["links./pages/none asset-dead"],
    ),
    (
        "a style sheet names a picture that is not there",
        Text("pages/style", "url(kept)", "url(none)"),
        &["links./pages/none asset-dead"],
    ),
    (
        "a style sheet imports what is not there",
        Text("pages/style", "/pages/print", "/pages/none"),
        &["links./pages/none asset-dead"],
    ),
    (
        "an imported sheet names a font that is not there",
        Text("pages/print", "kept", "none"),
        &["links./pages/none asset-dead"],
    ),
    (
        "an element's own style names a picture that is not there",
        Text("pages/more", "navy", "navy; background: url(none)"),
        &["links./pages/none asset-dead"],
    ),
    (
        "a link names this host only",
        Text("pages/more", "</h2>", "</h2><a href=http://localhost:5000/>x</a>"),
        &["links.http://localhost:5000/ link-local"],
    ),
    (
        "a link is no address",
        Text("pages/more", "</h2>", "</h2><a href='http://['>x</a>"),
        &["links.http://[ link-broken"],
    ),
    (
        "a crawled page shows a traceback",
        Text("pages/deeper", "Deeper", "Traceback"),
        &["content.GET /pages/deeper text-present"],
    ),
    (
        "a form leads nowhere",
        Text("pages/deeper", "action=/write", "action=/pages/none"),
        &["forms.POST /pages/none form-dead", "routes.coverage routes-unchecked"],
    ),
    (
        "a form is sent with another method",
        Text("pages/deeper", "action=/write", "action=/pages/all"),
        &["forms.POST /pages/all form-method", "routes.coverage routes-unchecked"],
    ),
    (
        "a form is unguarded",
        Text("pages/deeper", "name=csrf", "name=other"),
        &["forms.POST /write form-unguarded"],
    ),
    (
        "a form requires what nobody can send",
        Text("pages/deeper", "</form>", "<input id=nameless required></form>"),
        &["forms.POST /write form-field-nameless"],
    ),
    (
        "a route is checked by nobody",
        Text("rules.json", "\"/healthz\"", "\"/healthz\", \"/doc/<name>/\""),
        &["routes.coverage routes-unchecked"],
    ),
    (
        "a listed route fails",
        Text("rules.json", "\"/healthz\"", "\"/healthz\", \"/boom\""),
        &["routes.GET /boom route-status"],
    ),
    (
        "the list of routes cannot be had",
        Text("rules.sh", "cat", "exit 1; cat"),
        &["routes.discovery discovery-failed"],
    ),
    ("a file is there that must not be", Text("pages/gone", "", "x"), &["files.pages/gone file-present"]),
    ("a file has another text", Text("pages/kept", "kept", "lost"), &["files.pages/kept text-missing"]),
    (
        "a file has another content",
        Text("pages/sealed", "sealed", "Sealed"),
        &["files.pages/sealed file-changed"],
    ),
    (
        "the log has an error",
        Behaviour(
            r#"{"redirect": {"/old": "/pages/more", "/turn": "/pages/all"}, "type": {"/pages/data": "application/json"}, "say": {"/pages/data": "CRITICAL no row 7"}}"#,
        ),
        &["errors.new errors-new"],
    ),
    ("a suite fails", Text("suite.sh", "exit 0", "exit 3"), &["commands.suite command-exit"]),
    (
        "a suite prints something else",
        Text("suite.sh", "all is well", "nothing"),
        &["commands.suite text-missing"],
    ),
    ("a suite does not end", Text("suite.sh", "exit 0", "sleep 60"), &["commands.suite time-limit"]),
    (
        "a query says no",
        Database("INSERT INTO acked VALUES (-1)", "DELETE FROM acked WHERE n < 0"),
        &["database.query no negative numbers query-false"],
    ),
    (
        "rows refer to nothing",
        Database("PRAGMA foreign_keys = OFF; INSERT INTO reply VALUES (99)", "DELETE FROM reply"),
        &["database.foreign-keys foreign-keys-broken"],
    ),
];

/// The sound twin: everything that a fault will change, in order.
pub(super) fn sound(world: &World) {
    for (path, text) in FILES {
        world.write(path, text);
    }
    world.write("behaviour.json", BEHAVIOUR);
}
