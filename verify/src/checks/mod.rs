//! The checks that a release brings along: `verify.toml`, read and expanded.
//!
//! `load` reads the file and names its mistakes, `route` is one check after expansion, `placeholder`
//! puts data rows into paths, `links` says how the app is crawled, `browser` what one looks at and
//! what is a regression. Nothing here asks a server.

mod browser;
mod capture;
mod command;
mod discover;
mod entry;
mod errors;
mod file;
mod forms;
mod glob;
mod links;
mod load;
mod lookup;
pub(crate) mod placeholder;
pub(crate) mod route;
mod source;
mod wanted;

use std::path::Path;
use std::time::Duration;

use common::report::Problem;
use common::secrets::Secrets;

pub(crate) use browser::Browser;
pub(crate) use command::Command;
pub(crate) use discover::Discover;
pub(crate) use entry::OPTIONS as ROUTE_OPTIONS;
pub(crate) use errors::Errors;
pub(crate) use file::{FileCheck, FileWanted};
pub(crate) use forms::{Forms, SentForm};
pub(crate) use glob::Glob;
pub(crate) use links::{External, Links};
pub(crate) use lookup::Lookup;
pub(crate) use route::{Pattern, Route, may_write};
pub(crate) use wanted::Wanted;

/// Texts of apps that have failed, whatever their status.
pub(crate) const UNWANTED: [&str; 2] = ["Traceback", "Internal Server Error"];

/// Everything that one release wants checked.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Time budget of a route that names none.
    pub(crate) time: Option<Duration>,
    /// Texts that no page may show.
    pub(crate) absent: Vec<String>,
    pub(crate) routes: Vec<Route>,
    /// Who lists the app's routes.
    pub(crate) discover: Option<Discover>,
    /// How the app is crawled; without it it is not.
    pub(crate) links: Option<Links>,
    pub(crate) forms: Forms,
    pub(crate) files: Vec<FileCheck>,
    pub(crate) commands: Vec<Command>,
    /// Name and SQL.
    pub(crate) queries: Vec<(String, String)>,
    /// Tables that have at least the rows of the verification before.
    pub(crate) never_shrink: Vec<String>,
    pub(crate) references: Vec<Reference>,
    pub(crate) browser: Option<Browser>,
    /// Parts of sentences about changes that are meant; `None` where changes are told, not judged.
    pub(crate) regressions: Option<Vec<String>>,
    /// Which errors in the log are too many; `None` where the log is not looked at.
    pub(crate) errors: Option<Errors>,
}

/// A column whose values are those of another one, although the schema does not say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Table and column.
    pub(crate) from: (String, String),
    pub(crate) to: (String, String),
}

impl Checks {
    /// What an app is looked at with before anybody has written checks.
    pub(crate) fn beginning(health: &str, discover: Option<Discover>) -> Self {
        let mut routes = vec![Route::get("/")];
        if health != "/" {
            routes.push(Route::get(health));
        }
        let absent = UNWANTED.iter().map(|text| (*text).to_owned()).collect();
        Self { routes, absent, discover, links: Some(Links::default()), ..Self::default() }
    }

    /// Reads `verify.toml` of a release; without one, and without routes in it, the health path is
    /// the only route.
    ///
    /// # Errors
    /// `configuration`: the file cannot be read or says something that makes no sense; a `$NAME`
    /// that the environment's secrets do not have.
    pub(crate) fn load(release: &Path, health: &str, secrets: &Secrets) -> Result<Self, Problem> {
        let mut checks = load::load(&release.join("verify.toml"))?;
        let sent = checks.forms.sent.iter_mut().map(|form| &mut form.route);
        for route in checks.routes.iter_mut().chain(sent) {
            route.fill_in(secrets)?;
        }
        if checks.routes.is_empty() {
            checks.routes.push(Route::get(health));
        }
        Ok(checks)
    }
}

#[cfg(test)]
mod tests;
