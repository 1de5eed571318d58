//! One route check: what is asked, and what the answer must be.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
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

/// A check after expansion: one request, with no placeholder left. There may be ten thousand.
#[derive(Debug, Clone, Default)]
pub(crate) struct Route {
    pub(crate) method: Cow<'static, str>,
    /// Path and query.
    pub(crate) path: String,
    /// Expected status; `None` means any redirect when `to` is given, else 200.
    pub(crate) status: Option<u16>,
    pub(crate) text: Vec<String>,
    /// Not of the file: any answer below 400 is right.
    pub(crate) discovered: bool,
    /// None where nothing more is said; read as [`Route::terms`].
    pub(crate) terms: Option<Arc<Terms>>,
}

/// What is said of a route beside its status and texts; the rows of one entry share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
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
}

static NO_TERMS: Terms = Terms {
    absent: Vec::new(),
    patterns: Vec::new(),
    header: Vec::new(),
    to: None,
    time: None,
    session: None,
    form: Vec::new(),
    writes: false,
    captures: Vec::new(),
    needs: Vec::new(),
    retry: None,
};

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

    /// What is said of it beside its status and texts.
    pub(crate) fn terms(&self) -> &Terms {
        self.terms.as_deref().unwrap_or(&NO_TERMS)
    }

    pub(crate) fn terms_mut(&mut self) -> &mut Terms {
        Arc::make_mut(self.terms.get_or_insert_default())
    }

    /// The session that it opens or uses.
    pub(crate) fn session(&self) -> Option<&str> {
        self.terms().session.as_deref()
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
        self.is_unsafe() && self.session().is_some()
    }

    /// Why it must not run against a database in use.
    pub(crate) fn forbidden(&self) -> Option<String> {
        let allowed = !self.is_unsafe() || self.terms().writes || self.is_login();
        (!allowed).then(|| format!("{} may write; it runs where the check says writes = true", self.method))
    }

    /// Notes which of the captured values it uses.
    pub(super) fn note_needs<'n>(&mut self, captured: impl Iterator<Item = &'n String>) {
        let uses = |name: &&String| {
            let (hole, terms) = (format!("{{{name}}}"), self.terms());
            let values = terms.form.iter().map(|field| &field.value);
            let mut texts =
                self.text.iter().chain(&terms.absent).chain(&terms.to).chain([&self.path]).chain(values);
            texts.any(|text| text.contains(&hole))
        };
        let needs: Vec<String> = captured.filter(uses).cloned().collect();
        if !needs.is_empty() {
            self.terms_mut().needs = needs;
        }
    }

    /// The route with its captured values in place.
    pub(crate) fn with(&self, captured: &BTreeMap<String, String>) -> Self {
        let (mut route, mut terms) = (self.clone(), self.terms().clone());
        for name in &self.terms().needs {
            let Some(value) = captured.get(name) else { continue };
            let hole = format!("{{{name}}}");
            route.path = route.path.replace(&hole, &placeholder::encode(value, true));
            let values = terms.form.iter_mut().flat_map(|field| [&mut field.value, &mut field.written]);
            for text in route.text.iter_mut().chain(&mut terms.absent).chain(&mut terms.to).chain(values) {
                *text = text.replace(&hole, value);
            }
        }
        Self { terms: Some(Arc::new(terms)), ..route }
    }

    /// Replaces each `$NAME` by its secret.
    ///
    /// # Errors
    /// `configuration`, naming the variable.
    pub(crate) fn fill_in(&mut self, secrets: &Secrets) -> Result<(), Problem> {
        if !self.terms().form.iter().any(|field| field.written.starts_with('$')) {
            return Ok(());
        }
        let route = self.name();
        for field in &mut self.terms_mut().form {
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
