//! The text of a checks file, and problems that point into it.

use std::ops::Range;
use std::path::Path;

use common::config::nearest;
use common::report::{Problem, quoted};
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// A file being read.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// A problem on the line where `span` begins.
    pub(super) fn wrong(&self, span: &Range<usize>, what: &str) -> Problem {
        let line = self.line(span);
        let what = what.lines().next().unwrap_or_default();
        Problem::configuration(format!("{}:{line}: {what}", self.file.display()))
            .hint(format!("sed -n {line}p {}", quoted(self.file.display())))
    }

    /// An unknown key, with the nearest of the known ones.
    pub(super) fn unknown_key(&self, span: &Range<usize>, key: &str, known: &[&str]) -> Problem {
        let problem = self
            .wrong(span, &format!("unknown key '{key}'"))
            .detail(format!("known here: {}", known.join(", ")));
        match nearest(key, known.iter().copied()) {
            Some(near) => problem.hint(format!(
                "sed -n {}p {}   # did you mean '{near}'?",
                self.line(span),
                quoted(self.file.display())
            )),
            None => problem,
        }
    }

    /// Refuses a key that is not one of `known`.
    pub(super) fn check_keys(&self, table: &DeTable<'_>, known: &[&str]) -> Result<(), Problem> {
        match table.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
            Some(key) => Err(self.unknown_key(&key.span(), key.get_ref(), known)),
            None => Ok(()),
        }
    }

    /// Reads one value into its type.
    pub(super) fn read<T: DeserializeOwned>(&self, value: Spanned<DeValue<'_>>) -> Result<T, Problem> {
        let whole = value.span();
        T::deserialize(ValueDeserializer::from(value))
            .map_err(|error| self.wrong(&error.span().unwrap_or(whole), error.message()))
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.text[..span.start.min(self.text.len())].matches('\n').count() + 1
    }
}
