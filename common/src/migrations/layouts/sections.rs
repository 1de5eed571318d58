//! dbmate and goose: one file with an up and a down section between marker lines.
//!
//! A section keeps the line numbers of its file: other lines are blank in it.

use std::path::Path;

use super::{Layout, Text, migration};
use crate::migrations::Migration;
use crate::migrations::directory::{Reading, ends_in, number};

/// The markers of a tool.
#[derive(Clone, Copy)]
pub(super) struct Markers {
    layout: Layout,
    prefix: &'static str,
    /// Endings of migrations that are programs.
    compiled: &'static [&'static str],
}

pub(super) const DBMATE: Markers = Markers { layout: Layout::Dbmate, prefix: "-- migrate:", compiled: &[] };
pub(super) const GOOSE: Markers = Markers { layout: Layout::Goose, prefix: "-- +goose ", compiled: &[".go"] };

/// The tool whose markers a file has.
pub(super) fn layout_of(file: &Path) -> Option<Layout> {
    let text = std::fs::read_to_string(file).ok()?;
    [DBMATE, GOOSE]
        .into_iter()
        .find(|markers| text.lines().any(|line| markers.word(line).is_some()))
        .map(|m| m.layout)
}

impl Markers {
    /// What stands behind the marker of this line, in lower case.
    fn word(self, line: &str) -> Option<String> {
        let start = line.get(..self.prefix.len())?;
        start.eq_ignore_ascii_case(self.prefix).then(|| line[self.prefix.len()..].trim().to_ascii_lowercase())
    }
}

pub(super) fn read(dir: &Path, names: &[String], markers: Markers, reading: &mut Reading) {
    for file in names {
        let digits = file.bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && markers.compiled.iter().any(|end| file.ends_with(end)) {
            reading.refuse(file, "it is compiled into the app, which alone can run it; write it in SQL");
        } else if digits == 0 || !ends_in(file, "sql") {
            reading.ignored.push(file.clone());
        } else {
            let read = reading.text(dir, file).and_then(|text| read_one(text, file, digits, markers));
            reading.take(read.map_err(|reason| format!("{file}: {reason}")));
        }
    }
}

fn read_one(text: String, file: &str, digits: usize, markers: Markers) -> Result<Migration, String> {
    let version = number(&file[..digits])?;
    let label = match markers.layout {
        Layout::Dbmate => file[..digits].to_owned(),
        _ => version.to_string(),
    };
    let name = file[digits..].trim_start_matches('_').trim_end_matches(".sql").to_owned();
    let (up, down) = cut(&text, markers)?;
    let down = down.map(|text| Text { file: file.to_owned(), text });
    migration((version, label, &name), Text { file: file.to_owned(), text }, up, down)
}

const OUTSIDE: &str = "-- no-transaction";
const ENVIRONMENT: &str = "it takes values from environment variables (ENVSUB), which only goose fills in; write the values into it";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Neither,
    Up,
    Down,
}

/// The two sections; a down that holds nothing is none.
fn cut(text: &str, markers: Markers) -> Result<(String, Option<String>), String> {
    let mut cutting = Cutting { markers, side: Side::Neither, ups: 0, downs: 0 };
    let (mut up, mut down) = (String::new(), String::new());
    for line in text.lines() {
        let [for_up, for_down] = cutting.share(line)?;
        for (section, line) in [(&mut up, for_up), (&mut down, for_down)] {
            section.push_str(line);
            section.push('\n');
        }
    }
    match (cutting.ups, cutting.downs) {
        (1, 0 | 1) => Ok((up, Some(down).filter(|down| !down.lines().all(is_comment)))),
        (0, _) => Err(format!("it has no line '{}up'", markers.prefix)),
        _ => Err("it has a section twice; make two files of it".into()),
    }
}

struct Cutting {
    markers: Markers,
    side: Side,
    ups: usize,
    downs: usize,
}

impl Cutting {
    /// What a line is in the up and in the down section.
    fn share<'a>(&mut self, line: &'a str) -> Result<[&'a str; 2], String> {
        let Some(word) = self.markers.word(line) else {
            return match self.side {
                Side::Up => Ok([line, ""]),
                Side::Down => Ok(["", line]),
                Side::Neither if is_comment(line) => Ok([line, ""]),
                Side::Neither => Err(format!("a statement stands before '{}up'", self.markers.prefix)),
            };
        };
        match word.split_whitespace().next().unwrap_or_default() {
            "up" => (self.side, self.ups) = (Side::Up, self.ups + 1),
            "down" => (self.side, self.downs) = (Side::Down, self.downs + 1),
            "statementbegin" | "statementend" => {}
            "no" if word == "no transaction" => {}
            "envsub" if word.ends_with("off") => {}
            "envsub" => return Err(ENVIRONMENT.into()),
            _ => return Err(format!("'{line}' is no marker that is known here")),
        }
        if !word.contains("transaction:false") && word != "no transaction" {
            return Ok(["", ""]);
        }
        Ok(match self.side {
            Side::Up => [OUTSIDE, ""],
            Side::Down => ["", OUTSIDE],
            Side::Neither => [OUTSIDE, OUTSIDE],
        })
    }
}

fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with("--")
}
