//! One route check: what is asked, and what the answer must be.

use std::collections::BTreeMap;
use std::time::Duration;

use common::report::Problem;
use common::secrets::Secrets;
use regex::Regex;

use super::capture::Capture;
use super::lookup::Lookup;
use super::placeholder;
use super::wanted::Wanted;

/// What an answer must have; selectors are as written, known to be valid.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    Regex(Box<Regex>),
    Css(String),
    /// How many elements match, or a text that one of them shows.
    CssWanted(String, Wanted),
    Json(Lookup, Wanted),
}

/// A check after expansion: one request, with no placeholder left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Route {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Expected status; `None` means any redirect when `to` is given, else 200.
    pub(crate) status: Option<u16>,
    pub(crate) text: Vec<String>,
    pub(crate) absent: Vec<String>,
    pub(crate) patterns: Vec<Pattern>,
    /// Name of a header and a text that its value contains.
    pub(crate) header: Vec<(String, String)>,
    /// Where the redirect goes.
    pub(crate) to: Option<String>,
    pub(crate) time: Option<Duration>,
    pub(crate) session: Option<String>,
    /// Field, text as written, value to send.
    pub(crate) form: Vec<Field>,
    pub(crate) writes: bool,
    /// Values for later routes, by name.
    pub(crate) captures: Vec<(String, Capture)>,
    /// Names of captured values that this route uses, as `{name}`.
    pub(crate) needs: Vec<String>,
    /// How long it is asked again while it is not right.
    pub(crate) retry: Option<Duration>,
    /// Not of the file: any answer below 400 is right.
    pub(crate) discovered: bool,
}

/// One form field; what is written may be a `$NAME`.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) written: String,
    pub(crate) value: String,
}

/// Whether a request of this method may change something.
pub(crate) fn may_write(method: &str) -> bool {
    !matches!(method, "GET" | "HEAD" | "OPTIONS")
}

impl Route {
    pub(crate) fn get(path: &str) -> Self {
        Self { method: "GET".into(), path: path.into(), ..Self::default() }
    }

    /// `GET /doc/all/`, as in step names.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Whether asking may change something.
    pub(crate) fn is_unsafe(&self) -> bool {
        may_write(&self.method)
    }

    /// Whether it opens the session that others use.
    pub(crate) fn is_login(&self) -> bool {
        self.is_unsafe() && self.session.is_some()
    }

    /// Why it must not run against a database in use.
    pub(crate) fn forbidden(&self) -> Option<String> {
        let allowed = !self.is_unsafe() || self.writes || self.is_login();
        (!allowed).then(|| format!("{} may write; it runs where the check says writes = true", self.method))
    }

    /// Notes which of the captured values it uses.
    pub(super) fn note_needs<'n>(&mut self, captured: impl Iterator<Item = &'n String>) {
        let uses = |name: &&String| {
            let hole = format!("{{{name}}}");
            let values = self.form.iter().map(|field| &field.value);
            let mut texts =
                self.text.iter().chain(&self.absent).chain(&self.to).chain([&self.path]).chain(values);
            texts.any(|text| text.contains(&hole))
        };
        self.needs = captured.filter(uses).cloned().collect();
    }

    /// The route with its captured values in place.
    pub(crate) fn with(&self, captured: &BTreeMap<String, String>) -> Self {
        let mut route = self.clone();
        for name in &self.needs {
            let Some(value) = captured.get(name) else { continue };
            let hole = format!("{{{name}}}");
            route.path = route.path.replace(&hole, &placeholder::encode(value, true));
            let values = route.form.iter_mut().flat_map(|field| [&mut field.value, &mut field.written]);
            for text in route.text.iter_mut().chain(&mut route.absent).chain(&mut route.to).chain(values) {
                *text = text.replace(&hole, value);
            }
        }
        route
    }

    /// Replaces each `$NAME` by its secret.
    ///
    /// # Errors
    /// `configuration`, naming the variable.
    pub(crate) fn fill_in(&mut self, secrets: &Secrets) -> Result<(), Problem> {
        let route = self.name();
        for field in &mut self.form {
            let Some(name) = field.written.strip_prefix('$') else { continue };
            let value = secrets.get(name).ok_or_else(|| {
                Problem::configuration(format!("{route} in verify.toml needs ${name}"))
                    .detail("the environment's env_file does not have it")
                    .hint("grep -n env_file deploy.toml")
            })?;
            value.clone_into(&mut field.value);
        }
        Ok(())
    }
}
