//! What is kept of a page: its title, the places that can be pointed at, its links and its forms.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use scraper::ElementRef;

use super::{attribute, style};
use crate::http::Document;

/// Relations of `<link>` that name something a browser fetches for the page.
const FETCHED: [&str; 7] =
    ["stylesheet", "icon", "preload", "modulepreload", "manifest", "apple-touch-icon", "mask-icon"];
/// Relations of `<link>` that name another page.
const PAGES: [&str; 4] = ["alternate", "canonical", "next", "prev"];

/// One page, without its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sheet {
    pub(crate) title: Option<String>,
    /// What `<base href>` says.
    pub(crate) base: Option<String>,
    /// Hashes of the ids, and of the names of anchors.
    pub(crate) places: HashSet<u64>,
    pub(crate) links: Vec<Link>,
    pub(crate) forms: Vec<FormSeen>,
    /// Whether all of the page could be read.
    pub(crate) is_whole: bool,
}

/// A link as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) written: String,
    pub(crate) kind: Kind,
}

/// Whether a visitor follows a link, or the browser fetches it for the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Page,
    Asset,
}

/// A form as a browser would send it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FormSeen {
    /// `#id`, or the name.
    pub(crate) label: Option<String>,
    /// As written, in upper case; `GET` when nothing is written.
    pub(crate) method: String,
    /// As written; empty for the page itself.
    pub(crate) action: String,
    /// Names of the hidden inputs that have a value.
    pub(crate) hidden: Vec<String>,
    /// Required inputs without a name: nothing would be sent of them.
    pub(crate) nameless: Vec<String>,
}

impl Link {
    pub(super) fn to_page(written: &str) -> Self {
        Self { written: written.to_owned(), kind: Kind::Page }
    }
}

impl Sheet {
    /// Reads a page.
    pub(crate) fn read(html: &str) -> Self {
        let document = Document::read(html);
        let mut sheet = Self { is_whole: document.is_whole, ..Self::default() };
        for element in document.tree.tree.nodes().filter_map(ElementRef::wrap) {
            if let Some(id) = element.attr("id") {
                sheet.places.insert(hash(id));
            }
            if let Some(style) = element.attr("style").filter(|style| style.contains('(')) {
                sheet.add_style(style);
            }
            sheet.note(element);
        }
        sheet
    }

    /// Reads a style sheet.
    pub(crate) fn read_style(css: &str) -> Self {
        let mut sheet = Self { is_whole: true, ..Self::default() };
        sheet.add_style(css);
        sheet
    }

    /// Whether the page has a place of that name.
    pub(crate) fn has_place(places: &HashSet<u64>, name: &str) -> bool {
        places.contains(&hash(name))
    }

    fn note(&mut self, element: ElementRef<'_>) {
        let (page, asset) = (Kind::Page, Kind::Asset);
        match element.value().name() {
            "a" => {
                self.places.extend(element.attr("name").map(hash));
                self.add(element, "href", page);
            }
            "area" => self.add(element, "href", page),
            "iframe" | "frame" => self.add(element, "src", page),
            "img" | "source" => {
                self.add(element, "src", asset);
                self.add_set(element);
            }
            "script" | "audio" | "track" | "embed" => self.add(element, "src", asset),
            "video" => {
                self.add(element, "src", asset);
                self.add(element, "poster", asset);
            }
            "object" => self.add(element, "data", asset),
            "input" if element.attr("type").is_some_and(|kind| kind.eq_ignore_ascii_case("image")) => {
                self.add(element, "src", asset);
            }
            "link" => self.add_relation(element),
            "style" => self.add_style(&element.text().collect::<String>()),
            "meta" => self.add_refresh(element),
            "base" if self.base.is_none() => self.base = element.attr("href").map(str::to_owned),
            "title" if self.title.is_none() && !is_within(element, "svg") => {
                self.title = Some(title(element));
            }
            "form" => self.forms.push(form(element)),
            _ => {}
        }
    }

    fn add(&mut self, element: ElementRef<'_>, attribute: &str, kind: Kind) {
        if let Some(written) = element.attr(attribute) {
            self.links.push(Link { written: written.to_owned(), kind });
        }
    }

    fn add_style(&mut self, css: &str) {
        let links = style::addresses(css).into_iter().map(|written| Link { written, kind: Kind::Asset });
        self.links.extend(links);
    }

    fn add_set(&mut self, element: ElementRef<'_>) {
        let addresses = attribute::candidates(element.attr("srcset").unwrap_or_default());
        let links = addresses.into_iter().map(|written| Link { written: written.into(), kind: Kind::Asset });
        self.links.extend(links);
    }

    fn add_relation(&mut self, element: ElementRef<'_>) {
        let relation = element.attr("rel").unwrap_or_default().to_ascii_lowercase();
        let is = |known: &[&str]| relation.split_whitespace().any(|word| known.contains(&word));
        if is(&FETCHED) {
            self.add(element, "href", Kind::Asset);
        } else if is(&PAGES) {
            self.add(element, "href", Kind::Page);
        }
    }

    /// `<meta http-equiv=refresh content="0; url=/x">`
    fn add_refresh(&mut self, element: ElementRef<'_>) {
        let refreshes = element.attr("http-equiv").is_some_and(|name| name.eq_ignore_ascii_case("refresh"));
        let target = element.attr("content").filter(|_| refreshes).and_then(attribute::refresh);
        self.links.extend(target.map(Link::to_page));
    }
}

fn form(element: ElementRef<'_>) -> FormSeen {
    let attribute = |name| element.attr(name).unwrap_or_default().trim();
    let method = match attribute("method") {
        "" => "GET".to_owned(),
        method => method.to_ascii_uppercase(),
    };
    let label = match (attribute("id"), attribute("name")) {
        ("", "") => None,
        ("", name) => Some(name.to_owned()),
        (id, _) => Some(format!("#{id}")),
    };
    let mut seen = FormSeen { label, method, action: attribute("action").to_owned(), ..FormSeen::default() };
    for input in element.descendent_elements() {
        let of = |name: &str| input.attr(name).unwrap_or_default();
        if !matches!(input.value().name(), "input" | "select" | "textarea") {
            continue;
        }
        if of("type").eq_ignore_ascii_case("hidden") && !of("name").is_empty() && !of("value").is_empty() {
            seen.hidden.push(of("name").to_owned());
        }
        if input.attr("required").is_some() && of("name").is_empty() {
            let named = [of("id"), of("type")].into_iter().find(|text| !text.is_empty());
            seen.nameless.push(named.unwrap_or_else(|| input.value().name()).to_owned());
        }
    }
    seen
}

fn title(element: ElementRef<'_>) -> String {
    element.text().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_within(element: ElementRef<'_>, name: &str) -> bool {
    element.ancestors().any(|node| node.value().as_element().is_some_and(|parent| parent.name() == name))
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(html: &str) -> Vec<(String, Kind)> {
        Sheet::read(html).links.into_iter().map(|link| (link.written, link.kind)).collect()
    }

    #[test]
    fn links_are_read_as_a_browser_does() {
        let html = r#"<head><link rel=stylesheet href=/s.css><link rel="shortcut icon" href=/i.svg>
            <link rel=preconnect href=//cdn.example><link rel=canonical href=/c>
            <meta http-equiv=Refresh content="5; URL='/later'"></head>
            <A HREF=/a?x=1&amp;y=2>a</A><script>var x = "<a href=/script>"</script><!-- <a href=/comment> -->
            <textarea><a href=/text></textarea><script src=/s.js></script>
            <img src=/i.png srcset="/i2.png 2x, /i3.png 3x"><picture><source srcset="/w.webp"></picture>
            <img srcset="data:image/png;base64,x, y 2x"><video src=/v.mp4 poster=/v.png></video><iframe src=/frame>"#;
        let page = |path: &str| (path.to_owned(), Kind::Page);
        let asset = |path: &str| (path.to_owned(), Kind::Asset);
        assert_eq!(
            links(html),
            [
                asset("/s.css"),
                asset("/i.svg"),
                page("/c"),
                page("/later"),
                page("/a?x=1&y=2"),
                asset("/s.js"),
                asset("/i.png"),
                asset("/i2.png"),
                asset("/i3.png"),
                asset("/w.webp"),
                asset("data:image/png;base64,x"),
                asset("y"),
                asset("/v.mp4"),
                asset("/v.png"),
                page("/frame"),
            ]
        );
    }

    #[test]
    fn styles_of_a_page_name_assets() {
        let html = r#"<style>@import "/a.css"; p { background: url(b.png) }</style><base href=/x/>
            <p style="background: url('/c.png')">x<svg><style>p { fill: url(#d) }</style></svg>"#;
        let asset = |path: &str| (path.to_owned(), Kind::Asset);
        assert_eq!(links(html), [asset("/a.css"), asset("b.png"), asset("/c.png")]);
        let sheet = Sheet::read_style("p { background: url(e.png) }");
        assert_eq!(sheet.links, [Link { written: "e.png".into(), kind: Kind::Asset }]);
    }

    #[test]
    fn places_and_the_title_are_kept() {
        let sheet = Sheet::read(
            "<title> A\n b </title><base href=/x/><svg><title>no</title></svg><h2 id=one></h2><a name=two></a>",
        );
        assert_eq!((sheet.title.as_deref(), sheet.base.as_deref()), (Some("A b"), Some("/x/")));
        assert!(Sheet::has_place(&sheet.places, "one") && Sheet::has_place(&sheet.places, "two"));
        assert!(!Sheet::has_place(&sheet.places, "three"));
    }

    #[test]
    fn forms_are_read_with_what_they_would_send() {
        let html = "<form id=f action=' /go ' method=post><input type=hidden name=csrf value=x>
            <input type=hidden name=empty><select required id=s></select><input required name=ok>
            <textarea required></textarea></form><form name=search></form>";
        let forms = Sheet::read(html).forms;
        assert_eq!(forms[0].label.as_deref(), Some("#f"));
        assert_eq!((forms[0].method.as_str(), forms[0].action.as_str()), ("POST", "/go"));
        assert_eq!(forms[0].hidden, ["csrf"]);
        assert_eq!(forms[0].nameless, ["s", "textarea"]);
        assert_eq!((forms[1].label.as_deref(), forms[1].method.as_str()), (Some("search"), "GET"));
    }
}
