//! `[forms]`: the field that guards every form against forged requests, and the forms that are sent.

use std::ops::Range;

use common::report::Problem;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry;
use super::glob::{Glob, any_matches};
use super::route::Route;
use super::source::Source;

/// Options of a form that is sent.
pub(super) const OPTIONS: [&str; 12] = [
    "status", "text", "absent", "regex", "css", "json", "header", "to", "time", "session", "fields", "writes",
];
const CSRF: &str = "csrf";
const SKIP: &str = "skip";

/// What is known of the app's forms.
#[derive(Debug, Clone, Default)]
pub(crate) struct Forms {
    /// Name of the hidden field that every POST form must have.
    pub(crate) csrf: Option<String>,
    /// Actions whose forms are not looked at.
    pub(crate) skip: Vec<Glob>,
    pub(crate) sent: Vec<SentForm>,
}

/// A form that is sent, with what must come of it.
#[derive(Debug, Clone)]
pub(crate) struct SentForm {
    /// As it stands in the file: `/page#id-or-name`.
    pub(crate) name: String,
    /// The page that has it.
    pub(crate) page: String,
    /// Its id or name; a page's only form needs none.
    pub(crate) label: Option<String>,
    /// Fields and expectations; where it goes is for the page to say.
    pub(crate) route: Route,
}

impl Forms {
    /// Whether forms that lead to a path or an address are not looked at.
    pub(crate) fn skips(&self, action: &str) -> bool {
        any_matches(&self.skip, action)
    }
}

pub(super) fn read(source: &Source<'_>, table: DeTable<'_>) -> Result<Forms, Problem> {
    let mut forms = Forms::default();
    for (key, value) in table {
        let (span, name) = (key.span(), key.get_ref().to_string());
        if name == CSRF {
            forms.csrf = Some(source.read(value)?);
        } else if name == SKIP {
            forms.skip = source.read(value)?;
        } else if name.starts_with('/') {
            forms.sent.push(sent(source, &span, name, value)?);
        } else {
            return Err(source.unknown_key(&span, &name, &[CSRF, SKIP, "/page#form"]));
        }
    }
    Ok(forms)
}

fn sent(
    source: &Source<'_>,
    span: &Range<usize>,
    name: String,
    value: Spanned<DeValue<'_>>,
) -> Result<SentForm, Problem> {
    let value_span = value.span();
    let DeValue::Table(table) = value.into_inner() else {
        return Err(source.wrong(&value_span, "expected { fields = { … }, … }"));
    };
    let route = entry::of_form(source, &value_span, table)?;
    if route.terms().form.is_empty() {
        return Err(source.wrong(span, "a form that is sent needs fields = { name = \"value\" }"));
    }
    let (page, label) = name.split_once('#').unwrap_or((&name, ""));
    let label = (!label.is_empty()).then(|| label.to_owned());
    Ok(SentForm { page: page.to_owned(), label, route, name })
}
