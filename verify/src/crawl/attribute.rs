//! Addresses inside of attributes that hold more than one thing: `srcset`, and the `content` of
//! `<meta http-equiv=refresh>`; both as HTML's own rules cut them.

/// The addresses of a `srcset`; each ends at white space, what describes it at a comma. As browsers do,
/// those are left out whose description makes no sense.
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
        let ended = address.len() < written.len();
        let (description, after) = if ended { ("", tail) } else { description(tail) };
        found.extend(description.split_ascii_whitespace().all(describes).then_some(address));
        rest = after;
    }
}

/// A description, and what follows the comma that ends it; one in parentheses does not.
fn description(text: &str) -> (&str, &str) {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

/// A width, a height or a density.
fn describes(word: &str) -> bool {
    let is_whole = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match word.split_at(word.len() - word.chars().next_back().map_or(0, char::len_utf8)) {
        (number, "w" | "h") => is_whole(number),
        (number, "x") => number.parse::<f64>().is_ok_and(|number| number >= 0.0),
        _ => false,
    }
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
        assert_eq!(candidates("/a.png f(1, 2) 1x, /b.png 1.5x, /c.png 3w 4h"), ["/b.png", "/c.png"]);
        assert_eq!(candidates("/a.png 2y, /b.png x, /c.png 2.5w, /ö.png 1ö"), Vec::<&str>::new());
        let drawn = "data:image/svg+xml,<svg viewBox='0,0,8,8' width='9'></svg> 1x, /d.png 2x";
        assert_eq!(candidates(drawn), ["/d.png"]);
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
