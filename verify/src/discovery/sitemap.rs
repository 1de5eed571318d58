//! A sitemap: the pages it lists, or the further sitemaps. Its addresses are public ones, of the host
//! that visitors know; the path is what counts here.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use reqwest::Url;

use crate::crawl::address::path_of;

/// What one file lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) pages: Vec<String>,
    pub(super) sitemaps: Vec<String>,
}

/// Reads one file; the error is the end of a sentence.
pub(super) fn read(text: &str) -> Result<Listed, String> {
    let mut reader = Reader::from_str(text);
    let (mut listed, mut is_index, mut inside, mut address) = (Listed::default(), None, false, String::new());
    loop {
        match reader.read_event().map_err(|error| format!("is not XML: {error}"))? {
            Event::Start(tag) => {
                is_index.get_or_insert(tag.local_name().as_ref() == "sitemapindex");
                inside = tag.local_name().as_ref() == "loc";
                address.clear();
            }
            Event::Text(text) if inside => address.push_str(&text),
            Event::GeneralRef(name) if inside => {
                address.push_str(resolve_predefined_entity(&name).unwrap_or_default());
            }
            Event::End(tag) if tag.local_name().as_ref() == "loc" => {
                inside = false;
                let Ok(url) = Url::parse(address.trim()) else { continue };
                let list = if is_index == Some(true) { &mut listed.sitemaps } else { &mut listed.pages };
                list.push(path_of(&url));
            }
            Event::Eof if is_index.is_none() => return Err("is no sitemap".into()),
            Event::Eof => return Ok(listed),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_further_sitemaps_are_told_apart() {
        let pages = "<?xml version='1.0'?><urlset xmlns='x'><url><loc> https://a.example/x?a=1&amp;b=2 </loc>\
            <lastmod>2026</lastmod></url><url><loc>https://a.example/</loc></url></urlset>";
        let listed = Listed { pages: vec!["/x?a=1&b=2".into(), "/".into()], sitemaps: vec![] };
        assert_eq!(read(pages).unwrap(), listed);
        let index = "<sitemapindex><sitemap><loc>https://a.example/s2.xml</loc></sitemap></sitemapindex>";
        assert_eq!(read(index).unwrap().sitemaps, ["/s2.xml"]);
        assert!(read("<a><b></a>").is_err() && read("nothing").is_err());
    }
}
