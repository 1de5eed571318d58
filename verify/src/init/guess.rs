//! Who lists the routes of an app that nobody has described yet: its Flask command, an OpenAPI
//! description, or else a sitemap.

use common::report::Problem;

use crate::checks::Discover;
use crate::discovery::Survey;
use crate::http::Asker;
use crate::subject::Subject;

/// Where a Flask app usually is.
const ENTRIES: [&str; 4] = ["wsgi", "app", "main", "application"];
const OPENAPI: [&str; 2] = ["/openapi.json", "/api/openapi.json"];
const SITEMAP: &str = "/sitemap.xml";

/// The first way that names any rule.
pub(super) fn discover(subject: &Subject) -> Result<Option<Discover>, Problem> {
    let asker = Asker::new(&subject.address)?;
    Ok(candidates(subject).into_iter().find(|discover| {
        let survey = Survey::list(subject, discover, &asker);
        !survey.rules.is_empty() && survey.lists.iter().all(|(_, _, problem)| problem.is_none())
    }))
}

fn candidates(subject: &Subject) -> Vec<Discover> {
    let flask = [".venv/bin/flask", "venv/bin/flask"].iter().any(|path| subject.release.join(path).exists());
    let entries = ENTRIES.iter().filter(|entry| subject.release.join(format!("{entry}.py")).exists());
    let commands = entries.filter(|_| flask).map(|entry| Discover {
        command: Some(format!("flask --app {entry} routes")),
        ..Discover::default()
    });
    let openapi =
        OPENAPI.iter().map(|path| Discover { openapi: Some((*path).into()), ..Discover::default() });
    let sitemap = Discover { sitemap: Some(SITEMAP.into()), ..Discover::default() };
    commands.chain(openapi).chain([sitemap]).collect()
}
