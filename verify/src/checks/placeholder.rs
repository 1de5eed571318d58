//! Placeholders in paths, `<name>` or `<converter:name>`, and the data rows that fill them.

use std::fmt::Write;

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Hole { name: String, keeps_slashes: bool },
}

/// Leaves the holes of `captured` names to be filled while the routes are asked, as `{name}`.
pub(super) fn leave(parts: Vec<Part>, captured: impl Fn(&str) -> bool) -> Vec<Part> {
    let leave = |part| match part {
        Part::Hole { name, .. } if captured(&name) => Part::Text(format!("{{{name}}}")),
        part => part,
    };
    parts.into_iter().map(leave).collect()
}

/// Splits a path at its placeholders; the error is a sentence.
pub(crate) fn split(path: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('<') {
        let (inside, tail) =
            after.split_once('>').ok_or_else(|| format!("'{path}' has a '<' without its '>'"))?;
        let (converter, name) = inside.rsplit_once(':').unwrap_or(("", inside));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!("'<{inside}>' is not a placeholder such as <name> or <path:name>"));
        }
        if !before.is_empty() {
            parts.push(Part::Text(before.into()));
        }
        parts.push(Part::Hole { name: name.into(), keeps_slashes: converter == "path" });
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

/// The names of the placeholders.
pub(crate) fn names(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(|part| match part {
        Part::Hole { name, .. } => Some(name.as_str()),
        Part::Text(_) => None,
    })
}

/// One path for each row; `rows` gives the values of a name, all of one length.
pub(super) fn fill<'a>(parts: &[Part], count: usize, rows: impl Fn(&str) -> &'a [String]) -> Vec<String> {
    let path = |row: usize| {
        parts.iter().fold(String::new(), |path, part| match part {
            Part::Text(text) => path + text,
            Part::Hole { name, keeps_slashes } => path + &encode(&rows(name)[row], *keeps_slashes),
        })
    };
    (0..count).map(path).collect()
}

/// A value as a part of a path.
pub(super) fn encode(value: &str, keeps_slashes: bool) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (keeps_slashes && byte == b'/') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fill_their_placeholders_encoded() {
        let parts = split("/d/<name>/<path:file>?v=<int:n>").unwrap();
        assert_eq!(names(&parts).collect::<Vec<_>>(), ["name", "file", "n"]);
        let (a, b, c) = (["a b/c".to_owned()], ["x/ü".to_owned()], ["7".to_owned()]);
        let paths = fill(&parts, 1, |name| match name {
            "name" => &a,
            "file" => &b,
            _ => &c,
        });
        assert_eq!(paths, ["/d/a%20b%2Fc/x/%C3%BC?v=7"]);
    }

    #[test]
    fn what_is_no_placeholder_is_said() {
        for bad in ["/<", "/<>", "/<a b>", "/<path:>"] {
            assert!(split(bad).is_err(), "{bad}");
        }
        assert_eq!(split("/plain").unwrap(), [Part::Text("/plain".into())]);
    }
}
