//! A value taken from an answer for later routes: `css: a.doc @href`, `regex: id=(\d+)`,
//! `json: items[0].id`, `header: location`.

use regex::Regex;
use scraper::Selector;
use serde_json::Value;

use super::lookup::Lookup;
use crate::http::{Document, Reply};

/// Where in an answer the value stands.
#[derive(Debug, Clone)]
pub(crate) enum Capture {
    /// Text, or an attribute, of the first element that matches.
    Css {
        selector: String,
        attribute: Option<String>,
    },
    /// The first group, or all of what matches.
    Regex(Box<Regex>),
    Json(Lookup),
    Header(String),
}

impl Capture {
    /// Reads what is written; the error is a sentence.
    pub(super) fn read(written: &str) -> Result<Self, String> {
        let (kind, what) = written.split_once(':').unwrap_or(("", written));
        let what = what.trim();
        match kind.trim() {
            "css" => {
                let (selector, attribute) = match what.rsplit_once('@') {
                    Some((selector, attribute)) => (selector.trim(), Some(attribute.trim().to_owned())),
                    None => (what, None),
                };
                let selector = selector.to_owned();
                check_selector(&selector).map(|()| Self::Css { selector, attribute })
            }
            "regex" => Ok(Self::Regex(Box::new(read_regex(what)?))),
            "json" => Lookup::read(what).map(Self::Json).ok_or_else(|| not_a_lookup(what)),
            "header" => Ok(Self::Header(what.to_owned())),
            _ => Err(format!("'{written}' does not begin with css:, regex:, json: or header:")),
        }
    }

    /// The value, when the answer has it.
    pub(crate) fn take(&self, reply: &Reply) -> Option<String> {
        let value = match self {
            Self::Css { selector, attribute } => {
                let document = Document::read(&reply.text).tree;
                let element = document.select(&Selector::parse(selector).ok()?).next()?;
                match attribute {
                    Some(name) => element.attr(name)?.to_owned(),
                    None => element.text().collect::<String>(),
                }
            }
            Self::Regex(regex) => {
                let found = regex.captures(&reply.text)?;
                found.get(1).or(found.get(0))?.as_str().to_owned()
            }
            Self::Json(lookup) => match lookup.find(&serde_json::from_str(&reply.text).ok()?)? {
                Value::String(text) => text,
                Value::Null => return None,
                value => value.to_string(),
            },
            Self::Header(name) => reply.header(name)?.into_owned(),
        };
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }
}

/// The error is a sentence.
pub(super) fn check_selector(text: &str) -> Result<(), String> {
    Selector::parse(text).map(drop).map_err(|error| format!("'{text}' is not a CSS selector: {error}"))
}

/// The error is a sentence.
pub(super) fn read_regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let last = error.to_string().lines().last().unwrap_or_default().to_owned();
        format!("'{text}' is not a regular expression: {last}")
    })
}

pub(super) fn not_a_lookup(text: &str) -> String {
    format!("'{text}' is no place in a JSON document, such as items[0].name")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::HeaderMap;

    use super::*;

    #[test]
    fn values_are_taken_from_all_parts_of_an_answer() {
        let taken = |written: &str, body: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("location", "/doc/7".parse().unwrap());
            let reply = Reply::new(200, headers, body.as_bytes(), Duration::ZERO);
            Capture::read(written).unwrap().take(&reply)
        };
        let html = "<a class=x href='/a&amp;b'> one </a><a class=x>two</a>";
        assert_eq!(taken("css: a.x", html).as_deref(), Some("one"));
        assert_eq!(taken("css:a.x @href", html).as_deref(), Some("/a&b"));
        assert_eq!(taken("css: a[class=x]@none", html), None);
        assert_eq!(taken(r"regex: id=(\d+)", "id=12;").as_deref(), Some("12"));
        assert_eq!(taken(r"regex: \d+", "id=12;").as_deref(), Some("12"));
        assert_eq!(taken("json: a[0].id", r#"{"a": [{"id": 5}]}"#).as_deref(), Some("5"));
        assert_eq!(taken("json: a", r#"{"a": null}"#), None);
        assert_eq!(taken("header: Location", "").as_deref(), Some("/doc/7"));
        for bad in ["x", "xpath: //a", "css: <<", "regex: (", "json: a["] {
            assert!(Capture::read(bad).is_err(), "{bad}");
        }
    }
}
