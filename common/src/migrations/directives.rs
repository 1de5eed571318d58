//! What a migration says about itself in its comments: `-- phase: after`, `-- no-transaction`,
//! `-- approve: destructive`, `-- irreversible: why`, `-- squashes: 1 2 3`.
//!
//! In Python the same words stand behind `#` or in the docstring.

use super::Kind;

/// The directives of one text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// It may lose rows or values.
    pub approves_loss: bool,
    /// Why there is no way back.
    pub irreversible: Option<String>,
    /// It runs when the release before is retired.
    pub after: bool,
    /// It runs outside of any transaction.
    pub no_transaction: bool,
    /// Versions that it stands for.
    pub squashes: Vec<i64>,
}

impl Directives {
    /// Reads the directives of `text`.
    ///
    /// # Errors
    /// A sentence about a directive that makes no sense.
    pub fn read(kind: Kind, text: &str) -> Result<Self, String> {
        let mut found = Self::default();
        for line in text.lines().filter_map(|line| comment(kind, line)) {
            let (word, value) = line.split_once(':').map_or((line, ""), |(word, value)| (word, value.trim()));
            match word.trim_end().to_ascii_lowercase().as_str() {
                "approve" if value == "destructive" => found.approves_loss = true,
                "no-transaction" => found.no_transaction = true,
                "irreversible" if value.is_empty() => {
                    return Err("'irreversible:' gives no reason; write one behind it".into());
                }
                "irreversible" if line.contains(':') => found.irreversible = Some(value.to_owned()),
                "phase" if value == "after" => found.after = true,
                "phase" if value.split_whitespace().count() == 1 => {
                    return Err(format!("phase '{value}' is none; there is only 'phase: after'"));
                }
                "squashes" => {
                    found.squashes = value.split(' ').filter_map(|word| word.parse().ok()).collect();
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn comment(kind: Kind, line: &str) -> Option<&str> {
    let line = line.trim();
    match kind {
        Kind::Sql => line.strip_prefix("--").map(str::trim),
        Kind::Python => Some(line.trim_start_matches('#').trim()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_read_from_comments_only() {
        let sql = "--  approve: destructive\n-- phase: after\n--no-transaction\n-- irreversible: values are gone\nSELECT 'phase: x';";
        let found = Directives::read(Kind::Sql, sql).unwrap();
        assert!(found.approves_loss && found.after && found.no_transaction);
        assert_eq!(found.irreversible.as_deref(), Some("values are gone"));
        let python = "\"\"\"\nMigration: x\nPhase: after\n\"\"\"\n# approve: destructive\ndef up(db): pass";
        let found = Directives::read(Kind::Python, python).unwrap();
        assert!(found.after && found.approves_loss && !found.no_transaction);
        let plain = Directives::read(Kind::Sql, "SELECT 1; -- approve: destructive\n-- phase one: add");
        assert_eq!(plain.unwrap(), Directives::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in ["-- irreversible:", "-- phase: later"] {
            assert!(Directives::read(Kind::Sql, bad).is_err(), "{bad}");
        }
    }
}
