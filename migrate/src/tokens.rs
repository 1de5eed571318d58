//! A reading of SQL text into tokens and statements, for screening and comparing only.
//!
//! What runs is cut by SQLite itself; this module never decides that. Its rule for the end of a
//! trigger is the one of SQLite's own `sqlite3_complete`: `; END ;`.

/// A piece of SQL with the line it begins on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
    /// Where it begins in the text, in bytes.
    pub(crate) offset: usize,
}

impl<'a> Token<'a> {
    /// Whether it is this keyword; quoted names never are.
    pub(crate) fn is(&self, keyword: &str) -> bool {
        self.text.eq_ignore_ascii_case(keyword)
    }

    /// The name it stands for: quotes of identifiers removed.
    pub(crate) fn name(&self) -> &'a str {
        let bare = match self.text.as_bytes().first() {
            Some(b'"' | b'`' | b'[') => self.text.get(1..self.text.len().saturating_sub(1)),
            _ => None,
        };
        bare.unwrap_or(self.text)
    }
}

/// The tokens of one statement, without its final semicolon.
pub(crate) type Statement<'a> = Vec<Token<'a>>;

/// All statements of `sql`.
pub(crate) fn statements(sql: &str) -> Vec<Statement<'_>> {
    let mut all = Vec::new();
    let mut current: Statement<'_> = Vec::new();
    for token in tokens(sql) {
        if token.text != ";" {
            current.push(token);
        } else if is_complete(&current) {
            all.push(std::mem::take(&mut current));
        } else if !current.is_empty() {
            current.push(token);
        }
    }
    if !current.is_empty() {
        all.push(current);
    }
    all
}

/// The statement in one spelling: single blanks, lower-case words, names without quotes.
pub(crate) fn canonical(sql: &str) -> String {
    let words = tokens(sql).map(|token| match token.text.as_bytes().first() {
        Some(b'\'') => token.text.to_owned(),
        _ => token.name().to_lowercase(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whatever in `sql` may be the name of a table, in any quotes that `SQLite` takes, in lower case.
pub(crate) fn names(sql: &str) -> impl Iterator<Item = String> {
    tokens(sql).map(|token| {
        let name = match token.text.chars().next() {
            Some('[') => token.name().to_owned(),
            Some(quote @ ('"' | '`' | '\'')) => {
                let inside = token.text.strip_prefix(quote).unwrap_or_default();
                inside
                    .strip_suffix(quote)
                    .unwrap_or(inside)
                    .replace(&format!("{quote}{quote}"), &quote.to_string())
            }
            _ => token.text.to_owned(),
        };
        name.to_ascii_lowercase()
    })
}

fn is_complete(statement: &[Token<'_>]) -> bool {
    let is_trigger = match statement {
        [create, trigger, ..] if create.is("CREATE") && trigger.is("TRIGGER") => true,
        [create, kind, trigger, ..] if create.is("CREATE") && trigger.is("TRIGGER") => {
            kind.is("TEMP") || kind.is("TEMPORARY")
        }
        _ => false,
    };
    match statement {
        [] => false,
        [.., semicolon, end] if is_trigger => semicolon.text == ";" && end.is("END"),
        _ => !is_trigger,
    }
}

fn tokens(sql: &str) -> impl Iterator<Item = Token<'_>> {
    let (mut rest, mut line, mut at) = (sql, 1, 0);
    std::iter::from_fn(move || {
        loop {
            let length = piece(rest)?;
            let (text, after) = rest.split_at(length);
            let (begins_on, offset) = (line, at);
            at += length;
            line += text.matches('\n').count();
            rest = after;
            if !is_blank(text) {
                return Some(Token { text, line: begins_on, offset });
            }
        }
    })
}

fn is_blank(piece: &str) -> bool {
    piece.starts_with("--") || piece.starts_with("/*") || piece.starts_with(is_space)
}

/// What SQLite skips; unlike Rust's own notion, with the vertical tab.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// Bytes of the first token, comment or run of blanks.
fn piece(sql: &str) -> Option<usize> {
    let first = sql.chars().next()?;
    let through =
        |from: usize, end: &str| sql[from..].find(end).map_or(sql.len(), |at| from + at + end.len());
    let run = |belongs: fn(char) -> bool| sql.find(|c| !belongs(c)).unwrap_or(sql.len());
    Some(match first {
        '-' if sql.starts_with("--") => through(2, "\n"),
        '/' if sql.starts_with("/*") => through(2, "*/"),
        '\'' | '"' | '`' => quoted(sql, first),
        '[' => through(1, "]"),
        c if is_space(c) => run(is_space),
        c if is_word(c) => run(is_word),
        c => c.len_utf8(),
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Bytes up to the closing quote; a doubled quote stands for itself.
fn quoted(sql: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = sql[at..].find(quote) {
        at += end + 1;
        if !sql[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    sql.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::fallible_iterator::FallibleIterator;
    use rusqlite::{Batch, Connection};

    use super::*;

    const HARD: &str = "-- a; comment
        CREATE TABLE t(a TEXT DEFAULT 'x; y -- not a comment', \"b;\" INT, [c;] INT, `d;` INT);
        /* ; */ INSERT INTO t VALUES ('it''s; fine', 1, 2, 3);;
        CREATE TEMP TRIGGER r AFTER INSERT ON t BEGIN
            SELECT CASE WHEN 1 THEN 2 END; UPDATE t SET a = ';'; END;
        CREATE VIEW v AS SELECT a AS \"END\" FROM t";

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        let db = Connection::open_in_memory().unwrap();
        let mut batch = Batch::new(&db, HARD);
        let mut count = 0;
        while let Some(mut statement) = batch.next().unwrap() {
            statement.raw_execute().unwrap();
            count += 1;
        }
        let found = statements(HARD);
        assert_eq!(found.len(), count);
        let lines: Vec<_> = found.iter().map(|statement| statement[0].line).collect();
        assert_eq!(lines, [2, 3, 4, 6]);
    }

    #[test]
    fn one_spelling_for_what_sqlite_treats_alike() {
        assert_eq!(canonical("CREATE TABLE \"T\"( a  INT )"), canonical("create table t (a INT)"));
        assert_ne!(canonical("SELECT 'A'"), canonical("SELECT 'a'"));
    }

    proptest! {
        /// Bytes that mean something to a splitter, and any others.
        #[test]
        fn no_bytes_panic_and_nothing_but_blanks_is_lost(
            bytes in prop_oneof![
                "[-'\"`\\[\\]/*;a-zé \n]{0,60}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..400),
            ],
        ) {
            let sql = String::from_utf8_lossy(&bytes);
            let mut end = 0;
            for token in tokens(&sql) {
                prop_assert!(is_skipped(&sql[end..token.offset]), "{:?}", &sql[end..token.offset]);
                end = token.offset + token.text.len();
                prop_assert_eq!(&sql[token.offset..end], token.text);
                prop_assert_eq!(sql[..token.offset].matches('\n').count() + 1, token.line);
            }
            prop_assert!(is_skipped(&sql[end..]));
            let kept: usize = statements(&sql).iter().map(Vec::len).sum();
            prop_assert!(kept <= tokens(&sql).count());
            let _ = canonical(&sql);
        }
    }

    fn is_skipped(between: &str) -> bool {
        let mut rest = between;
        while let Some(length) = piece(rest) {
            if !is_blank(&rest[..length]) {
                return false;
            }
            rest = &rest[length..];
        }
        true
    }

    /// Each of them begins something that may never end; a reading that looks back at every byte
    /// would take 200,000 times as long.
    #[test]
    fn much_of_anything_is_read_in_one_go() {
        let openings = [
            "'",
            "''",
            "\"",
            "[",
            "`",
            "/*",
            "--",
            "--\n",
            ";",
            "(",
            "é",
            "\0",
            "a ",
            "CREATE TRIGGER a BEGIN ;",
            "END;",
        ];
        for opening in openings {
            let sql = opening.repeat(200_000 / opening.len());
            let count = statements(&sql).len() + canonical(&sql).len();
            assert!(count <= 3 * sql.len(), "{opening}");
        }
    }
}
