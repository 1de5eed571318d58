//! One migration, whatever layout it comes from.

use std::borrow::Cow;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Directives;

/// The language of its texts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Sql,
    /// A module with `up(db)` and perhaps `down(db)`; both texts are the whole file.
    Python,
}

impl Kind {
    /// As the tracking table has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Python => "python",
        }
    }

    /// The kind with this word; SQL for any other.
    pub fn from_word(word: &str) -> Self {
        if word == "python" { Self::Python } else { Self::Sql }
    }
}

/// From here on versions only say the order in which migrations without a version run: whenever
/// they change, after all others.
pub(super) const REPEATABLE: i64 = i64::MAX / 2;

/// One migration of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub version: i64,
    /// The version as the layout writes it: `20240101`, `1.2`.
    pub label: String,
    pub name: String,
    pub kind: Kind,
    /// The text that is run, without a byte order mark.
    pub up: Arc<str>,
    pub down: Option<Arc<str>>,
    /// Of the up file, see [`checksum`].
    pub checksum: String,
    /// The up file's whole text: what other tools put into their own checksums.
    pub original: Arc<str>,
    /// File of the up text, below the directory of migrations.
    pub file: String,
    /// File of the down text.
    pub down_file: String,
    pub directives: Directives,
}

impl Migration {
    /// Whether it has no version and runs again whenever it changes.
    pub fn is_repeatable(&self) -> bool {
        self.number().is_none()
    }

    /// The version, where it has one.
    pub fn number(&self) -> Option<i64> {
        (self.version < REPEATABLE).then_some(self.version)
    }

    /// A migration of one up file and perhaps one down file.
    ///
    /// # Errors
    /// A sentence about a directive that makes no sense.
    pub fn of_files(
        version: i64,
        name: &str,
        kind: Kind,
        up: Text,
        down: Option<Text>,
    ) -> Result<Self, String> {
        let directives =
            Directives::read(kind, &up.text).map_err(|reason| format!("{}: {reason}", up.file))?;
        let text: Arc<str> = up.text.into();
        Ok(Self {
            version,
            label: version.to_string(),
            name: name.to_owned(),
            kind,
            checksum: checksum(&text),
            original: Arc::clone(&text),
            directives,
            down_file: down.as_ref().map_or_else(|| up.file.clone(), |down| down.file.clone()),
            file: up.file,
            up: text,
            down: down.map(|down| down.text.into()),
        })
    }
}

/// A file of a migration with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub file: String,
    pub text: String,
}

/// Hex SHA-256 that a change of line endings, byte order mark or trailing blanks leaves as it is.
pub fn checksum(text: &str) -> String {
    let text = text.trim_start_matches('\u{feff}');
    let text = if text.contains('\r') {
        Cow::from(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::from(text)
    };
    let mut hasher = Sha256::new();
    let mut ends = 0;
    for line in text.split('\n').map(|line| line.trim_end_matches([' ', '\t'])) {
        if !line.is_empty() {
            (0..ends).for_each(|_| hasher.update("\n"));
            hasher.update(line);
            ends = 0;
        }
        ends += 1;
    }
    crate::hex(&hasher.finalize())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_checksum_ignores_line_endings_marks_and_trailing_blanks(
            lines in prop::collection::vec("[a-z;' -]{0,12}[a-z;]", 1..8),
            ends in prop::collection::vec(("[ \t]{0,3}", prop::sample::select(vec!["\n", "\r\n", "\r"])), 8),
            mark in any::<bool>(),
            tail in "[ \r\n\t]{0,6}",
        ) {
            let plain = lines.join("\n");
            let mut other = String::from(if mark { "\u{feff}" } else { "" });
            for (number, (line, (blanks, end))) in lines.iter().zip(&ends).enumerate() {
                other.push_str(line);
                other.push_str(blanks);
                if number + 1 < lines.len() {
                    other.push_str(end);
                }
            }
            other.push_str(&tail);
            prop_assert_eq!(checksum(&plain), checksum(&other));
        }

        #[test]
        fn the_checksum_notices_every_other_change(text in "[a-z ]{1,20}x", at in 0usize..20, letter in "[A-Z]") {
            let mut other = text.clone();
            other.insert_str(at.min(text.len()), &letter);
            prop_assert_ne!(checksum(&text), checksum(&other));
        }
    }
}
