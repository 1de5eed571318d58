//! Secrets: read from the environment's file, given to instances, and hidden everywhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::report::{OrProblem, Problem, Report, Step, quoted};

/// Shorter values would hide ordinary words.
const SHORTEST_HIDDEN: usize = 4;

/// Names and values of an env file. `Debug` shows the names only.
#[derive(Clone, Default)]
pub struct Secrets(BTreeMap<String, String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Reads `NAME=value` lines; `#` comments, blank lines, `export ` and quotes are understood.
    ///
    /// # Errors
    /// `env-file`: not readable, or a line without a name; the line's text is never quoted.
    pub fn read(file: &Path) -> Result<Self, Problem> {
        let text = fs::read_to_string(file)
            .or_problem("env-file", || format!("cannot read the env file {}", file.display()))
            .map_err(|problem| problem.hint(format!("ls -l {}", quoted(file.display()))))?;
        let mut values = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = parse_line(line).ok_or_else(|| {
                Problem::new(
                    "env-file",
                    format!("line {} of {} is not NAME=value", number + 1, file.display()),
                )
                .hint(format!("sed -n {}p {}", number + 1, quoted(file.display())))
            })?;
            values.insert(name, value);
        }
        Ok(Self(values))
    }

    /// Name and value pairs, for an instance's environment only.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of one name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The names alone.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn merge(&mut self, other: &Self) {
        self.0.extend(other.0.clone());
    }

    /// `text` with each secret value replaced by its `$NAME`.
    pub fn hide(&self, text: &str) -> String {
        let mut hidden = text.to_owned();
        for (name, value) in self.longest_first() {
            hidden = hidden.replace(value, &format!("${name}"));
        }
        hidden
    }

    /// A copy of `report` in which no secret value appears: text that programs or people wrote is
    /// searched; ids, times, enums and member names are ours and stay.
    #[must_use]
    pub fn hide_in_report(&self, report: &Report) -> Report {
        let mut hidden = report.clone();
        hidden.steps = report.steps.iter().map(|step| self.hide_in_step(step)).collect();
        hidden.problem = report.problem.as_ref().map(|problem| self.hide_in_problem(problem));
        for facts in hidden.details.values_mut() {
            self.hide_in_value(facts);
        }
        hidden
    }

    /// A copy of `step` in which no secret value appears.
    #[must_use]
    pub fn hide_in_step(&self, step: &Step) -> Step {
        let mut hidden = step.clone();
        hidden.name = self.hide(&step.name);
        hidden.target = step.target.as_deref().map(|target| self.hide(target));
        hidden.problem = step.problem.as_ref().map(|problem| self.hide_in_problem(problem));
        hidden
    }

    fn hide_in_problem(&self, problem: &Problem) -> Problem {
        let mut hidden = problem.clone();
        hidden.title = self.hide(&problem.title);
        hidden.detail = problem.detail.as_deref().map(|detail| self.hide(detail));
        hidden.hint = problem.hint.as_deref().map(|hint| self.hide(hint));
        hidden
    }

    /// A whole string that is one of our own words (`new`, `changed`) is no secret, whatever
    /// somebody chose as a password.
    fn hide_in_value(&self, value: &mut Value) {
        match value {
            Value::String(text) if !is_word(text) => *text = self.hide(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in_value(item)),
            Value::Object(members) => members.values_mut().for_each(|member| self.hide_in_value(member)),
            _ => {}
        }
    }

    fn longest_first(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> = self.pairs().filter(|(_, value)| value.len() >= SHORTEST_HIDDEN).collect();
        pairs.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        pairs
    }
}

fn is_word(text: &str) -> bool {
    text.len() < 12 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn parse_line(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let name = name.trim();
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(valid) {
        return None;
    }
    let value = value.trim();
    let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((name.to_owned(), bare.unwrap_or(value).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn values_are_read_and_hidden_wherever_they_stand() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "# c\nexport A=\"sentinel-1\"\nB='x y=z'\n\nSHORT=ab\n").unwrap();
        let secrets = Secrets::read(file.path()).unwrap();
        assert_eq!(secrets.get("B"), Some("x y=z"));
        let mut report = Report::new("deploy");
        report
            .push(Step::new("deploy", "start", 1).fail(Problem::new("x", "saw sentinel-1").detail("x y=z")));
        let text = serde_json::to_string(&secrets.hide_in_report(&report)).unwrap();
        assert!(!text.contains("sentinel-1") && !text.contains("x y=z") && text.contains("$A"), "{text}");
        assert!(!format!("{secrets:?}").contains("sentinel"));
    }

    /// Passwords like these once turned a failed report into an empty success.
    #[test]
    fn a_secret_that_is_a_word_of_the_report_changes_nothing_but_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "A=pass\nB=fail\nC=2026\nD=deploy\nE=status\nF=changed\n").unwrap();
        let secrets = Secrets::read(file.path()).unwrap();
        let mut report = Report::new("deploy");
        report.conclude(crate::report::Outcome::Failed);
        report.push(Step::new("deploy", "start", 1).fail(Problem::new("x", "no pass")));
        report.details.insert("migrate".into(), serde_json::json!({"change": "changed"}));
        let hidden = secrets.hide_in_report(&report);
        assert_eq!((hidden.success, hidden.outcome, hidden.steps.len()), (false, report.outcome, 1));
        assert_eq!(hidden.details["migrate"]["change"], "changed");
        assert_eq!(hidden.steps[0].problem.as_ref().unwrap().title, "no $A");
        assert_eq!((hidden.tool, hidden.started_at), (report.tool, report.started_at));
    }

    #[test]
    fn a_bad_line_is_named_by_number_and_never_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "A=1\nhunter2\n").unwrap();
        let problem = Secrets::read(file.path()).unwrap_err();
        assert!(problem.title.contains("line 2") && !problem.to_string().contains("hunter2"));
    }
}
