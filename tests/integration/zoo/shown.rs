//! What a browser finds, what a release lost that the one before had, and the database.

use tests::world::World;

use super::Entry;
use super::Fault::{Behaviour, Database, Text};

const CHECKS: &str = r#"
[defaults]
absent = ["Traceback"]
[routes]
"/pages/all" = { css = "ul#documents li" }
"/pages/new" = "200"
"/moved" = { status = 302 }
[database]
queries = { "no orphans" = "select count(*) = 0 from acked where n < 0" }
references = { "comment.document" = "acked.n" }
never_shrink = ["acked"]
[browser]
pages = ["/pages/all", "/pages/new"]
visual = "1%"
[links]
[regressions]
"#;

const ALL: &str = r"<!doctype html><title>Documents</title><h1>Documents</h1>
<ul id=documents><li>one<li>two</ul><a href=/pages/new>new</a><a href=/pages/linked>linked</a>
<script>Promise.resolve(1).then(() => document.body.dataset.ok = 1)</script>";

const NEW: &str = r"<!doctype html><title>New</title>
<form method=post action=/write><input name=title><textarea name=body></textarea></form>";

/// No route: only the crawl comes here.
const LINKED: &str =
    r"<!doctype html><title>Linked</title><a href=/pages/all>all</a><a href=/pages/new>new</a>";

const MOVED: &str = r#"{"redirect": {"/moved": "/pages/all"}}"#;

pub(super) const FAULTS: [Entry; 22] = [
    (
        "a script throws",
        Text("pages/all", "Promise.resolve(1)", "undefinedFunction(); Promise.resolve(1)"),
        &["browser.GET /pages/all script-error"],
    ),
    (
        "a script throws later",
        Text("pages/all", "<script>", "<script>setTimeout(() => { null.x }, 10);"),
        &["browser.GET /pages/all script-error"],
    ),
    (
        "a promise is rejected",
        Text("pages/all", "Promise.resolve(1)", "Promise.reject(Error('x'))"),
        &["browser.GET /pages/all promise-rejected"],
    ),
    (
        "the console has an error",
        Text("pages/all", "<script>", "<script>console.error('x');"),
        &["browser.GET /pages/all console-error"],
    ),
    (
        "a script is not there",
        Text("pages/new", "<title>", "<script src=/pages/none.js></script><title>"),
        &["browser.GET /pages/new asset-failed", "links./pages/none.js asset-dead"],
    ),
    (
        "a style sheet is not there",
        Text("pages/new", "<title>", "<link rel=stylesheet href=/pages/none.css><title>"),
        &["browser.GET /pages/new asset-failed", "links./pages/none.css asset-dead"],
    ),
    (
        "a script leads elsewhere",
        Text("pages/new", "<title>", "<script>location.href = '/pages/all'</script><title>"),
        &["browser.GET /pages/new redirect-unexpected"],
    ),
    (
        "the style hides everything",
        Text("pages/all", "<title>", "<style>body { background: navy }</style><title>"),
        &["browser.GET /pages/all looks-different"],
    ),
    (
        "the title is another",
        Text("pages/new", "<title>New", "<title>Untitled"),
        &["regressions.title-changed title-changed"],
    ),
    ("a link is gone", Text("pages/all", "href=/pages/new", "href=#"), &["regressions.link-lost link-lost"]),
    (
        "the title of a crawled page is another",
        Text("pages/linked", "<title>Linked", "<title>Untitled"),
        &["regressions.title-changed title-changed"],
    ),
    (
        "a link of a crawled page is gone",
        Text("pages/linked", "href=/pages/all", "href=#"),
        &["regressions.link-lost link-lost"],
    ),
    (
        "a form is gone",
        Text("pages/new", "action=/write", "action=/wriet"),
        &["forms.POST /wriet form-dead", "regressions.form-lost form-lost"],
    ),
    ("a field is gone", Text("pages/new", "name=title", "id=title"), &["regressions.field-lost field-lost"]),
    (
        "a page is another type",
        Behaviour(r#"{"redirect": {"/moved": "/pages/all"}, "type": {"/pages/new": "text/x-plain"}}"#),
        &["regressions.type-changed type-changed"],
    ),
    (
        "a page swells",
        Text("pages/new", "</form>", "</form><!--SWOLLEN-->"),
        &["regressions.size-changed size-changed"],
    ),
    (
        "a page is slow",
        Behaviour(r#"{"redirect": {"/moved": "/pages/all"}, "delay_ms": {"/pages/new": 400}}"#),
        &["regressions.slower slower"],
    ),
    (
        "a redirect leads elsewhere",
        Behaviour(r#"{"redirect": {"/moved": "/pages/new"}}"#),
        &["regressions.redirect-changed redirect-changed"],
    ),
    (
        "a page shows a traceback",
        Text("pages/new", "<title>", "<!-- Traceback --><title>"),
        &["content.GET /pages/new text-present"],
    ),
    (
        "rows vanish",
        Database("DELETE FROM acked WHERE n = 3", "INSERT INTO acked VALUES (3)"),
        &["database.rows acked rows-shrunk"],
    ),
    (
        "rows lack those they belong to",
        Database("INSERT INTO comment VALUES (99)", "DELETE FROM comment WHERE document = 99"),
        &["database.reference comment.document rows-orphaned"],
    ),
    (
        "the schema is another",
        Text("schema.sql", "comment (document)", "comment (document, writer)"),
        &["database.schema schema-drift"],
    ),
];

/// The sound twin: everything that a fault will change, in order.
pub(super) fn sound(world: &World) {
    world.write("verify.toml", CHECKS);
    world.write("pages/all", ALL);
    world.write("pages/new", NEW);
    world.write("pages/linked", LINKED);
    world.write("behaviour.json", MOVED);
    world.write(
        "schema.sql",
        "CREATE TABLE acked (n INTEGER PRIMARY KEY);\nCREATE TABLE comment (document);\nCREATE TABLE reply (document REFERENCES acked);\n",
    );
}
