//! Paths as text: names on disk are bytes, JSON is UTF-8. What is read back leads nowhere outside.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// `%` and every byte that is not part of UTF-8 become `%XX`.
pub(super) fn text_of(path: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in path.as_ref().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The name that was written as `text`.
pub(super) fn name_of(text: &str) -> Option<OsString> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    (!bytes.contains(&0)).then(|| OsString::from_vec(bytes))
}

/// The path that was written as `text`, when it leads to something inside.
pub(crate) fn path_of(text: &str) -> Option<PathBuf> {
    let path = PathBuf::from(name_of(text)?);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    (inside && path.components().next().is_some()).then_some(path)
}

/// A path that people read in a sentence.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_comes_back(bytes in prop::collection::vec(1_u8.., 0..12)) {
            let name = OsString::from_vec(bytes);
            prop_assert_eq!(name_of(&text_of(&name)), Some(name));
        }
    }

    #[test]
    fn nothing_leads_outside() {
        for bad in ["", "/etc", "../a", "a/../b", "%2e%2e/a", "%2Fetc", "a%00", "a%", "a%Z1", "a%é"] {
            assert_eq!(path_of(bad), None, "{bad}");
        }
        assert_eq!(path_of("a/%25 b"), Some("a/% b".into()));
    }
}
