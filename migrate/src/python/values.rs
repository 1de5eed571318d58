//! SQLite's values as JSON: what JSON lacks is an object, `{"real": "inf"}`, `{"blob": "00ff"}`.

use rusqlite::types::{Value as Cell, ValueRef};
use serde_json::{Value, json};

/// A value that a script sent; none when it is no such thing.
pub(super) fn from_json(value: &Value) -> Option<Cell> {
    match value {
        Value::Null => Some(Cell::Null),
        Value::String(text) => Some(Cell::Text(text.clone())),
        Value::Number(number) => number.as_i64().map(Cell::Integer),
        Value::Object(_) => match (value["real"].as_str(), value["blob"].as_str()) {
            (Some(real), _) => real.parse().ok().map(Cell::Real),
            (None, Some(hex)) => bytes(hex).map(Cell::Blob),
            (None, None) => None,
        },
        Value::Bool(_) | Value::Array(_) => None,
    }
}

/// A value of a row; text that is not UTF-8 is lossy.
pub(super) fn to_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!({"real": format!("{number:?}")}),
        ValueRef::Text(bytes) => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => json!({"blob": common::hex(bytes)}),
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.chunks(2).map(|pair| Some(digit(pair.first()?)? * 16 + digit(pair.get(1)?)?));
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_comes_back(number in any::<i64>(), real in any::<f64>(), text in "\\PC{0,20}", blob in prop::collection::vec(any::<u8>(), 0..20)) {
            let cells = [Cell::Integer(number), Cell::Text(text), Cell::Blob(blob), Cell::Null];
            for cell in cells {
                prop_assert_eq!(from_json(&to_json(ValueRef::from(&cell))), Some(cell));
            }
            if let Some(Cell::Real(back)) = from_json(&to_json(ValueRef::Real(real))) {
                prop_assert!(back.to_bits() == real.to_bits() || real.is_nan());
            } else {
                prop_assert!(false);
            }
        }
    }
}
