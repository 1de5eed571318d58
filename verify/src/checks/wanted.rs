//! What a value or a number must be: `3`, `">=1"`, `"x"`, `true`.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// An expectation of one value.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "Value")]
pub(crate) enum Wanted {
    /// A number within a bound.
    Bound(Bound, f64),
    Exactly(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// Longer signs first.
const SIGNS: [(&str, Bound); 4] =
    [(">=", Bound::AtLeast), ("<=", Bound::AtMost), (">", Bound::Above), ("<", Bound::Below)];

impl From<Value> for Wanted {
    fn from(value: Value) -> Self {
        let bound = value.as_str().and_then(|text| {
            let (sign, bound) = SIGNS.into_iter().find(|(sign, _)| text.starts_with(sign))?;
            Some(Self::Bound(bound, text[sign.len()..].trim().parse().ok()?))
        });
        bound.unwrap_or(Self::Exactly(value))
    }
}

impl Wanted {
    /// Whether a value is as it must be; `3` and `3.0` are one number.
    pub(crate) fn is_met_by(&self, value: &Value) -> bool {
        match (self, value.as_f64()) {
            (Self::Bound(bound, limit), Some(number)) => match bound {
                Bound::AtLeast => number >= *limit,
                Bound::AtMost => number <= *limit,
                Bound::Above => number > *limit,
                Bound::Below => number < *limit,
            },
            (Self::Bound(..), None) => false,
            (Self::Exactly(wanted), Some(number)) if wanted.is_f64() || value.is_f64() => {
                wanted.as_f64().is_some_and(|wanted| wanted.total_cmp(&number).is_eq())
            }
            (Self::Exactly(wanted), _) => wanted == value,
        }
    }

    /// A text that is not a bound.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Exactly(value) => value.as_str(),
            Self::Bound(..) => None,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => write!(f, "{value}"),
            Self::Bound(bound, limit) => {
                let sign = SIGNS.into_iter().find(|(_, other)| other == bound).map_or("", |(sign, _)| sign);
                write!(f, "{sign}{limit}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_have_bounds_and_other_values_are_equal_or_not() {
        let met = |wanted: Value, value: Value| Wanted::from(wanted).is_met_by(&value);
        assert!(met(json!(3), json!(3)) && met(json!(3), json!(3.0)) && !met(json!(3), json!("3")));
        assert!(met(json!(">=1"), json!(1)) && !met(json!("> 1"), json!(1)) && met(json!("<2.5"), json!(2)));
        assert!(!met(json!("<=1"), json!("x")) && met(json!("<=1"), json!(1)));
        assert!(
            met(json!("x"), json!("x")) && met(json!(true), json!(true)) && !met(json!("x"), json!(["x"]))
        );
        assert_eq!(Wanted::from(json!(">= 2")).to_string(), ">=2");
        assert_eq!(
            (Wanted::from(json!("a>b")).text(), Wanted::from(json!(">b")).text()),
            (Some("a>b"), Some(">b"))
        );
    }
}
