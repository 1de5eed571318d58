//! Reads `verify.toml`. Every mistake is named with its line and, for a key, the nearest known one;
//! tables of later versions are refused, never ignored.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use common::config::Span;
use common::report::{Problem, quoted};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{self, Texts};
use super::source::Source;
use super::{Checks, Reference, browser, command, discover, errors, file, forms, links};

const KNOWN: [&str; 11] = [
    "defaults",
    "routes",
    "database",
    "discover",
    "links",
    "forms",
    "files",
    "command",
    "browser",
    "regressions",
    "errors",
];
pub(super) const DATABASE: [&str; 3] = ["queries", "never_shrink", "references"];

/// The checks in `file`; none when there is no such file.
pub(super) fn load(file: &Path) -> Result<Checks, Problem> {
    match fs::read_to_string(file) {
        Ok(text) => parse(&Source { file, text: &text }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Checks::default()),
        Err(error) => Err(Problem::configuration(format!("cannot read {}", file.display()))
            .detail(error.to_string())
            .hint(format!("ls -l {}", quoted(file.display())))),
    }
}

fn parse(source: &Source<'_>) -> Result<Checks, Problem> {
    let document = DeTable::parse(source.text)
        .map_err(|error| source.wrong(&error.span().unwrap_or(0..0), error.message()))?;
    let mut checks = Checks::default();
    for (key, value) in document.into_inner() {
        let span = key.span();
        match key.get_ref().as_ref() {
            "defaults" => read_defaults(source, value, &mut checks)?,
            "routes" => {
                let routes = table(source, value)?;
                let captured = captured(&routes);
                checks.routes.reserve_exact(routes.len());
                for (path, options) in routes {
                    checks.routes.extend(entry::expand(source, &captured, &path, options)?);
                }
                checks.routes.iter_mut().for_each(|route| route.note_needs(captured.iter()));
            }
            "database" => read_database(source, value, &mut checks)?,
            "browser" => checks.browser = Some(browser::read_browser(source, value)?),
            "regressions" => checks.regressions = Some(browser::read_regressions(source, value)?),
            "errors" => checks.errors = Some(errors::read(source, value)?),
            "discover" => checks.discover = Some(read_table(source, value, &discover::KEYS)?),
            "forms" => checks.forms = forms::read(source, table(source, value)?)?,
            "files" => checks.files = file::read(source, table(source, value)?)?,
            "command" => match value.into_inner() {
                DeValue::Array(list) => checks.commands = command::read(source, list)?,
                _ => return Err(source.wrong(&span, "expected a list: write [[command]]")),
            },
            "links" => checks.links = Some(read_table(source, value, &links::KEYS)?),
            unknown => return Err(source.unknown_key(&span, unknown, &KNOWN)),
        }
    }
    check_sessions(source, &checks)?;
    Ok(checks)
}

/// Names of all values that routes capture: others may use them wherever they stand.
fn captured(routes: &DeTable<'_>) -> BTreeSet<String> {
    let tables = routes.values().filter_map(|options| options.get_ref().get("capture")?.get_ref().as_table());
    tables.flat_map(|table| table.keys().map(|name| name.get_ref().to_string())).collect()
}

fn read_defaults(
    source: &Source<'_>,
    value: Spanned<DeValue<'_>>,
    checks: &mut Checks,
) -> Result<(), Problem> {
    for (key, value) in table(source, value)? {
        match key.get_ref().as_ref() {
            "time" => checks.time = Some(source.read::<Span>(value)?.0),
            "absent" => checks.absent = source.read::<Texts>(value)?.0,
            unknown => return Err(source.unknown_key(&key.span(), unknown, &["time", "absent"])),
        }
    }
    Ok(())
}

fn read_database(
    source: &Source<'_>,
    value: Spanned<DeValue<'_>>,
    checks: &mut Checks,
) -> Result<(), Problem> {
    for (key, value) in table(source, value)? {
        match key.get_ref().as_ref() {
            "queries" => {
                for (name, query) in table(source, value)? {
                    checks.queries.push((name.get_ref().to_string(), source.read(query)?));
                }
            }
            "never_shrink" => checks.never_shrink = source.read::<Texts>(value)?.0,
            "references" => {
                for (from, to) in table(source, value)? {
                    let to = source.read::<Spanned<String>>(to)?;
                    let from = column(source, &from.span(), from.get_ref())?;
                    let to = column(source, &to.span(), to.get_ref())?;
                    checks.references.push(Reference { from, to });
                }
            }
            unknown => return Err(source.unknown_key(&key.span(), unknown, &DATABASE)),
        }
    }
    Ok(())
}

/// A table and its column, written `table.column`.
fn column(source: &Source<'_>, span: &Range<usize>, text: &str) -> Result<(String, String), Problem> {
    let parts = text.split_once('.').filter(|(table, column)| !table.is_empty() && !column.is_empty());
    let (table, column) =
        parts.ok_or_else(|| source.wrong(span, &format!("'{text}' is not a column such as table.column")))?;
    Ok((table.to_owned(), column.to_owned()))
}

/// A table with known keys, read into its type.
fn read_table<T: DeserializeOwned>(
    source: &Source<'_>,
    value: Spanned<DeValue<'_>>,
    known: &[&str],
) -> Result<T, Problem> {
    let span = value.span();
    let table = table(source, value)?;
    source.check_keys(&table, known)?;
    source.read(Spanned::new(span, DeValue::Table(table)))
}

pub(super) fn table<'i>(source: &Source<'_>, value: Spanned<DeValue<'i>>) -> Result<DeTable<'i>, Problem> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Ok(table),
        _ => Err(source.wrong(&span, "expected a table")),
    }
}

/// Each session is opened by exactly one check.
fn check_sessions(source: &Source<'_>, checks: &Checks) -> Result<(), Problem> {
    let mut opened = BTreeSet::new();
    for route in checks.routes.iter().filter(|route| route.is_login()) {
        let session = route.session().unwrap_or_default();
        if !opened.insert(session) {
            return Err(source.wrong(
                &position(source, &route.path),
                &format!("session '{session}' is opened by more than one check"),
            ));
        }
    }
    let of_routes = checks.routes.iter().map(|route| (route.session(), route.path.as_str()));
    let of_forms = checks.forms.sent.iter().map(|form| (form.route.session(), form.name.as_str()));
    let of_links = checks.links.iter().map(|links| (links.session.as_deref(), "[links]"));
    let of_browser = checks.browser.iter().map(|browser| (browser.session.as_deref(), "[browser]"));
    for (session, place) in of_routes.chain(of_forms).chain(of_links).chain(of_browser) {
        let Some(name) = session.filter(|name| !opened.contains(name)) else { continue };
        let what = format!("no check opens the session '{name}': add a \"POST …\" with session = \"{name}\"");
        return Err(source.wrong(&position(source, place), &what));
    }
    Ok(())
}

fn position(source: &Source<'_>, path: &str) -> Range<usize> {
    let at = source.text.find(path).unwrap_or_default();
    at..at
}
