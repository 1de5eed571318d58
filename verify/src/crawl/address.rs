//! Where a link leads: into this app, to another place of this host, elsewhere, or nowhere.

use std::net::IpAddr;

use common::address::Address;
use reqwest::Url;

/// Words of a path that a visitor reads as a deed, not as a page.
const DEEDS: [&str; 9] =
    ["logout", "signout", "logoff", "delete", "remove", "destroy", "unsubscribe", "log-out", "sign-out"];

/// Where one link leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// A path with its query in this app, and what stands behind `#`, decoded.
    Own { path: String, fragment: Option<String> },
    /// An address that only this host, or another environment of the app, has.
    Local(String),
    /// A page of somebody else.
    External(String),
    /// Nothing that can be asked over HTTP: `mailto:`, `javascript:` and the like.
    Other,
    /// No address at all; as written.
    Broken(String),
}

/// Knows this app's own addresses and those of its other environments.
#[derive(Debug, Clone)]
pub(crate) struct Atlas {
    base: Url,
    own: Vec<String>,
    elsewhere: Vec<String>,
}

impl Atlas {
    /// `own` and `elsewhere` are hosts, with a port where one is meant.
    pub(crate) fn new(base: &Url, own: Vec<String>, elsewhere: &[Address]) -> Self {
        let elsewhere = elsewhere.iter().map(ToString::to_string).collect();
        Self { base: base.clone(), own, elsewhere }
    }

    /// What links on the page at `path` are relative to; `base` is what its own `<base>` says.
    pub(crate) fn page(&self, path: &str, base: Option<&str>) -> Url {
        let page = self.base.join(path).unwrap_or_else(|_| self.base.clone());
        base.and_then(|base| page.join(base.trim()).ok()).unwrap_or(page)
    }

    /// Where `written` on a page leads.
    pub(crate) fn locate(&self, page: &Url, written: &str) -> Target {
        let Ok(url) = page.join(written.trim()) else { return Target::Broken(written.to_owned()) };
        if !matches!(url.scheme(), "http" | "https") {
            return Target::Other;
        }
        if self.is_own(&url) {
            let fragment = url.fragment().filter(|text| is_position(text)).map(decode);
            return Target::Own { path: path_of(&url), fragment };
        }
        let mut plain = url.clone();
        plain.set_fragment(None);
        if self.is_local(&url) { Target::Local(plain.into()) } else { Target::External(plain.into()) }
    }

    fn is_own(&self, url: &Url) -> bool {
        let same = url.host() == self.base.host()
            && url.port_or_known_default() == self.base.port_or_known_default();
        same || self.own.iter().any(|name| names(url, name))
    }

    fn is_local(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let inside = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
        inside
            || host == "localhost"
            || host.ends_with(".localhost")
            || self.elsewhere.iter().any(|name| names(url, name))
    }
}

/// Path and query, as they are asked.
pub(crate) fn path_of(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// Whether a GET of the path may do something: it has a word such as `logout` or `delete` in it.
pub(crate) fn is_deed(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace('_', "-");
    let words = path.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.flat_map(parts).any(|word| DEEDS.contains(&word))
}

/// `log-out-now` as a whole, by its words, and by its pairs of words.
fn parts(word: &str) -> Vec<&str> {
    let starts: Vec<usize> =
        std::iter::once(0).chain(word.match_indices('-').map(|(at, _)| at + 1)).collect();
    let ends: Vec<usize> = word.match_indices('-').map(|(at, _)| at).chain([word.len()]).collect();
    let singles = starts.iter().zip(&ends).map(|(start, end)| &word[*start..*end]);
    let pairs = starts.iter().zip(ends.iter().skip(1)).map(|(start, end)| &word[*start..*end]);
    singles.chain(pairs).collect()
}

/// What a script of the page reads, such as `#/inbox` or `#!x`, and the top are no positions.
fn is_position(fragment: &str) -> bool {
    !fragment.is_empty() && !fragment.starts_with(['/', '!', ':']) && !fragment.eq_ignore_ascii_case("top")
}

/// Without percent signs, as far as they stand for UTF-8.
pub(crate) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        if let Some(byte) = code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a URL is at `name`: a host at any port, or a host with its port.
fn names(url: &Url, name: &str) -> bool {
    let host = url.host_str().unwrap_or_default();
    let with_port = || format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    name.eq_ignore_ascii_case(host) || name.eq_ignore_ascii_case(&with_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atlas() -> Atlas {
        let base = Url::parse("http://127.0.0.1:8000/").unwrap();
        let dev = "10.0.0.5:8001".parse().unwrap();
        Atlas::new(&base, vec!["viewer.example".into(), "127.0.0.1:9000".into()], &[dev])
    }

    fn own(path: &str, fragment: Option<&str>) -> Target {
        Target::Own { path: path.into(), fragment: fragment.map(str::to_owned) }
    }

    #[test]
    fn links_lead_into_the_app_or_elsewhere() {
        let page = atlas().page("/a/b?c", None);
        let locate = |written: &str| atlas().locate(&page, written);
        assert_eq!(locate("../x y?q=1#s%C3%A9"), own("/x%20y?q=1", Some("sé")));
        assert_eq!(locate(" #here "), own("/a/b?c", Some("here")));
        assert_eq!(locate(""), own("/a/b?c", None));
        for nothing in ["#", "#top", "#/route", "#!x", "#:~:text=x"] {
            assert_eq!(locate(nothing), own("/a/b?c", None), "{nothing}");
        }
        assert_eq!(locate("https://Viewer.example/doc/"), own("/doc/", None));
        assert_eq!(locate("http://127.0.0.1:9000/x"), own("/x", None));
        assert_eq!(locate("//other.example/x#y"), Target::External("http://other.example/x".into()));
        for local in
            ["http://localhost:5000/", "http://[::1]/", "http://127.0.0.1:8001/", "http://10.0.0.5:8001/x"]
        {
            assert!(matches!(locate(local), Target::Local(_)), "{local}");
        }
        for other in ["mailto:a@b", "javascript:void(0)", "tel:1", "data:,x"] {
            assert_eq!(locate(other), Target::Other, "{other}");
        }
        assert_eq!(locate("http://[bad"), Target::Broken("http://[bad".into()));
        let based = atlas().page("/a", Some("/deep/er/"));
        assert_eq!(atlas().locate(&based, "x"), own("/deep/er/x", None));
    }

    #[test]
    fn deeds_are_told_by_their_words() {
        for deed in
            ["/logout", "/auth/Log_Out/", "/sign-out?x", "/doc/7/delete", "/x?action=remove", "/a-delete-b"]
        {
            assert!(is_deed(deed), "{deed}");
        }
        for page in ["/", "/login/", "/removed/", "/blog/outing", "/deleted-items", "/catalogout"] {
            assert!(!is_deed(page), "{page}");
        }
    }
}
