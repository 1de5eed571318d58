//! What two occurrences of one error have in common: the line without what differs each time.

/// As many hex digits are a hash, also without a decimal digit among them.
const HASH: usize = 16;
/// So few with a decimal digit may be a word's, such as `abc1`.
const SHORT_HEX: usize = 6;
const UUID: [usize; 5] = [8, 4, 4, 4, 12];

/// `line` with quoted texts, numbers, hex and UUIDs replaced.
pub(super) fn mask(line: &str) -> String {
    replace(line, true)
}

/// The same of a line in which all is quoted: also within the quotes only what differs is replaced.
pub(super) fn mask_within(line: &str) -> String {
    replace(line, false)
}

fn replace(line: &str, with_quotes: bool) -> String {
    let mut masked = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let after_word = masked.ends_with(|c: char| c.is_alphanumeric());
        let (text, taken) = if with_quotes && matches!(c, '"' | '\'' | '`') && !after_word {
            quotation(rest, c)
        } else if c.is_ascii_alphanumeric() {
            word(rest)
        } else {
            (c.to_string(), c.len_utf8())
        };
        masked.push_str(&text);
        rest = &rest[taken..];
    }
    masked
}

/// From a quote to the next one of its kind.
fn quotation(rest: &str, quote: char) -> (String, usize) {
    match rest[1..].find(quote) {
        Some(end) => (String::from("\"\""), end + 2),
        None => (quote.to_string(), 1),
    }
}

fn word(rest: &str) -> (String, usize) {
    if let Some(length) = uuid(rest) {
        return ("N".to_owned(), length);
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let word = &rest[..end];
    let hex = word.strip_prefix("0x").unwrap_or(word);
    let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    let has_digit = hex.bytes().any(|byte| byte.is_ascii_digit());
    let is_number =
        is_hex && (hex.len() < word.len() || (has_digit && hex.len() >= SHORT_HEX) || hex.len() >= HASH);
    if is_number {
        return ("N".to_owned(), end);
    }
    let pieces: Vec<&str> = word.split(|c: char| c.is_ascii_digit()).collect();
    let mut masked = String::new();
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 && !masked.ends_with('N') {
            masked.push('N');
        }
        masked.push_str(piece);
    }
    (masked, end)
}

/// The length of a UUID in front.
fn uuid(rest: &str) -> Option<usize> {
    let mut at = 0;
    for (number, length) in UUID.into_iter().enumerate() {
        if number > 0 {
            at += rest[at..].strip_prefix('-').map(|_| 1)?;
        }
        let part = rest.get(at..at + length)?;
        part.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
        at += length;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_differs_each_time_is_masked_and_words_stay() {
        for (line, masked) in [
            ("2026-11-26 09:03:46,123 ERROR can't open 'a b'", "N-N-N N:N:N,N ERROR can't open \"\""),
            ("user 42 of worker12 at 0x7f00beef", "user N of workerN at N"),
            ("id 0b6f1c9e-4dd2-4c1f-aaaa-bbbbccccdddd gone", "id N gone"),
            ("commit 1a2b3c4d5e bad face", "commit N bad face"),
            ("key \"x\\n\" of `y`: 'open", "key \"\" of \"\": 'open"),
            ("10.0.0.1:8080 é 5µs", "N.N.N.N:N é Nµs"),
        ] {
            assert_eq!(mask(line), masked, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_can_be_masked_and_numbers_never_matter(line in ".{0,80}", a in 0_u32.., b in 0_u32..) {
            let with = |number: u32| mask(&format!("{line} {}", number % 100_000));
            prop_assert_eq!(with(a), with(b));
        }
    }
}
