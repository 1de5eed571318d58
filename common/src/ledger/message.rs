//! What receivers are told: one sentence, and beside it the members of the report. `message_rows`
//! keeps it until it is delivered.

use serde_json::{Map, Value, json};

use super::deployment::{Deployment, Kind};
use crate::git::short;
use crate::report::{Outcome, Report, VERSION, now};

/// In bytes: more than that a receiver need not take, and the large members go.
const LARGEST: usize = 32 * 1024;
const LARGE: [&str; 2] = ["details", "steps"];
/// Of the sentence, in characters.
const LONGEST: usize = 600;

/// One thing to tell the receivers of an environment.
#[derive(Debug, Clone)]
pub struct Message {
    pub environment: String,
    /// What happened, in one word.
    pub event: &'static str,
    /// The same for each copy of this message, and for no other message.
    pub id: String,
    /// The sentence, without the app and the environment.
    pub text: String,
    /// What else there is to say.
    pub members: Map<String, Value>,
}

impl Message {
    /// Of a deployment or rollback that begins; of others nothing is told.
    pub(super) fn of_beginning(row: &Deployment) -> Option<Self> {
        let noun = noun(row.kind)?;
        let branch = row.branch.as_deref().map(|branch| format!(" ({branch})")).unwrap_or_default();
        let text =
            format!("{noun} {} to {}{branch} was started by {}", row.id, short(&row.revision), row.who);
        let members = json!({
            "version": VERSION, "tool": row.kind, "deployment": row.id, "started_at": now(),
            "release": {"revision": row.revision, "branch": row.branch, "tree": row.tree},
        });
        Some(Self::about(row, "started", text, members))
    }

    /// Of one that has ended; `report` has no secret in it any more.
    pub(super) fn of_end(row: &Deployment, report: &Report) -> Option<Self> {
        let noun = noun(row.kind)?;
        let (event, became) = match (report.outcome, row.kind) {
            // Of a rollback, too, this is what recovery calls going back to what served before.
            (Outcome::RolledBack, Kind::Rollback) if report.problem.is_some() => {
                ("failed", "was cut off and undone")
            }
            (Outcome::Succeeded | Outcome::RolledBack, Kind::Rollback) => ("rolled_back", "succeeded"),
            (Outcome::RolledBack, _) => ("rolled_back", "was rolled back"),
            (Outcome::Succeeded, _) => ("succeeded", "succeeded"),
            (Outcome::Unverified, _) => ("unverified", "could not be verified"),
            (Outcome::Failed, _) => ("failed", "failed"),
            (Outcome::Broken, _) => ("broken", "could not be undone, a person is needed"),
        };
        let problem = report.problem.as_ref().filter(|_| event != "succeeded");
        let why = problem.map(|problem| format!(": {}", problem.title)).unwrap_or_default();
        let serves = match report.serving.as_deref() {
            Some(revision) => format!("{} serves", short(revision)),
            None => "nothing serves".to_owned(),
        };
        let text = format!("{noun} {} {became}{why}; {serves}", row.id);
        Some(Self::about(row, event, text, serde_json::to_value(report).unwrap_or_default()))
    }

    fn about(row: &Deployment, event: &'static str, text: String, members: Value) -> Self {
        let members = if let Value::Object(members) = members { members } else { Map::new() };
        let (environment, id) = (row.environment.clone(), format!("{}/{event}", row.id));
        Self { environment, event, id, text, members }
    }

    /// The whole of it as one line of JSON.
    pub(super) fn body(&self, app: &str) -> String {
        let text = plain(&format!("{app} {}: {}", self.environment, self.text));
        let mut body = Map::new();
        for (name, value) in [
            ("text", text.as_str()),
            ("event", self.event),
            ("notification", &self.id),
            ("app", app),
            ("environment", &self.environment),
        ] {
            body.insert(name.to_owned(), value.into());
        }
        body.insert("at".to_owned(), now().to_string().into());
        for (name, value) in &self.members {
            body.entry(name.as_str()).or_insert_with(|| value.clone());
        }
        for large in LARGE {
            if Value::from(body.clone()).to_string().len() > LARGEST {
                body.remove(large);
            }
        }
        Value::from(body).to_string()
    }
}

fn noun(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Deploy => Some("deployment"),
        Kind::Rollback => Some("rollback"),
        Kind::Migrate | Kind::Restore => None,
    }
}

/// Titles quote foreign text: one line of it, and not too much.
fn plain(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() { format!("{line}…") } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str, members: Value) -> Value {
        let Value::Object(members) = members else { panic!("no object") };
        let (environment, id) = ("prod".to_owned(), "x/failed".to_owned());
        let message = Message { environment, event: "failed", id, text: text.into(), members };
        serde_json::from_str(&message.body("viewer")).unwrap()
    }

    #[test]
    fn the_sentence_is_one_line_and_what_is_too_large_goes() {
        let body =
            message("a\n\x1b[31mb", json!({"details": "x".repeat(LARGEST), "steps": [1], "event": "y"}));
        assert_eq!(body["text"], "viewer prod: a  [31mb");
        assert_eq!(
            (&body["event"], &body["steps"], body.get("details")),
            (&json!("failed"), &json!([1]), None)
        );
        let long = message(&"é".repeat(2 * LONGEST), json!({}));
        assert_eq!(long["text"].as_str().unwrap().chars().count(), LONGEST + 1);
    }
}
