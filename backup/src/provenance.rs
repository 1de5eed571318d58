//! Where a backup comes from: `git-tag.txt` with the serving revision, its git tag, and
//! `config.json` with the settings as configured and the names of secrets, never their values.

use std::fs;

use common::cli::warn;
use common::git::Repository;
use common::ledger::Deployment;
use common::report::{OrProblem, Problem};
use common::secrets::Secrets;
use serde_json::{Value, json};

use crate::site::Site;

/// The tag of the revision that serves while the backup is taken.
pub(crate) fn tag_name(site: &Site<'_>, id: &str) -> String {
    format!("backup/{}/{id}", site.name())
}

/// The text of `git-tag.txt`.
pub(crate) fn git_tag(site: &Site<'_>, id: &str, serving: Option<&Deployment>) -> String {
    let Some(deployment) = serving else { return "nothing serves\n".to_owned() };
    format!(
        "revision {}\nbranch {}\ntag {}\n",
        deployment.revision,
        deployment.branch.as_deref().unwrap_or("unknown"),
        tag_name(site, id)
    )
}

/// Tags the serving revision, if one serves; a backup without its tag is still a backup.
pub(crate) fn tag(site: &Site<'_>, id: &str) {
    let Ok(Some(serving)) = site.serving() else { return };
    let Ok(repository) = Repository::open(site.config.root()) else { return };
    let message = format!("backup {id} of {}", site.name());
    if let Err(problem) = repository.tag(&tag_name(site, id), &serving.revision, &message) {
        warn(&problem.to_string());
    }
}

/// The text of `config.json`.
///
/// # Errors
/// `configuration`: deploy.toml has changed under us and can no longer be read.
pub(crate) fn settings(site: &Site<'_>) -> Result<String, Problem> {
    let title = || format!("cannot read {}", site.config.file.display());
    let text = fs::read_to_string(&site.config.file).or_problem("configuration", title)?;
    let written: Value = toml::from_str(&text).or_problem("configuration", title)?;
    let secrets = site.secrets.as_ref();
    if secrets.is_none() {
        warn("the secrets cannot be read: the backup does not name them");
    }
    let document = json!({
        "app": written["app"],
        "environment": site.name(),
        "settings": written["environments"][site.name()],
        "secrets": secrets.map(|secrets| secrets.names().collect::<Vec<_>>()),
    });
    let hidden = hide(document, secrets.unwrap_or(&Secrets::default()));
    Ok(format!("{hidden:#}\n"))
}

fn hide(value: Value, secrets: &Secrets) -> Value {
    match value {
        Value::String(text) => Value::String(secrets.hide(&text)),
        Value::Array(items) => items.into_iter().map(|item| hide(item, secrets)).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, member)| (name, hide(member, secrets))).collect()
        }
        other => other,
    }
}
