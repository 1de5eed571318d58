//! What other tools note about a file, so that they find their own numbers when they come back.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha384};
use siphasher::sip::SipHasher13;

use common::migrations::{Layout, Migration, flyway_checksum};

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
        Layout::Flyway => Some(Fingerprint::Text(flyway_checksum(text).to_string())),
        _ => None,
    }
}

/// Whether `noted` is that of `file`, whatever its line endings are.
pub(crate) fn matches(layout: Layout, file: &Migration, noted: &str) -> bool {
    let unix = file.original.replace("\r\n", "\n");
    let windows = unix.replace('\n', "\r\n");
    let marked = format!("\u{feff}{unix}");
    [&*file.original, &unix, &windows, &marked].into_iter().any(|text| match layout {
        Layout::Sqlx => common::hex(&Sha384::digest(text)) == noted,
        Layout::Flyway => flyway_checksum(text).to_string() == noted,
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
