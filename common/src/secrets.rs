//! Secrets: read from the environment's file, given to instances, and hidden everywhere else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::report::{OrProblem, Problem, Report};

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
            .map_err(|problem| problem.hint(format!("ls -l {}", file.display())))?;
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
                .hint(format!("sed -n {}p {}", number + 1, file.display()))
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

    /// A copy of `report` in which no secret value appears.
    pub fn hide_in_report(&self, report: &Report) -> Report {
        if self.longest_first().is_empty() {
            return report.clone();
        }
        let hidden = serde_json::to_value(report).map(|value| self.hide_in_value(value));
        hidden.and_then(serde_json::from_value).unwrap_or_else(|_| Report::new(&report.tool))
    }

    fn hide_in_value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.hide(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.hide_in_value(item)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, member)| (self.hide(&name), self.hide_in_value(member)))
                .collect(),
            other => other,
        }
    }

    fn longest_first(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> = self.pairs().filter(|(_, value)| value.len() >= SHORTEST_HIDDEN).collect();
        pairs.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        pairs
    }
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
    use crate::report::Step;

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

    #[test]
    fn a_bad_line_is_named_by_number_and_never_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "A=1\nhunter2\n").unwrap();
        let problem = Secrets::read(file.path()).unwrap_err();
        assert!(problem.title.contains("line 2") && !problem.to_string().contains("hunter2"));
    }
}
