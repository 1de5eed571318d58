//! Reads `verify.toml`. Every mistake is named with its line and, for a key, the nearest known one;
//! tables of later versions are refused, never ignored.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;

use common::config::Span;
use common::report::{Problem, quoted};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::{self, Texts};
use super::source::Source;
use super::{Checks, Reference, browser};

const KNOWN: [&str; 5] = ["defaults", "routes", "database", "browser", "regressions"];
const LATER: [&str; 5] = ["discover", "links", "forms", "files", "command"];
const DATABASE: [&str; 3] = ["queries", "never_shrink", "references"];

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
                for (path, options) in table(source, value)? {
                    checks.routes.extend(entry::expand(source, &path, options)?);
                }
            }
            "database" => read_database(source, value, &mut checks)?,
            "browser" => checks.browser = Some(browser::read_browser(source, value)?),
            "regressions" => checks.regressions = Some(browser::read_regressions(source, value)?),
            later if LATER.contains(&later) => {
                return Err(source.wrong(&span, &format!("[{later}] is not available in this version")));
            }
            unknown => return Err(source.unknown_key(&span, unknown, &KNOWN)),
        }
    }
    check_sessions(source, &checks)?;
    Ok(checks)
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

pub(super) fn table<'i>(source: &Source<'_>, value: Spanned<DeValue<'i>>) -> Result<DeTable<'i>, Problem> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Ok(table),
        _ => Err(source.wrong(&span, "expected a table")),
    }
}

/// Each session is opened by exactly one check.
fn check_sessions(source: &Source<'_>, checks: &Checks) -> Result<(), Problem> {
    let routes = &checks.routes;
    let mut opened = BTreeSet::new();
    for route in routes.iter().filter(|route| route.is_login()) {
        if !opened.insert(route.session.clone()) {
            let session = route.session.as_deref().unwrap_or_default();
            return Err(source.wrong(
                &position(source, &route.path),
                &format!("session '{session}' is opened by more than one check"),
            ));
        }
    }
    let orphan = routes.iter().find(|route| route.session.is_some() && !opened.contains(&route.session));
    if let Some(route) = orphan {
        return Err(nobody_opens(source, &route.path, route.session.as_deref().unwrap_or_default()));
    }
    match checks.browser.as_ref().filter(|browser| browser.session.is_some()) {
        Some(browser) if !opened.contains(&browser.session) => {
            Err(nobody_opens(source, "[browser]", browser.session.as_deref().unwrap_or_default()))
        }
        _ => Ok(()),
    }
}

fn nobody_opens(source: &Source<'_>, place: &str, session: &str) -> Problem {
    source.wrong(
        &position(source, place),
        &format!("no check opens the session '{session}': add a \"POST …\" with session = \"{session}\""),
    )
}

fn position(source: &Source<'_>, path: &str) -> Range<usize> {
    let at = source.text.find(path).unwrap_or_default();
    at..at
}
