//! One rule of an app's routing, whichever framework wrote it, and the paths that it means.

use crate::checks::placeholder::{self, Part};
use crate::crawl::address::decode;

/// A rule and the methods it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// With placeholders as `<name>`.
    pub(crate) text: String,
    /// In upper case; empty when the listing does not tell.
    pub(crate) methods: Vec<String>,
    /// Whether it cannot be asked without a query.
    pub(crate) needs_query: bool,
    pub(super) parts: Vec<Part>,
}

impl Rule {
    /// Reads a rule as Flask, Starlette, OpenAPI, Express or Rails write it; `None` when it is none.
    pub(super) fn read(text: &str, methods: &[&str]) -> Option<Self> {
        let text = in_one_form(text.trim());
        let parts = placeholder::split(&text).ok().filter(|_| text.starts_with('/'))?;
        let methods = methods.iter().map(|method| method.trim().to_ascii_uppercase());
        let methods = methods.filter(|method| !method.is_empty()).collect();
        Some(Self { text, methods, needs_query: false, parts })
    }

    /// Whether a method is answered, as far as the listing tells.
    pub(crate) fn answers(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|known| known == method || known == "ANY")
    }

    /// Whether it is one path, which can be asked as it is.
    pub(crate) fn is_plain(&self) -> bool {
        !self.needs_query && self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Whether a path, with or without a query, is meant.
    pub(crate) fn means(&self, path: &str) -> bool {
        fits(&self.parts, path.split('?').next().unwrap_or(path)).is_some()
    }

    /// The values that a path gives the placeholders, decoded.
    pub(crate) fn values(&self, path: &str) -> Option<Vec<(String, String)>> {
        let values = fits(&self.parts, path)?;
        let names = placeholder::names(&self.parts).map(str::to_owned);
        Some(names.zip(values.into_iter().map(decode)).collect())
    }
}

/// What stands in the holes, when the path fits.
fn fits<'p>(parts: &[Part], path: &'p str) -> Option<Vec<&'p str>> {
    let Some((first, rest)) = parts.split_first() else { return path.is_empty().then(Vec::new) };
    match first {
        Part::Text(text) => fits(rest, path.strip_prefix(text.as_str())?),
        Part::Hole { keeps_slashes, .. } => {
            let end = if *keeps_slashes { path.len() } else { path.find('/').unwrap_or(path.len()) };
            let ends = path[..end].char_indices().map(|(at, c)| at + c.len_utf8());
            ends.rev().find_map(|end| {
                let mut values = fits(rest, &path[end..])?;
                values.insert(0, &path[..end]);
                Some(values)
            })
        }
    }
}

/// `{id}`, `{file:path}`, `:id` and `*file` as `<id>` and `<path:file>`.
fn in_one_form(text: &str) -> String {
    let text = text.trim_end_matches("(.:format)");
    let segments = text.split('/').map(|segment| {
        if let Some(name) = segment.strip_prefix(':').filter(|name| is_name(name)) {
            return format!("<{name}>");
        }
        if let Some(name) = segment.strip_prefix('*') {
            return format!("<path:{}>", if is_name(name) { name } else { "rest" });
        }
        braces(segment)
    });
    segments.collect::<Vec<_>>().join("/")
}

fn braces(segment: &str) -> String {
    let mut text = String::new();
    let mut rest = segment;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inside, tail)) = after.split_once('}') else { break };
        let (name, converter) = inside.split_once(':').unwrap_or((inside, ""));
        let converter = if converter == "path" { "path:" } else { "" };
        text = format!("{text}{before}<{converter}{}>", name.replace(['-', '.'], "_"));
        rest = tail;
    }
    text + rest
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_all_frameworks_mean_their_paths() {
        for (rule, path) in [
            ("/doc/<name>/", "/doc/a-b/?x=1"),
            ("/doc/<int:n>/<string(length=2):l>", "/doc/7/en"),
            ("/static/<path:filename>", "/static/a/b.css"),
            ("/x/{item-id}", "/x/1"),
            ("/x/{file:path}/raw", "/x/a/b/raw"),
            ("/users/:id/edit(.:format)", "/users/7/edit"),
            ("/files/*rest", "/files/a/b"),
            ("/a.<ext>", "/a.json"),
        ] {
            let read = Rule::read(rule, &["get"]).unwrap();
            assert!(read.means(path) && !read.is_plain(), "{rule} {path}");
            assert!(!read.means("/other") && read.answers("GET") && !read.answers("POST"), "{rule}");
        }
        let plain = Rule::read("/doc/all/", &[]).unwrap();
        assert!(
            plain.is_plain() && plain.means("/doc/all/") && !plain.means("/doc/all") && plain.answers("PUT")
        );
        let two = Rule::read("/a/<x>/<path:rest>", &[]).unwrap();
        let value = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(two.values("/a/b%20c/d/e"), Some(vec![value("x", "b c"), value("rest", "d/e")]));
        assert!(!Rule::read("/doc/<name>/", &[]).unwrap().means("/doc//"));
        assert!(!Rule::read("/doc/<name>", &[]).unwrap().means("/doc/a/b"));
        assert_eq!((Rule::read("doc", &[]), Rule::read("/<a", &[])), (None, None));
    }
}
