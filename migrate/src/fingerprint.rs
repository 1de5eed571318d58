//! What other tools note about a file, so that they find their own numbers when they come back.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha384};
use siphasher::sip::SipHasher13;

use common::migrations::{Layout, Migration};

pub(crate) enum Fingerprint {
    Bytes(Vec<u8>),
    Text(String),
}

/// The fingerprint of a file's whole text; none in layouts that note nothing.
pub(crate) fn of(layout: Layout, name: &str, version: i64, text: &str) -> Option<Fingerprint> {
    match layout {
        Layout::Sqlx => Some(Fingerprint::Bytes(Sha384::digest(text).to_vec())),
        Layout::Refinery => {
            Some(Fingerprint::Text(refinery(name, version, text, version > i64::from(i32::MAX))))
        }
        Layout::Flyway => Some(Fingerprint::Text(flyway(text).to_string())),
        _ => None,
    }
}

/// Whether `noted` is that of `file`, whatever its line endings are.
pub(crate) fn matches(layout: Layout, file: &Migration, noted: &str) -> bool {
    let unix = file.original.replace("\r\n", "\n");
    let windows = unix.replace('\n', "\r\n");
    let marked = format!("\u{feff}{unix}");
    [&file.original, &unix, &windows, &marked].into_iter().any(|text| match layout {
        Layout::Sqlx => common::hex(&Sha384::digest(text)) == noted,
        Layout::Flyway => flyway(text).to_string() == noted,
        Layout::Refinery => {
            [false, true].into_iter().any(|wide| refinery(&file.name, file.version, text, wide) == noted)
        }
        _ => true,
    })
}

/// `wide`: refinery was built for numbers of 64 bits.
fn refinery(name: &str, version: i64, text: &str, wide: bool) -> String {
    let mut hasher = SipHasher13::new();
    name.hash(&mut hasher);
    match i32::try_from(version) {
        Ok(version) if !wide => version.hash(&mut hasher),
        _ => version.hash(&mut hasher),
    }
    text.hash(&mut hasher);
    hasher.finish().to_string()
}

/// The lines without their ends, as a signed number.
fn flyway(text: &str) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace('\r', "\n");
    let lines = text.strip_suffix('\n').unwrap_or(&text);
    for line in lines.split('\n') {
        hasher.update(line.as_bytes());
    }
    hasher.finalize().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_endings_and_marks_do_not_change_what_flyway_notes() {
        assert_eq!(flyway("SELECT 1;\nSELECT 2;\n"), flyway("\u{feff}SELECT 1;\r\nSELECT 2;"));
        // zlib.crc32(b"SELECT 1;SELECT 2;") as a signed number.
        assert_eq!(flyway("SELECT 1;\nSELECT 2;"), -1_665_099_012);
    }
}
