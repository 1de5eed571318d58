//! Taking HTML apart, in bounded time: with deep enough nesting a parser's work grows with the square
//! of the page, as it does in browsers.

use std::time::{Duration, Instant};

use html5ever::ParseOpts;
use html5ever::driver::parse_document;
use html5ever::tendril::{StrTendril, TendrilSink};
use scraper::{Html, HtmlTreeSink};

/// Several times what the largest page takes that is read at all.
const LIMIT: Duration = Duration::from_secs(2);
/// So much is given to the parser between two looks at the clock.
const PIECE: usize = 1024;

/// A page as a tree.
pub(crate) struct Document {
    pub(crate) tree: Html,
    /// Whether it is all of the page.
    pub(crate) is_whole: bool,
}

impl Document {
    /// Reads a page, or as much of it as can be read in a moment.
    pub(crate) fn read(text: &str) -> Self {
        let begun = Instant::now();
        let mut parser = parse_document(HtmlTreeSink::new(Html::new_document()), ParseOpts::default());
        let mut rest = text;
        while !rest.is_empty() && begun.elapsed() < LIMIT {
            let end = (PIECE..rest.len()).find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
            let (piece, tail) = rest.split_at(end);
            parser.process(StrTendril::from(piece));
            rest = tail;
        }
        Self { tree: parser.finish(), is_whole: rest.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_tree() {
        let text = format!(
            "<!doctype html><title>ä</title><p class=x>{}<a href=/b>é</a>",
            "€ <b>ü</b> ".repeat(1000)
        );
        let document = Document::read(&text);
        assert!(document.is_whole && document.tree == Html::parse_document(&text));
        assert!(Document::read("").is_whole);
    }

    #[test]
    fn a_page_nested_without_end_takes_a_moment() {
        let begun = Instant::now();
        assert!(!Document::read(&"<div>".repeat(500_000)).is_whole);
        assert!(begun.elapsed() < LIMIT * 5, "{:?}", begun.elapsed());
    }
}
