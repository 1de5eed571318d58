//! Writes a report head first: line 1 identifies the run and is flushed before anything is
//! changed, line 2 follows at the end. Together they are one JSON object.

use std::io::{self, BufWriter, Write};

use serde_json::{Map, Value};

use super::Report;

const HEAD: [&str; 5] = ["version", "tool", "environment", "deployment", "started_at"];

/// Writes one report to `out`; a reader that is gone is not an error of ours.
pub struct Writer<W: Write> {
    out: BufWriter<W>,
    head_written: bool,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out: BufWriter::new(out), head_written: false }
    }

    /// Writes line 1 and flushes it. Later calls do nothing.
    pub fn write_head(&mut self, report: &Report) {
        if !self.head_written {
            self.head_written = true;
            let (head, _) = split(report);
            ignore_gone_reader(self.write_members(b'{', head, b""));
        }
    }

    /// Writes what is missing of the document.
    pub fn write_rest(&mut self, report: &Report) {
        self.write_head(report);
        let (_, rest) = split(report);
        ignore_gone_reader(self.write_members(b',', rest, b"}"));
    }

    /// One line; each member is let go once it is written, since a report can be large.
    fn write_members(&mut self, first: u8, members: Map<String, Value>, end: &[u8]) -> io::Result<()> {
        let mut before = first;
        for (name, value) in members {
            self.out.write_all(&[before])?;
            serde_json::to_writer(&mut self.out, &name)?;
            self.out.write_all(b":")?;
            serde_json::to_writer(&mut self.out, &value)?;
            before = b',';
        }
        self.out.write_all(end)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// The head members and the others.
fn split(report: &Report) -> (Map<String, Value>, Map<String, Value>) {
    match serde_json::to_value(report) {
        Ok(Value::Object(all)) => all.into_iter().partition(|(name, _)| HEAD.contains(&name.as_str())),
        _ => (Map::new(), Map::new()),
    }
}

fn ignore_gone_reader(result: io::Result<()>) {
    drop(result);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_make_one_document() {
        let mut bytes = Vec::new();
        let mut report = Report::new("deploy");
        report.environment = Some("dev".into());
        let mut writer = Writer::new(&mut bytes);
        writer.write_head(&report);
        report.changed = true;
        writer.write_rest(&report);
        drop(writer);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 2);
        let back: Report = serde_json::from_str(&text).unwrap();
        assert!(back.changed);
        let first = format!("{}}}", text.lines().next().unwrap());
        assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["environment"], "dev");
    }
}
