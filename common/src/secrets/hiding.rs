//! Hiding secrets in what is shown or stored, in each form that a page, a URL, a JSON document or
//! a shell line gives them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::Secrets;
use crate::evidence::Signed;
use crate::report::{Problem, Report, Step};

/// Shorter values would hide ordinary words.
const SHORTEST_HIDDEN: usize = 4;
/// Stands where text was shortened, perhaps in the middle of a secret.
const CUT: char = '…';

/// One way to write one secret value.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Disguise {
    written: String,
    name: String,
}

impl Disguise {
    fn lift(&self, text: String) -> String {
        if text.contains(&self.written) {
            text.replace(&self.written, &format!("${}", self.name))
        } else {
            text
        }
    }
}

impl Disguise {
    /// Hides what a cut left of the value on either side.
    fn lift_halves(&self, text: &str) -> String {
        let name = format!("${}", self.name);
        let inner = self.written.char_indices().map(|(at, _)| at);
        let cuts: Vec<usize> = inner.filter(|at| (1..self.written.len()).contains(at)).collect();
        let before = |piece: &str| {
            let heads = cuts.iter().rev().map(|at| &self.written[..*at]);
            heads
                .filter(|head| head.len() >= SHORTEST_HIDDEN)
                .find_map(|head| piece.strip_suffix(head))
                .map(|rest| format!("{rest}{name}"))
        };
        let after = |piece: &str| {
            let ends = cuts.iter().map(|at| &self.written[*at..]);
            ends.filter(|end| end.len() >= SHORTEST_HIDDEN)
                .find_map(|end| piece.strip_prefix(end))
                .map(|rest| format!("{name}{rest}"))
        };
        let mut pieces: Vec<String> = text.split(CUT).map(str::to_owned).collect();
        let last = pieces.len() - 1;
        for (number, piece) in pieces.iter_mut().enumerate() {
            if number < last {
                *piece = before(piece).unwrap_or_else(|| piece.clone());
            }
            if number > 0 {
                *piece = after(piece).unwrap_or_else(|| piece.clone());
            }
        }
        pieces.join("…")
    }
}

/// Every way to write the values.
pub(super) fn disguises_of(values: &BTreeMap<String, String>) -> Vec<Disguise> {
    let hidden = values.iter().filter(|(_, value)| value.len() >= SHORTEST_HIDDEN);
    let mut all: Vec<Disguise> = hidden
        .flat_map(|(name, value)| {
            spellings(value).into_iter().map(|written| Disguise { written, name: name.clone() })
        })
        .filter(|disguise| disguise.written.len() >= SHORTEST_HIDDEN)
        .collect();
    sort(&mut all);
    all
}

/// Longest first, so that no value hides a part of another one only.
pub(super) fn sort(disguises: &mut Vec<Disguise>) {
    disguises
        .sort_by(|a, b| (b.written.len(), &b.written, &b.name).cmp(&(a.written.len(), &a.written, &a.name)));
    disguises.dedup();
}

fn spellings(value: &str) -> [String; 13] {
    let json = Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    // Inside a script of a page.
    let script = json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    let html = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    [
        value.to_owned(),
        ascii(&json),
        ascii(&script.replace('\'', "\\u0027")),
        script,
        json,
        html.clone(),
        html.replace('"', "&quot;").replace('\'', "&#39;"),
        html.replace('"', "&#34;").replace('\'', "&#x27;"),
        html.replace('"', "&quot;").replace('\'', "&#x27;"),
        percent(value, "%20"),
        percent(value, "+"),
        value.replace('\'', "'\\''"),
        value.split_whitespace().collect::<Vec<_>>().join(" "),
    ]
}

/// As JSON writers do that keep to ASCII.
fn ascii(json: &str) -> String {
    json.encode_utf16().fold(String::new(), |mut text, unit| {
        match u8::try_from(unit).ok().filter(u8::is_ascii) {
            Some(byte) => text.push(char::from(byte)),
            None => drop(write!(text, "\\u{unit:04x}")),
        }
        text
    })
}

/// As a URL or a form writes it.
fn percent(value: &str, space: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b' ' => text.push_str(space),
            b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            byte => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

impl Secrets {
    /// `text` with each secret value replaced by its `$NAME`, also as pages, URLs and JSON write it.
    pub fn hide(&self, text: &str) -> String {
        let mut text = self.disguises.iter().fold(text.to_owned(), |text, disguise| disguise.lift(text));
        if text.contains(CUT) {
            for disguise in &self.disguises {
                text = disguise.lift_halves(&text);
            }
        }
        text
    }

    /// `report` without any secret value: text that programs or people wrote is searched; ids, times,
    /// enums and member names are ours and stay, and so does a signed statement, which holds nothing
    /// else. Copied only where there is something to hide.
    #[must_use]
    pub fn hide_in_report<'a>(&self, report: &'a Report) -> Cow<'a, Report> {
        if self.disguises.is_empty() {
            return Cow::Borrowed(report);
        }
        let mut hidden = report.clone();
        hidden.steps.iter_mut().for_each(|step| self.hide_within(step));
        hidden.problem.iter_mut().for_each(|problem| self.hide_in_problem(problem));
        for facts in hidden.details.values_mut() {
            self.hide_in_value(facts);
        }
        if let Some(signed) = Signed::of(report).filter(Signed::is_well_formed) {
            signed.restore_in(&mut hidden);
        }
        Cow::Owned(hidden)
    }

    /// A copy of `step` in which no secret value appears.
    #[must_use]
    pub fn hide_in_step(&self, step: &Step) -> Step {
        let mut hidden = step.clone();
        self.hide_within(&mut hidden);
        hidden
    }

    fn hide_within(&self, step: &mut Step) {
        step.name = self.hide(&step.name);
        step.target = step.target.as_deref().map(|target| self.hide(target));
        step.problem.iter_mut().for_each(|problem| self.hide_in_problem(problem));
    }

    fn hide_in_problem(&self, problem: &mut Problem) {
        problem.title = self.hide(&problem.title);
        problem.detail = problem.detail.as_deref().map(|detail| self.hide(detail));
        problem.hint = problem.hint.as_deref().map(|hint| self.hide(hint));
    }

    /// A whole string that is one of our own words (`new`, `changed`) is no secret, whatever
    /// somebody chose as a password.
    fn hide_in_value(&self, value: &mut Value) {
        match value {
            Value::String(text) if !is_word(text) => *text = self.hide(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in_value(item)),
            Value::Object(members) => members.values_mut().for_each(|member| self.hide_in_value(member)),
            _ => {}
        }
    }
}

fn is_word(text: &str) -> bool {
    text.len() < 12 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_wherever_they_stand() {
        let secrets = Secrets::parse("A=\"sentinel-1\"\nB='x y=z'\nSHORT=ab\n").unwrap();
        let mut report = Report::new("deploy");
        report
            .push(Step::new("deploy", "start", 1).fail(Problem::new("x", "saw sentinel-1").detail("x y=z")));
        let text = serde_json::to_string(&secrets.hide_in_report(&report)).unwrap();
        assert!(!text.contains("sentinel-1") && !text.contains("x y=z") && text.contains("$A"), "{text}");
    }

    #[test]
    fn a_value_is_known_in_the_form_that_a_page_or_a_url_gives_it() {
        let secrets = Secrets::parse("A=p\"w' <&=1\n").unwrap();
        for written in [
            "p\"w' <&=1",
            "p&quot;w&#39; &lt;&amp;=1",
            "p&#34;w&#x27; &lt;&amp;=1",
            "p\"w' &lt;&amp;=1",
            "p%22w%27%20%3C%26%3D1",
            "p%22w%27+%3C%26%3D1",
            "p\\\"w' <&=1",
            "p\"w'\\'' <&=1",
        ] {
            assert_eq!(secrets.hide(&format!("<{written}>")), "<$A>", "{written}");
        }
    }

    #[test]
    fn a_value_is_known_in_every_common_json() {
        let secrets = Secrets::parse("A=pä&s'<w>😀\"1\n").unwrap();
        for written in [
            "pä&s'<w>😀\\\"1",
            "p\\u00e4&s'<w>\\ud83d\\ude00\\\"1",
            "pä\\u0026s'\\u003cw\\u003e😀\\\"1",
            "p\\u00e4\\u0026s\\u0027\\u003cw\\u003e\\ud83d\\ude00\\\"1",
        ] {
            assert_eq!(secrets.hide(&format!("({written})")), "($A)");
        }
    }

    #[test]
    fn half_a_value_beside_a_cut_is_hidden_too() {
        let secrets = Secrets::parse("A=sentinel-1234\n").unwrap();
        assert_eq!(secrets.hide("key sentinel-12…"), "key $A…");
        assert_eq!(secrets.hide("…inel-1234 and sen…"), "…$A and sen…");
        assert_eq!(secrets.hide("…nothing…"), "…nothing…");
        assert_eq!(Secrets::parse("A=' \t  '\n").unwrap().hide("a b"), "a b");
    }

    #[test]
    fn the_longest_value_goes_first_and_merged_ones_are_all_hidden() {
        let mut secrets = Secrets::parse("A=sentinel\n").unwrap();
        secrets.merge(&Secrets::parse("A=other-one\nB=sentinel-long\n").unwrap());
        assert_eq!(secrets.hide("sentinel sentinel-long other-one"), "$A $B $A");
    }

    /// Passwords like these once turned a failed report into an empty success.
    #[test]
    fn a_secret_that_is_a_word_of_the_report_changes_nothing_but_text() {
        let secrets = Secrets::parse("A=pass\nB=fail\nC=2026\nD=deploy\nE=status\nF=changed\n").unwrap();
        let mut report = Report::new("deploy");
        report.conclude(crate::report::Outcome::Failed);
        report.push(Step::new("deploy", "start", 1).fail(Problem::new("x", "no pass")));
        report.details.insert("migrate".into(), serde_json::json!({"change": "changed"}));
        let hidden = secrets.hide_in_report(&report);
        assert_eq!((hidden.success, hidden.outcome, hidden.steps.len()), (false, report.outcome, 1));
        assert_eq!(hidden.details["migrate"]["change"], "changed");
        assert_eq!(hidden.steps[0].problem.as_ref().unwrap().title, "no $A");
        assert_eq!((&hidden.tool, &hidden.started_at), (&report.tool, &report.started_at));
    }
}
