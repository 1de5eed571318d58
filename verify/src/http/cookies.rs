//! The cookies of one session. Scope is not kept: one app on one address is all we ask.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, SET_COOKIE};

/// Cookies by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Jar(BTreeMap<String, String>);

impl Jar {
    /// Takes what an answer sets, and drops what it expires.
    pub(crate) fn absorb(&mut self, headers: &HeaderMap) {
        for value in headers.get_all(SET_COOKIE) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            if value.is_empty() || parts.any(expires) {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The `Cookie` header, when there is anything to send.
    pub(crate) fn header(&self) -> Option<String> {
        let pairs: Vec<String> = self.pairs().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

fn expires(attribute: &str) -> bool {
    let attribute = attribute.to_ascii_lowercase();
    let age = attribute.strip_prefix("max-age=").and_then(|age| age.parse::<i64>().ok());
    age.is_some_and(|age| age <= 0) || attribute.starts_with("expires=thu, 01 jan 1970")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_replaced_and_expired() {
        let mut jar = Jar::default();
        let mut set = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(SET_COOKIE, value.parse().unwrap());
            }
            jar.absorb(&headers);
            jar.header()
        };
        assert_eq!(set(&["a=1; Path=/; HttpOnly", "b=x=y; Secure"]).unwrap(), "a=1; b=x=y");
        assert_eq!(set(&["a=2", "b=; Max-Age=0"]).unwrap(), "a=2");
        assert_eq!(set(&["a=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "nonsense"]), None);
    }
}
