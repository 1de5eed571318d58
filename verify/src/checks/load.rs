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

use super::Checks;
use super::entry::{self, Texts};
use super::route::Route;
use super::source::Source;

const KNOWN: [&str; 3] = ["defaults", "routes", "database"];
const LATER: [&str; 7] = ["discover", "links", "forms", "browser", "regressions", "files", "command"];

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
            later if LATER.contains(&later) => {
                return Err(source.wrong(&span, &format!("[{later}] is not available in this version")));
            }
            unknown => return Err(source.unknown_key(&span, unknown, &KNOWN)),
        }
    }
    check_sessions(source, &checks.routes)?;
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
        if key.get_ref() != "queries" {
            return Err(source.unknown_key(&key.span(), key.get_ref(), &["queries"]));
        }
        for (name, query) in table(source, value)? {
            checks.queries.push((name.get_ref().to_string(), source.read(query)?));
        }
    }
    Ok(())
}

fn table<'i>(source: &Source<'_>, value: Spanned<DeValue<'i>>) -> Result<DeTable<'i>, Problem> {
    let span = value.span();
    match value.into_inner() {
        DeValue::Table(table) => Ok(table),
        _ => Err(source.wrong(&span, "expected a table")),
    }
}

/// Each session is opened by exactly one check.
fn check_sessions(source: &Source<'_>, routes: &[Route]) -> Result<(), Problem> {
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
    match orphan {
        Some(route) => {
            let session = route.session.as_deref().unwrap_or_default();
            Err(source.wrong(
                &position(source, &route.path),
                &format!(
                    "no check opens the session '{session}': add a \"POST …\" with session = \"{session}\""
                ),
            ))
        }
        None => Ok(()),
    }
}

fn position(source: &Source<'_>, path: &str) -> Range<usize> {
    let at = source.text.find(path).unwrap_or_default();
    at..at
}
