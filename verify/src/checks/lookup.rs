//! Where a value stands in a JSON document: `items[0].name`, `["odd key"].x`, `items.length`.

use serde_json::Value;

/// A way through a document, known to be well written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lookup {
    written: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Lookup {
    /// Reads what is written; `$` in front, as elsewhere, is the document itself.
    pub(super) fn read(written: &str) -> Option<Self> {
        let mut rest = written.strip_prefix('$').unwrap_or(written);
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, tail) = match rest.strip_prefix('[') {
                Some(inside) => bracketed(inside)?,
                None => named(rest.strip_prefix('.').unwrap_or(rest))?,
            };
            steps.push(step);
            rest = tail;
        }
        (!written.is_empty()).then(|| Self { written: written.to_owned(), steps })
    }

    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// The value there; `length` of a list or a text is its number of items or characters.
    pub(crate) fn find(&self, document: &Value) -> Option<Value> {
        let mut at = document;
        for (number, step) in self.steps.iter().enumerate() {
            let is_last = number + 1 == self.steps.len();
            at = match (step, at) {
                (Step::Key(key), Value::Object(members)) => members.get(key)?,
                (Step::Index(index), Value::Array(items)) => items.get(*index)?,
                (Step::Key(key), Value::Array(items)) if is_last && key == "length" => {
                    return Some(items.len().into());
                }
                (Step::Key(key), Value::String(text)) if is_last && key == "length" => {
                    return Some(text.chars().count().into());
                }
                _ => return None,
            };
        }
        Some(at.clone())
    }
}

fn bracketed(inside: &str) -> Option<(Step, &str)> {
    if let Some(quote) = inside.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let (key, tail) = inside[1..].split_once(quote)?;
        return Some((Step::Key(key.to_owned()), tail.strip_prefix(']')?));
    }
    let (number, tail) = inside.split_once(']')?;
    Some((Step::Index(number.parse().ok()?), tail))
}

fn named(rest: &str) -> Option<(Step, &str)> {
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    (end > 0).then(|| (Step::Key(rest[..end].to_owned()), &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_found_by_key_index_and_length() {
        let document = json!({"items": [{"name": "x", "a.b": true}, null], "length": 7, "text": "äö"});
        let find = |written: &str| Lookup::read(written).unwrap().find(&document);
        assert_eq!(find("items[0].name"), Some(json!("x")));
        assert_eq!(find("$.items[0][\"a.b\"]"), Some(json!(true)));
        assert_eq!(
            (find("items.length"), find("length"), find("text.length")),
            (Some(json!(2)), Some(json!(7)), Some(json!(2)))
        );
        assert_eq!((find("items[1]"), find("items[2]"), find("items.name")), (Some(Value::Null), None, None));
        assert_eq!(find("$"), Some(document.clone()));
        for bad in ["", "a..b", "a[", "a[x]", "a[\"b]", "."] {
            assert_eq!(Lookup::read(bad), None, "{bad}");
        }
    }
}
