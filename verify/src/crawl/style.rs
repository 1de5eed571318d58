//! The addresses that a style sheet names: pictures, fonts and further sheets, which a browser
//! fetches for the page.

use cssparser::{ParseError, Parser, ParserInput, Token};

/// Blocks within blocks are read so deep: nobody nests deeper.
const DEEPEST: usize = 32;
/// Functions whose quoted arguments are addresses.
const FETCHING: [&str; 4] = ["url", "src", "image-set", "-webkit-image-set"];
/// At-rules whose addresses are names or patterns that nobody fetches.
const NAMING: [&str; 3] = ["namespace", "document", "-moz-document"];

/// Every address in `css`, as written but for what stands behind `#`: of that no server is asked.
pub(crate) fn addresses(css: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut input = ParserInput::new(css.trim_start_matches('\u{feff}'));
    read(&mut Parser::new(&mut input), false, 0, &mut found);
    let plain = found.iter().map(|written| written.split('#').next().unwrap_or_default().trim());
    plain.filter(|written| !written.is_empty() && is_readable(written)).map(str::to_owned).collect()
}

/// An inline address is the thing itself; of one in another charset nobody knows what it says.
fn is_readable(written: &str) -> bool {
    let inline = written.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    !inline && !written.contains('\u{fffd}')
}

/// Reads one block; in it a quoted text is an address if it `is_fetched`, or imported: that is heeded
/// before the first block alone.
fn read(parser: &mut Parser<'_, '_>, is_fetched: bool, depth: usize, found: &mut Vec<String>) {
    let (mut rule, mut imports) = (String::new(), depth == 0);
    while let Ok(token) = parser.next().cloned() {
        match token {
            Token::AtKeyword(name) => rule = name.to_ascii_lowercase(),
            Token::Semicolon => rule.clear(),
            Token::UnquotedUrl(written) if is_heeded(&rule, imports) => found.push(written.to_string()),
            Token::QuotedString(written) if is_fetched || (rule == "import" && imports) => {
                found.push(written.to_string());
            }
            Token::Function(name) => {
                let name = name.to_ascii_lowercase();
                let fetches = FETCHING.contains(&name.as_str()) && is_heeded(&rule, imports);
                enter(parser, fetches, depth, found);
            }
            Token::ParenthesisBlock | Token::SquareBracketBlock => enter(parser, false, depth, found),
            Token::CurlyBracketBlock => {
                rule.clear();
                imports = false;
                enter(parser, false, depth, found);
            }
            _ => {}
        }
    }
}

fn is_heeded(rule: &str, imports: bool) -> bool {
    !NAMING.contains(&rule) && (imports || rule != "import")
}

/// Reads the block that begins here; one that is too deep is passed over.
fn enter(parser: &mut Parser<'_, '_>, is_fetched: bool, depth: usize, found: &mut Vec<String>) {
    if depth < DEEPEST {
        let read_all = |inner: &mut Parser<'_, '_>| {
            read(inner, is_fetched, depth + 1, found);
            Ok(())
        };
        let _: Result<(), ParseError<'_, ()>> = parser.parse_nested_block(read_all);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_a_browser_fetches_is_found_however_it_is_written() {
        let css = "\u{feff}@charset 'utf-8'; @import 'a.css' screen; @IMPORT url(b.css) layer(x);
            @font-face { font-family: 'no'; src: local('no'), url( c.woff2 ) format('woff2'), URL('d.eot?#iefix') }
            /* url(no) */ @media print { p { color: red; background: url(\"e\\ .png\") , u\\72l(f.png) } }
            q { content: 'no' attr(url); background: image-set('g.png' 1x type('image/png'), url(h.png) 2x) }
            @supports (mask: url(i.svg#m)) { li { list-style: url(//cdn.example/j.png) } }";
        let found = ["a.css", "b.css", "c.woff2", "d.eot?", "e .png", "f.png", "g.png", "h.png", "i.svg"];
        assert_eq!(addresses(css), [&found[..], &["//cdn.example/j.png"]].concat());
        assert_eq!(addresses("color: red; background: url(x.png)"), ["x.png"]);
    }

    #[test]
    fn what_nobody_fetches_is_none() {
        let css = "@namespace svg url(http://www.w3.org/2000/svg); @namespace 'http://x';
            p { fill: url(#gradient); behavior: url( ); background: url(data:image/png;base64,AA==),
            url('DATA:,x'), url(b\u{fffd}d.png), url(bad\"url.png); content: 'url(no.png)' }";
        assert_eq!(addresses(css), Vec::<String>::new());
        let late = "p { @import 'no.css'; } @import url(no.css); @import 'no.css'; b { fill: url(a.png) }";
        assert_eq!(addresses(late), ["a.png"]);
        assert_eq!(addresses("p { background: url(unended.png"), ["unended.png"]);
        assert_eq!(addresses("}}} ) p { background: url(x.png) }"), ["x.png"]);
    }

    #[test]
    fn nesting_without_end_takes_a_moment() {
        let begun = Instant::now();
        for open in ["(", "{", "[", "f(", "url(x)(", "a{b:url(x);"] {
            assert!(addresses(&open.repeat(300_000)).len() <= 300_000);
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
