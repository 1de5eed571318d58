//! Addresses inside of attributes that hold more than one thing: `srcset`, and the `content` of
//! `<meta http-equiv=refresh>`; both as HTML's own rules cut them.

/// The addresses of a `srcset`; each ends at white space, what describes it at a comma.
pub(super) fn candidates(set: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = set;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        if rest.is_empty() {
            return found;
        }
        let (written, tail) = rest.split_at(rest.find(is_space).unwrap_or(rest.len()));
        let address = written.trim_end_matches(',');
        found.push(address);
        rest = if address.len() < written.len() { tail } else { after_description(tail) };
    }
}

/// What follows the comma that ends a description; one in parentheses does not.
fn after_description(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return &text[at + 1..],
            _ => {}
        }
    }
    ""
}

/// Where a refresh leads; none when it is to the page itself, or when it makes no sense.
pub(super) fn refresh(content: &str) -> Option<&str> {
    let content = content.trim_start_matches(is_space);
    let after = content.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if after.len() == content.len() || !after.starts_with(|c| is_space(c) || matches!(c, ';' | ',')) {
        return None;
    }
    let after = after.trim_start_matches(is_space);
    let target = after.strip_prefix([';', ',']).unwrap_or(after).trim_start_matches(is_space);
    let named = named(target).unwrap_or(target);
    let address = match named.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        Some(quote) => named[1..].split(quote).next().unwrap_or_default(),
        None => named,
    };
    Some(address.trim()).filter(|address| !address.is_empty())
}

/// What stands behind `url =`.
fn named(target: &str) -> Option<&str> {
    let word = target.get(..3).filter(|word| word.eq_ignore_ascii_case("url"))?;
    let value = target[word.len()..].trim_start_matches(is_space).strip_prefix('=')?;
    Some(value.trim_start_matches(is_space))
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_cut_where_browsers_cut_it() {
        assert_eq!(candidates("/a.png 1x,/b.png 2x"), ["/a.png", "/b.png"]);
        assert_eq!(candidates(" /a,b.png 100w,\n\t/c.png, /d.png"), ["/a,b.png", "/c.png", "/d.png"]);
        assert_eq!(candidates("data:image/png;base64,x, /y 2x"), ["data:image/png;base64,x", "/y"]);
        assert_eq!(candidates("/a.png f(1, 2) 1x, /b.png"), ["/a.png", "/b.png"]);
        assert!(candidates(" , ").is_empty() && candidates("").is_empty());
    }

    #[test]
    fn a_refresh_leads_where_browsers_go() {
        for content in
            ["0;url=/x", "5; URL = '/x' then", "0,url=\"/x\"", "1.5 url=/x", "0;/x", " 3 ; Url= /x ", "0; /x"]
        {
            assert_eq!(refresh(content), Some("/x"), "{content}");
        }
        for content in ["", "5", "5;", "url=/x", "x; url=/x", "5x; url=/x", "5; url="] {
            assert_eq!(refresh(content), None, "{content}");
        }
        assert_eq!(refresh("0; urls/x"), Some("urls/x"));
    }
}
