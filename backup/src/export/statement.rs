//! Tells where a statement ends: at a semicolon outside quotes and comments.

/// What the byte before left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    Quote(u8),
    LineComment,
    BlockComment,
}

/// Reads SQL byte by byte.
#[derive(Debug)]
pub(super) struct Reader {
    inside: Inside,
    before: u8,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { inside: Inside::Nothing, before: 0 }
    }

    /// Reads on; whether the last byte of `bytes` ends a statement.
    pub(super) fn ends_statement(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            let (inside, before) = self.next(byte);
            self.inside = inside;
            self.before = before;
        }
        self.inside == Inside::Nothing && bytes.last() == Some(&b';')
    }

    fn next(&self, byte: u8) -> (Inside, u8) {
        match (self.inside, self.before, byte) {
            (Inside::Nothing, b'-', b'-') => (Inside::LineComment, 0),
            (Inside::Nothing, b'/', b'*') => (Inside::BlockComment, 0),
            (Inside::Nothing, _, b'\'' | b'"' | b'`') => (Inside::Quote(byte), 0),
            (Inside::Nothing, _, b'[') => (Inside::Quote(b']'), 0),
            (Inside::Quote(end), _, _) if byte == end => (Inside::Nothing, 0),
            (Inside::LineComment, _, b'\n') | (Inside::BlockComment, b'*', b'/') => (Inside::Nothing, 0),
            (inside, _, _) => (inside, byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_semicolon_outside_quotes_and_comments_ends_a_statement() {
        for whole in [
            "SELECT 1;",
            "SELECT 'a;''b';",
            "SELECT \"a;\", [b;], `c;`;",
            "-- a;\n/* ; */ SELECT 2;",
            "a-'-';",
        ] {
            assert!(Reader::new().ends_statement(whole.as_bytes()), "{whole}");
        }
        for part in ["SELECT ';", "SELECT 'a'';", "-- ;", "/* ; */ /* ;", "SELECT \"x';", "[a;", "SELECT 1"] {
            assert!(!Reader::new().ends_statement(part.as_bytes()), "{part}");
        }
    }
}
