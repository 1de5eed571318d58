//! Values as SQL literals that come back bit by bit.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result};

/// How the database stores text; it decides what a cast from bytes means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Utf8,
    Utf16Little,
    Utf16Big,
}

impl Encoding {
    pub(super) fn of(connection: &Connection) -> Result<Self> {
        Ok(match crate::content::word(connection, "encoding")?.as_str() {
            "UTF-16le" => Self::Utf16Little,
            "UTF-16be" => Self::Utf16Big,
            _ => Self::Utf8,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Little => "UTF-16le",
            Self::Utf16Big => "UTF-16be",
        }
    }

    fn stored(self, text: &[u8]) -> Vec<u8> {
        let units = || String::from_utf8_lossy(text).encode_utf16().collect::<Vec<_>>();
        match self {
            Self::Utf8 => text.to_vec(),
            Self::Utf16Little => units().into_iter().flat_map(u16::to_le_bytes).collect(),
            Self::Utf16Big => units().into_iter().flat_map(u16::to_be_bytes).collect(),
        }
    }
}

/// Appends `value` to `out`.
pub(super) fn write(out: &mut Vec<u8>, value: ValueRef<'_>, encoding: Encoding) {
    match value {
        ValueRef::Null => out.extend(b"NULL"),
        ValueRef::Integer(number) => out.extend(of_integer(number).as_bytes()),
        ValueRef::Real(number) => out.extend(of_real(number).as_bytes()),
        ValueRef::Text(text) => write_text(out, text, encoding),
        ValueRef::Blob(blob) => write_bytes(out, blob),
    }
}

/// A quoted text cannot hold a NUL, nor bytes that are no UTF-8; a cast brings both back.
fn write_text(out: &mut Vec<u8>, text: &[u8], encoding: Encoding) {
    let plain = std::str::from_utf8(text).ok().filter(|text| !text.contains('\0'));
    if let Some(plain) = plain {
        out.extend(of_text(plain).as_bytes());
    } else {
        out.extend(b"CAST(");
        write_bytes(out, &encoding.stored(text));
        out.extend(b" AS TEXT)");
    }
}

/// A quoted text.
pub(super) fn of_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The least number of all has no literal: without its sign it would be too large.
fn of_integer(number: i64) -> String {
    if number == i64::MIN { format!("({} - 1)", number + 1) } else { number.to_string() }
}

/// The shortest decimal digits that name this number and no other.
fn of_real(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "9e999" } else { "-9e999" }.to_owned();
    }
    format!("{number:?}")
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(b"x'");
    for byte in bytes {
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(value: ValueRef<'_>) -> rusqlite::types::Value {
        let mut text = Vec::new();
        write(&mut text, value, Encoding::Utf8);
        let db = Connection::open_in_memory().unwrap();
        db.query_row(&format!("SELECT {}", String::from_utf8(text).unwrap()), [], |row| row.get(0)).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20000))]
        #[test]
        fn reals_come_back_bit_by_bit(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            prop_assume!(!number.is_nan());
            prop_assert_eq!(back(ValueRef::Real(number)), rusqlite::types::Value::Real(number));
        }
    }
}
