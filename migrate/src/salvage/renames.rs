//! What migrations in SQL say themselves about names: tables and columns that got another one.

use std::collections::{BTreeMap, BTreeSet};

use crate::lint::{alteration, created, is_drop, named};
use crate::tokens::{Token, statements};

/// Older names, in lower case, with those that they became.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Renames {
    tables: BTreeMap<String, String>,
    columns: BTreeMap<(String, String), String>,
    /// Tables that the migrations made.
    made: BTreeSet<String>,
}

impl Renames {
    /// Follows the texts in the order in which they run.
    pub(crate) fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let mut renames = Self::default();
        for text in texts {
            for statement in statements(text) {
                if let Some(table) = created(&statement) {
                    renames.made.insert(table.to_lowercase());
                } else if is_drop(&statement, "TABLE") {
                    renames.forget(named(&statement[2..]).unwrap_or_default());
                }
                match alteration(&statement) {
                    Some((table, [rename, to, name])) if rename.is("RENAME") && to.is("TO") => {
                        renames.table_becomes(table, name);
                    }
                    Some((table, [rename, column, from, to, name]))
                        if rename.is("RENAME") && column.is("COLUMN") && to.is("TO") =>
                    {
                        renames.column_becomes(table, from, name);
                    }
                    Some((table, [rename, from, to, name])) if rename.is("RENAME") && to.is("TO") => {
                        renames.column_becomes(table, from, name);
                    }
                    _ => {}
                }
            }
        }
        // A table that another one took the place of did not become anything.
        renames.tables.retain(|from, to| from != to);
        renames
    }

    /// What a table became.
    pub(super) fn table(&self, name: &str) -> Option<&str> {
        self.tables.get(&name.to_lowercase()).map(String::as_str)
    }

    /// What a column of an older table became.
    pub(super) fn column(&self, table: &str, name: &str) -> Option<&str> {
        self.columns.get(&(table.to_lowercase(), name.to_lowercase())).map(String::as_str)
    }

    fn table_becomes(&mut self, from: &str, to: &Token<'_>) {
        let to = to.name().to_lowercase();
        // One that the migrations made takes the place of another: that is no new name.
        if !self.made.remove(&from.to_lowercase()) {
            self.tables.insert(self.origin(from), to);
        }
    }

    fn column_becomes(&mut self, table: &str, from: &Token<'_>, to: &Token<'_>) {
        let table = self.origin(table);
        let from = from.name().to_lowercase();
        let known = self.columns.iter().find(|((it, _), now)| *it == table && **now == from);
        let origin = known.map_or(from, |((_, origin), _)| origin.clone());
        self.columns.insert((table, origin), to.name().to_lowercase());
    }

    fn forget(&mut self, name: &str) {
        let name = name.to_lowercase();
        self.made.remove(&name);
        self.tables.retain(|_, now| *now != name);
    }

    /// The older name of a table that is called `name` now.
    fn origin(&self, name: &str) -> String {
        let name = name.to_lowercase();
        self.tables.iter().find(|(_, now)| **now == name).map_or(name, |(origin, _)| origin.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_followed_through_several_migrations() {
        let texts = [
            "ALTER TABLE main.T RENAME TO \"u\"; ALTER TABLE u RENAME COLUMN a TO b; -- ALTER TABLE x RENAME TO y",
            "ALTER TABLE u RENAME b TO [c]; ALTER TABLE u RENAME TO w; ALTER TABLE v RENAME COLUMN d TO e",
        ];
        let renames = Renames::of(texts.into_iter());
        assert_eq!((renames.table("t"), renames.table("u"), renames.table("x")), (Some("w"), None, None));
        assert_eq!((renames.column("T", "A"), renames.column("v", "d")), (Some("c"), Some("e")));
        for rebuilt in [
            "ALTER TABLE t RENAME TO old; ALTER TABLE old RENAME TO t",
            "ALTER TABLE t RENAME TO old; CREATE TABLE t(a); INSERT INTO t SELECT a FROM old; DROP TABLE old",
            "CREATE TABLE n(a); INSERT INTO n SELECT a FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t; ALTER TABLE t RENAME a TO b",
        ] {
            let renames = Renames::of([rebuilt].into_iter());
            assert_eq!((renames.table("t"), renames.table("n")), (None, None), "{rebuilt}");
            assert_eq!(renames.column("t", "a").is_some(), rebuilt.ends_with('b'), "{rebuilt}");
        }
    }
}
