//! One entry of `[routes]`: `"METHOD /path" = "STATUS text"` or `= { options }`, expanded to a
//! check for each data row.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use common::config::Span;
use common::report::Problem;
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::capture::{Capture, check_selector, not_a_lookup, read_regex};
use super::forms;
use super::lookup::Lookup;
use super::placeholder;
use super::route::{Field, Pattern, Route, Terms, may_write};
use super::source::Source;
use super::wanted::Wanted;

pub(crate) const OPTIONS: [&str; 14] = [
    "status", "text", "absent", "regex", "css", "json", "header", "to", "time", "session", "form", "writes",
    "capture", "retry",
];
const METHODS: [&str; 7] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    status: Option<u16>,
    text: Texts,
    absent: Texts,
    regex: Texts,
    css: Css,
    json: BTreeMap<String, Wanted>,
    header: BTreeMap<String, String>,
    to: Option<String>,
    time: Option<Span>,
    session: Option<String>,
    #[serde(alias = "fields")]
    form: BTreeMap<String, String>,
    writes: bool,
    capture: BTreeMap<String, String>,
    retry: Option<Span>,
}

/// Selectors that must match something, or a table of selectors with what is wanted of them.
enum Css {
    Present(Texts),
    Wanted(BTreeMap<String, Wanted>),
}

impl Default for Css {
    fn default() -> Self {
        Self::Present(Texts::default())
    }
}

impl<'de> Deserialize<'de> for Css {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a selector, a list of them, or { selector = number or text }"
        )]
        enum Form {
            Present(Texts),
            Wanted(BTreeMap<String, Wanted>),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Present(texts) => Self::Present(texts),
            Form::Wanted(table) => Self::Wanted(table),
        })
    }
}

/// One text or a list of them; numbers are taken as they are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a text or a list of texts")]
        enum Form {
            One(Word),
            Many(Vec<Word>),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Word {
            Text(String),
            Number(i64),
        }
        let plain = |word| match word {
            Word::Text(text) => text,
            Word::Number(number) => number.to_string(),
        };
        Ok(Self(match Form::deserialize(deserializer)? {
            Form::One(word) => vec![plain(word)],
            Form::Many(words) => words.into_iter().map(plain).collect(),
        }))
    }
}

/// The checks of one entry; `captured` are names of values that other routes capture.
pub(super) fn expand(
    source: &Source<'_>,
    captured: &BTreeSet<String>,
    key: &Spanned<DeString<'_>>,
    value: Spanned<DeValue<'_>>,
) -> Result<Vec<Route>, Problem> {
    let (method, path) = split_key(source, key)?;
    let parts = placeholder::split(path).map_err(|error| source.wrong(&key.span(), &error))?;
    let is_row = |name: &str| value.get_ref().get(name).is_some();
    let parts = placeholder::leave(parts, |name| captured.contains(name) && !is_row(name));
    let names: Vec<&str> = placeholder::names(&parts).collect();
    if let Some(taken) = names.iter().find(|name| OPTIONS.contains(name)) {
        let what = format!("the placeholder <{taken}> has the name of an option; any other name will do");
        return Err(source.wrong(&key.span(), &what));
    }
    let span = value.span();
    let (model, rows) = match value.into_inner() {
        DeValue::String(text) => (shorthand(source, &span, method, &text)?, Rows::new()),
        DeValue::Table(table) => {
            let (options, rows) = read_table(source, &span, table, &OPTIONS, &names)?;
            (build(source, &span, method, options)?, rows)
        }
        _ => return Err(source.wrong(&span, "expected \"STATUS text\" or { … }")),
    };
    let count = count_rows(source, &key.span(), &names, &rows)?;
    if count > 1 && !model.terms().captures.is_empty() {
        return Err(source.wrong(&span, "a route with several rows cannot capture: give it one row"));
    }
    let paths = placeholder::fill(&parts, count, |name| rows.get(name).map_or(&[], Vec::as_slice));
    Ok(paths.into_iter().map(|path| Route { path, ..model.clone() }).collect())
}

/// What a form is filled with and what must come of it, as a route without a path.
pub(super) fn of_form(
    source: &Source<'_>,
    span: &Range<usize>,
    table: DeTable<'_>,
) -> Result<Route, Problem> {
    let (options, _) = read_table(source, span, table, &forms::OPTIONS, &[])?;
    build(source, span, "POST", options)
}

fn split_key<'k>(
    source: &Source<'_>,
    key: &'k Spanned<DeString<'_>>,
) -> Result<(&'static str, &'k str), Problem> {
    let text = key.get_ref().as_ref();
    let (written, path) = text.split_once(' ').unwrap_or(("GET", text));
    let path = path.trim_start();
    let Some(method) = METHODS.into_iter().find(|known| *known == written) else {
        return Err(source.wrong(&key.span(), &format!("'{written}' is not one of {}", METHODS.join(", "))));
    };
    if !path.starts_with('/') {
        return Err(source.wrong(&key.span(), &format!("'{path}' is not a path: it must begin with '/'")));
    }
    Ok((method, path))
}

/// `200 text`; after a redirect status the rest is where it goes.
fn shorthand(
    source: &Source<'_>,
    span: &Range<usize>,
    method: &'static str,
    text: &str,
) -> Result<Route, Problem> {
    let (status, rest) = text.split_once(' ').unwrap_or((text, ""));
    let status: u16 = status
        .parse()
        .map_err(|_| source.wrong(span, &format!("'{text}' does not begin with a status such as 200")))?;
    let rest = (!rest.trim().is_empty()).then(|| rest.trim().to_owned());
    let mut route = Route { method: method.into(), status: Some(status), ..Route::default() };
    if (300..400).contains(&status) {
        route.terms_mut().to = rest;
    } else {
        route.text = rest.into_iter().collect();
    }
    Ok(route)
}

type Rows = BTreeMap<String, Vec<String>>;

/// Takes the data rows out of the table; what is left are options.
fn read_table(
    source: &Source<'_>,
    span: &Range<usize>,
    table: DeTable<'_>,
    known: &[&str],
    names: &[&str],
) -> Result<(Options, Rows), Problem> {
    let (mut rows, mut options) = (Rows::new(), DeTable::new());
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if names.contains(&name) {
            rows.insert(name.to_owned(), source.read::<Texts>(value)?.0);
        } else if known.contains(&name) {
            options.insert(key, value);
        } else {
            let known: Vec<&str> = known.iter().chain(names).copied().collect();
            return Err(source.unknown_key(&key.span(), name, &known));
        }
    }
    let options = source.read(Spanned::new(span.clone(), DeValue::Table(options)))?;
    Ok((options, rows))
}

fn count_rows(
    source: &Source<'_>,
    span: &Range<usize>,
    names: &[&str],
    rows: &Rows,
) -> Result<usize, Problem> {
    let mut count = None;
    for name in names {
        let found = rows.get(*name).map_or(0, Vec::len);
        if found == 0 {
            return Err(source.wrong(span, &format!("<{name}> needs its values: {name} = [\"…\"]")));
        }
        if *count.get_or_insert(found) != found {
            return Err(
                source.wrong(span, &format!("the placeholders have unequal numbers of values at <{name}>"))
            );
        }
    }
    Ok(count.unwrap_or(1))
}

fn build(
    source: &Source<'_>,
    span: &Range<usize>,
    method: &'static str,
    options: Options,
) -> Result<Route, Problem> {
    let patterns = patterns(options.regex, options.css, options.json);
    let captures = options.capture.into_iter().map(|(name, written)| Ok((name, Capture::read(&written)?)));
    let wrong = |what: String| source.wrong(span, &what);
    if method == "GET" && !options.form.is_empty() {
        return Err(wrong("a form is sent with POST: write \"POST /path\"".into()));
    }
    if may_write(method) && options.retry.is_some() {
        return Err(wrong(format!("a {method} is never sent again: retry is for GET and HEAD")));
    }
    let field = |(name, written): (String, String)| Field { name, value: written.clone(), written };
    let terms = Terms {
        absent: options.absent.0,
        patterns: patterns.map_err(wrong)?,
        header: options.header.into_iter().collect(),
        to: options.to,
        time: options.time.map(|span| span.0),
        session: options.session,
        form: options.form.into_iter().map(field).collect(),
        writes: options.writes,
        captures: captures.collect::<Result<_, _>>().map_err(wrong)?,
        needs: Vec::new(),
        retry: options.retry.map(|span| span.0),
    };
    let (method, terms) = (method.into(), Some(Arc::new(terms)));
    Ok(Route { method, status: options.status, text: options.text.0, terms, ..Route::default() })
}

/// The error is a sentence.
fn patterns(regex: Texts, css: Css, json: BTreeMap<String, Wanted>) -> Result<Vec<Pattern>, String> {
    let mut patterns = Vec::new();
    for text in regex.0 {
        patterns.push(Pattern::Regex(Box::new(read_regex(&text)?)));
    }
    match css {
        Css::Present(selectors) => {
            for text in selectors.0 {
                check_selector(&text)?;
                patterns.push(Pattern::Css(text));
            }
        }
        Css::Wanted(table) => {
            for (text, wanted) in table {
                check_selector(&text)?;
                patterns.push(Pattern::CssWanted(text, wanted));
            }
        }
    }
    for (place, wanted) in json {
        let lookup = Lookup::read(&place).ok_or_else(|| not_a_lookup(&place))?;
        patterns.push(Pattern::Json(lookup, wanted));
    }
    Ok(patterns)
}
