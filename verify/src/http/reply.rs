//! What a server answered, its body as text.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use crate::finding::Finding;

/// Of a text so many characters are shown.
pub(crate) const EXCERPT: usize = 200;
const AROUND: usize = 60;
/// What a template engine writes for the characters that HTML reserves.
const ENTITIES: [(&str, &str); 8] = [
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#34;", "\""),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&nbsp;", "\u{a0}"),
    ("&amp;", "&"),
];

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body as it was sent.
    pub(crate) text: String,
    /// From the request's first byte to the body's last.
    pub(crate) elapsed: Duration,
    /// What is wrong with the body's encoding.
    pub(crate) unreadable: Option<Finding>,
}

impl Reply {
    pub(crate) fn new(status: u16, headers: HeaderMap, body: &[u8], elapsed: Duration) -> Self {
        let (text, unreadable) = decode(&headers, body);
        Self { status, headers, text, elapsed, unreadable }
    }

    /// A header's value, when there is one that is text.
    pub(crate) fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
    }

    pub(crate) fn is_html(&self) -> bool {
        is_html(&self.headers)
    }

    pub(crate) fn is_style(&self) -> bool {
        is_style(&self.headers)
    }

    /// The texts of `absent` that the page shows.
    pub(crate) fn unwanted(&self, absent: &[String]) -> Vec<Finding> {
        let finding = |text: &String| {
            let place = self.find(text)?;
            let phrase = format!("shows '{text}', which no page may");
            Some(Finding::new("text-present", phrase).line("excerpt", place))
        };
        absent.iter().filter_map(finding).collect()
    }

    /// Where `needle` stands, as written or behind HTML's escapes: the text around it.
    pub(crate) fn find(&self, needle: &str) -> Option<String> {
        if let Some(at) = self.text.find(needle) {
            return Some(around(&self.text, at, needle.len()));
        }
        if !self.text.contains('&') || !needle.contains(['<', '>', '&', '"', '\'', '\u{a0}']) {
            return None;
        }
        let plain = unescape(&self.text);
        plain.find(needle).map(|at| around(&plain, at, needle.len()))
    }

    /// The beginning of what a reader sees, in one line.
    pub(crate) fn excerpt(&self) -> String {
        let text = if self.is_html() { Cow::Owned(visible(&self.text)) } else { Cow::Borrowed(&self.text) };
        shorten(&text, EXCERPT)
    }
}

pub(super) fn is_html(headers: &HeaderMap) -> bool {
    is_of_kind(headers, "html")
}

pub(super) fn is_style(headers: &HeaderMap) -> bool {
    is_of_kind(headers, "text/css")
}

fn is_of_kind(headers: &HeaderMap, part: &str) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase().contains(part))
}

fn decode(headers: &HeaderMap, body: &[u8]) -> (String, Option<Finding>) {
    let header =
        |name| headers.get(name).and_then(|value: &reqwest::header::HeaderValue| value.to_str().ok());
    if let Some(coding) = header(CONTENT_ENCODING).filter(|coding| *coding != "identity") {
        let finding =
            Finding::new("encoding-unasked", format!("sends a {coding} body that nobody asked for"));
        return (String::from_utf8_lossy(body).into_owned(), Some(finding));
    }
    let kind = header(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
    let charset = kind.split("charset=").nth(1).map(|rest| rest.trim_matches(['"', ' ', ';']));
    match (charset.unwrap_or("utf-8"), std::str::from_utf8(body)) {
        ("utf-8" | "utf8" | "us-ascii", Ok(text)) => (text.to_owned(), None),
        ("utf-8" | "utf8" | "us-ascii", Err(error)) => {
            let text = String::from_utf8_lossy(body).into_owned();
            let textual = kind.starts_with("text/") || kind.contains("json") || kind.contains("xml");
            let finding = Finding::new("charset-wrong", "sends text that is not in its charset")
                .line("expected", charset.unwrap_or("utf-8"))
                .line("actual", format!("another encoding from byte {} on", error.valid_up_to()));
            (text, textual.then_some(finding))
        }
        ("iso-8859-1" | "latin-1" | "latin1" | "windows-1252", _) => {
            (body.iter().map(|byte| char::from(*byte)).collect(), None)
        }
        (other, text) => {
            let finding =
                Finding::new("charset-wrong", format!("declares the charset '{other}', unknown here"));
            let plain = text.is_ok_and(str::is_ascii);
            (String::from_utf8_lossy(body).into_owned(), (!plain).then_some(finding))
        }
    }
}

fn unescape(text: &str) -> String {
    ENTITIES.iter().fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

/// The text between tags; good enough for an excerpt.
fn visible(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text.push_str(before);
        text.push(' ');
        let closing = ["script", "style", "head"].into_iter().find(|tag| after.starts_with(tag));
        let end = closing.and_then(|tag| after.find(&format!("</{tag}"))).unwrap_or_default();
        rest = after[end..].split_once('>').map_or("", |(_, tail)| tail);
    }
    text.push_str(rest);
    unescape(&text)
}

fn around(text: &str, at: usize, length: usize) -> String {
    let start = text[..at].char_indices().rev().nth(AROUND).map_or(0, |(index, _)| index);
    let end = (at + length..text.len()).filter(|end| text.is_char_boundary(*end)).nth(AROUND);
    let begun = if start > 0 { "…" } else { "" };
    let ended = if end.is_some() { "…" } else { "" };
    let shown = shorten(&text[start..end.unwrap_or(text.len())], 2 * AROUND + length);
    format!("{begun}{}{ended}", shown.trim_end_matches('…'))
}

/// The text in one line of at most `limit` characters.
pub(crate) fn shorten(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut short: String = line.chars().take(limit).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(kind: &str, body: &[u8]) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, kind.parse().unwrap());
        Reply::new(200, headers, body, Duration::ZERO)
    }

    #[test]
    fn texts_are_found_behind_escapes() {
        let page = reply("text/html", b"<p>Tom &amp; Jerry&#39;s &lt;house&gt;</p>");
        assert!(page.find("Tom & Jerry's <house>").is_some());
        assert!(page.find("Tom &amp; Jerry").is_some());
        assert!(page.find("Tom and").is_none());
    }

    #[test]
    fn an_excerpt_shows_what_a_reader_sees() {
        let page = reply(
            "text/html",
            "<html><head><title>T</title></head><script>if(a<b)</script><p>Ü  ok\n&amp; so</p>".as_bytes(),
        );
        assert_eq!(page.excerpt(), "Ü ok & so");
        let long = reply("text/plain", "é".repeat(500).as_bytes());
        assert_eq!(long.excerpt().chars().count(), EXCERPT + 1);
        assert!(
            reply("text/plain", "ääää needle öööö".as_bytes())
                .find("needle")
                .unwrap()
                .contains("ääää needle öööö")
        );
    }

    #[test]
    fn charsets_are_believed_only_when_they_fit() {
        assert!(reply("text/html", b"caf\xe9").unreadable.is_some());
        assert!(reply("text/html; charset=klingon", b"caf\xe9").unreadable.is_some());
        assert!(reply("image/png", b"\x89PNG\xe9").unreadable.is_none());
        let latin = reply("text/html; charset=ISO-8859-1", b"caf\xe9");
        assert!(latin.unreadable.is_none() && latin.find("café").is_some());
    }
}
