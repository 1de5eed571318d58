//! The errors in a log: Python's tracebacks, Rust's panics, and lines that give themselves a level.
//! The log is anybody's text: any bytes, lines of any length, anything between two lines of one error.

use sha2::{Digest, Sha256};

use super::levels::{has_level, is_structured};
use super::lines::{plain, unframed};
use super::masking::{mask, mask_within};
use crate::hex;

const TRACEBACK: &str = "Traceback (most recent call last)";
const CHAINED: [&str; 2] =
    ["During handling of the above exception", "The above exception was the direct cause"];
const PANIC: &str = "panicked at ";
/// Of one error.
const MOST_LINES: usize = 400;
/// Shown of one error.
const SHOWN_LINES: usize = 24;

/// One occurrence of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The same for each occurrence, in every release.
    pub fingerprint: String,
    pub title: String,
    pub excerpt: String,
}

/// What is open while lines are read.
#[derive(Debug)]
struct Open {
    lines: Vec<String>,
    kind: Kind,
    /// Byte of the text at which it begins.
    from: usize,
    /// Its lines stand in the frame that Python draws around a group of exceptions.
    is_framed: bool,
}

/// What stands at the end of a text, and of which more may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Byte of the text at which it begins.
    pub(super) from: usize,
    /// More must follow: what it is about was not said yet.
    pub(super) is_cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A line with a level: a traceback may follow.
    Level,
    /// Within the frames of a traceback.
    Frames,
    /// The exception was named; another one may follow that it was the cause of.
    Named,
    /// The message of a panic is on the next line.
    Panic,
}

/// The errors in `text`; of the last one more may follow.
pub(super) fn read(text: &[u8]) -> (Vec<Event>, Option<Rest>) {
    let (mut events, mut open, mut at) = (Vec::new(), None, 0);
    for raw in text.split_inclusive(|byte| *byte == b'\n') {
        let line = plain(raw);
        open = match open {
            Some(found) => go_on(found, &line, &mut events).or_else(|| begin(&line, at)),
            None => begin(&line, at),
        };
        at += raw.len();
    }
    let rest = open.as_ref().map(|open: &Open| Rest { from: open.from, is_cut: open.is_cut() });
    events.extend(open.map(|open| event(&open)));
    (events, rest)
}

/// Whether a line by itself tells of an error.
pub fn tells_error(line: &str) -> bool {
    line.contains(TRACEBACK) || line.contains(PANIC) || has_level(line)
}

impl Open {
    fn is_cut(&self) -> bool {
        self.kind == Kind::Frames || (self.kind == Kind::Panic && self.awaits_message())
    }

    fn awaits_message(&self) -> bool {
        self.lines.len() == 1 && self.lines[0].ends_with(':')
    }
}

fn begin(line: &str, from: usize) -> Option<Open> {
    let framed = unframed(line).filter(|line| line.contains(TRACEBACK));
    let (line, is_framed) = (framed.unwrap_or(line), framed.is_some());
    let kind = if line.contains(TRACEBACK) {
        Kind::Frames
    } else if line.contains(PANIC) {
        Kind::Panic
    } else if has_level(line) {
        Kind::Level
    } else {
        return None;
    };
    Some(Open { lines: vec![line.to_owned()], kind, from, is_framed })
}

/// Takes the line into what is open; `None` when it does not belong there.
fn go_on(mut open: Open, line: &str, events: &mut Vec<Event>) -> Option<Open> {
    let line = if open.is_framed { unframed(line).unwrap_or(line) } else { line };
    let Some(kind) = next(&open, line) else {
        events.push(event(&open));
        return None;
    };
    open.kind = kind;
    open.lines.push(line.to_owned());
    Some(open)
}

fn next(open: &Open, line: &str) -> Option<Kind> {
    let goes_on = match open.kind {
        _ if open.lines.len() >= MOST_LINES => false,
        Kind::Level => line.contains(TRACEBACK),
        Kind::Frames => return Some(if line.starts_with([' ', '\t']) { Kind::Frames } else { Kind::Named }),
        Kind::Named if line.is_empty() || is_link(line) => return Some(Kind::Named),
        Kind::Named => line.contains(TRACEBACK) && announces_another(&open.lines),
        Kind::Panic => open.awaits_message(),
    };
    let next = if open.kind == Kind::Panic { Kind::Panic } else { Kind::Frames };
    goes_on.then_some(next)
}

fn is_link(line: &str) -> bool {
    CHAINED.iter().any(|words| line.contains(words))
}

fn announces_another(lines: &[String]) -> bool {
    lines.iter().rfind(|line| !line.is_empty()).is_some_and(|line| is_link(line))
}

fn event(open: &Open) -> Event {
    let lines: Vec<&str> = open.lines.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
    let (title, essence) = match open.kind {
        Kind::Level if is_structured(&open.lines[0]) => (open.lines[0].clone(), mask_within(&open.lines[0])),
        Kind::Level => (open.lines[0].clone(), mask(&open.lines[0])),
        Kind::Panic => of_panic(&lines),
        Kind::Frames | Kind::Named => of_traceback(&lines),
    };
    let hash = hex(&Sha256::digest(essence.as_bytes()));
    // The end of a traceback says more than its middle.
    let from = lines.len().saturating_sub(SHOWN_LINES);
    let mut excerpt = lines[from..].join("\n");
    if from > 0 {
        excerpt = format!("{}\n…\n{excerpt}", lines[0]);
    }
    Event { fingerprint: hash[..12].to_owned(), title, excerpt }
}

/// The exception and the functions that it came through.
fn of_traceback(lines: &[&str]) -> (String, String) {
    let last = lines.iter().rposition(|line| line.contains(TRACEBACK)).unwrap_or(0);
    let named = lines[last..].iter().skip(1).find(|line| !line.starts_with([' ', '\t']));
    let title = named.copied().unwrap_or("a traceback that was cut off");
    let exception = mask(title.split([':', '(']).next().unwrap_or_default());
    let frames = lines[last..].iter().filter_map(|line| frame(line));
    (title.to_owned(), format!("traceback {exception} {}", frames.collect::<Vec<_>>().join(" ")))
}

/// `  File "DIR/NAME", line N, in FUNCTION`, without the directory, which each release has its own of.
fn frame(line: &str) -> Option<String> {
    let (path, rest) = line.trim_start().strip_prefix("File \"")?.split_once('"')?;
    let function = rest.split_once(", in ").map_or("", |(_, function)| function);
    Some(format!("{}:{function}", path.rsplit('/').next().unwrap_or_default()))
}

/// The file and the message, without the place in the file.
fn of_panic(lines: &[&str]) -> (String, String) {
    let (_, place) = lines[0].split_once(PANIC).unwrap_or_default();
    let message = lines.get(1).copied();
    (
        message.unwrap_or(lines[0]).to_owned(),
        format!("panic {} {}", mask(place), mask(message.unwrap_or_default())),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lines::WIDEST;
    use super::*;

    fn events(text: &str) -> Vec<Event> {
        read(text.as_bytes()).0
    }

    fn traceback(release: &str, line: u32, message: &str) -> String {
        format!(
            "Traceback (most recent call last):\n  File \"/srv/releases/{release}/app.py\", line {line}, in view\n    \
             return load(x)\n           ^^^^^^^\n  File \"/usr/lib/python3/json.py\", line 3, in loads\nValueError: {message}\n"
        )
    }

    #[test]
    fn a_traceback_is_known_by_its_exception_and_functions() {
        let one = events(&traceback("r1", 12, "no 5"));
        let other =
            events(&format!("ERROR in app: Exception on /x\n{}INFO fine\n", traceback("r2", 99, "no 6")));
        assert_eq!((one.len(), other.len()), (1, 1));
        assert_eq!(one[0].fingerprint, other[0].fingerprint);
        assert_eq!(
            (one[0].title.as_str(), other[0].title.as_str()),
            ("ValueError: no 5", "ValueError: no 6")
        );
        assert!(other[0].excerpt.starts_with("ERROR in app"), "{other:?}");
        let third = events(&traceback("r1", 12, "no 5").replace("in view", "in edit"));
        assert_ne!(third[0].fingerprint, one[0].fingerprint);
    }

    #[test]
    fn an_exception_with_its_cause_is_one_error_and_two_in_a_row_are_two() {
        let link = "\nDuring handling of the above exception, another exception occurred:\n\n";
        let last = traceback("r1", 1, "b").replace("ValueError", "KeyError");
        let chained = events(&(traceback("r1", 1, "a") + link + &last));
        assert_eq!((chained.len(), chained[0].title.as_str()), (1, "KeyError: b"));
        assert_eq!(chained[0].fingerprint, events(&last)[0].fingerprint);
        assert_eq!(events(&(traceback("r1", 1, "a") + &last)).len(), 2);
    }

    #[test]
    fn panics_and_levels_are_known_without_what_differs() {
        let panic = |line: u32, thread: &str| {
            events(&format!(
                "thread '{thread}' panicked at src/main.rs:{line}:5:\nindex {line} is out\nnote: run\n"
            ))
        };
        assert_eq!(panic(1, "main")[0].fingerprint, panic(77, "w1")[0].fingerprint);
        assert_eq!(panic(1, "main")[0].title, "index 1 is out");
        let lines = events("2026-01-01 ERROR user 7\nCRITICAL x\nINFO ERRORS=0\n2026-01-02 ERROR user 8\n");
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0].fingerprint, lines[2].fingerprint);
        assert_eq!(events("{\"level\":\"error\",\"n\":1}\nlevel=error n=2\nterror\nMY_ERROR_X\n").len(), 2);
    }

    #[test]
    fn structured_lines_are_known_by_what_they_quote() {
        let line = |text: &str| {
            let text = format!(r#"{{"time": "2026-01-01T0:0", "level": "error", "msg": "{text}"}}"#);
            events(&text).remove(0).fingerprint
        };
        assert_eq!(line("no row 7"), line("no row 8"));
        assert_ne!(line("no row 7"), line("no such table"));
        assert_ne!(
            events("level=error msg=\"a b\"")[0].fingerprint,
            events("level=error msg=\"a c\"")[0].fingerprint
        );
    }

    #[test]
    fn each_exception_of_a_group_is_an_error_and_what_follows_is_none() {
        let group = "  + Exception Group Traceback (most recent call last):\n  |   File \"/a.py\", line 1, in run\n  \
                     | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    \
                     | Traceback (most recent call last):\n    |   File \"/a.py\", line 2, in one\n    \
                     | ValueError: 1\n    +---------------- 2 ----------------\n    | TypeError: 2\n    \
                     +------------------------------------\nINFO 12 fine\n";
        let found: Vec<String> = events(group).into_iter().map(|event| event.title).collect();
        assert_eq!(found, ["ExceptionGroup: two (2 sub-exceptions)", "ValueError: 1"]);
    }

    #[test]
    fn what_may_go_on_is_named_by_where_it_begins() {
        let whole = traceback("r1", 1, "a");
        let (head, _) = whole.split_at(whole.len() - 14);
        let (events, open) = read(format!("INFO\n{head}").as_bytes());
        assert_eq!((events.len(), open), (1, Some(Rest { from: 5, is_cut: true })));
        assert_eq!(read(b"INFO\nERROR x\n").1, Some(Rest { from: 5, is_cut: false }));
        assert_eq!(read(b"INFO\nERROR x\nINFO\n").1, None);
    }

    #[test]
    fn terminals_are_safe_and_wide_lines_are_cut() {
        let long = format!("ERROR \x1b]0;x\x07{}\n", "é".repeat(100_000));
        let found = events(&long);
        assert!(!found[0].excerpt.contains('\x1b') && found[0].excerpt.chars().count() == WIDEST + 1);
        let deep = format!("Traceback (most recent call last):\n{}", "  frame\n".repeat(10_000));
        assert!(events(&deep)[0].excerpt.lines().count() <= SHOWN_LINES + 2);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let (events, open) = read(&bytes);
            prop_assert!(open.is_none_or(|rest| rest.from < bytes.len()));
            prop_assert!(events.iter().all(|event| event.fingerprint.len() == 12));
        }
    }
}
