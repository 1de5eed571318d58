//! Lines that give themselves a level: as a word of its own, or as a member of a structured line.

const LEVELS: [&str; 3] = ["ERROR", "CRITICAL", "FATAL"];

/// Whether the line says that it is an error.
pub(super) fn has_level(line: &str) -> bool {
    let is_word = |level: &&&str| {
        line.match_indices(**level).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + level.len()..]);
            let continues = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !before.ends_with(continues) && !after.starts_with(continues)
        })
    };
    LEVELS.iter().find(is_word).is_some() || gives_level(line)
}

/// Whether what is quoted in it is what it says: JSON, or logfmt.
pub(super) fn is_structured(line: &str) -> bool {
    line.trim_start().starts_with('{') || gives_level(line)
}

/// `level=error` or `"level": "error"`, in capitals too.
fn gives_level(line: &str) -> bool {
    line.match_indices("level").any(|(at, name)| {
        let rest = &line[at + name.len()..];
        let value = match rest.strip_prefix('"') {
            Some(rest) => rest.trim_start().strip_prefix(':'),
            None => rest.strip_prefix('='),
        };
        let value = value.map(|value| value.trim_start().trim_start_matches('"')).unwrap_or_default();
        LEVELS.iter().any(|level| {
            let (word, rest) = value.split_at_checked(level.len()).unwrap_or_default();
            word.eq_ignore_ascii_case(level) && !rest.starts_with(|c: char| c.is_ascii_alphanumeric())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_word_or_a_member_and_nothing_else() {
        for line in [
            "2026 ERROR x",
            "[CRITICAL]",
            "t=1 level=error msg=x",
            r#"{"level":"error"}"#,
            r#"{"t": 1, "level" : "FATAL", "msg": "x"}"#,
            r#"level="critical" msg=x"#,
        ] {
            assert!(has_level(line), "{line}");
        }
        for line in
            ["terror", "MY_ERROR_X", "level=errors", "set level: error", "level=info", r#""level":"é"#]
        {
            assert!(!has_level(line), "{line}");
        }
    }
}
