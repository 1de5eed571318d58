//! Writes a report head first: line 1 identifies the run and is flushed before anything is
//! changed, line 2 follows at the end. Together they are one JSON object.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::Report;

const HEAD: [&str; 5] = ["version", "tool", "environment", "deployment", "started_at"];

/// Writes one report to `out`; a reader that is gone is not an error of ours.
pub struct Writer<W: Write> {
    out: W,
    head_written: bool,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out, head_written: false }
    }

    /// Writes line 1 and flushes it. Later calls do nothing.
    pub fn write_head(&mut self, report: &Report) {
        if !self.head_written {
            self.head_written = true;
            let (head, _) = split(report);
            ignore_gone_reader(self.write_line(head.strip_suffix('}').unwrap_or(&head)));
        }
    }

    /// Writes what is missing of the document.
    pub fn write_rest(&mut self, report: &Report) {
        self.write_head(report);
        let (_, rest) = split(report);
        ignore_gone_reader(self.write_line(&rest.replacen('{', ",", 1)));
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// The head members and the others, each as a JSON object.
fn split(report: &Report) -> (String, String) {
    let Ok(Value::Object(all)) = serde_json::to_value(report) else {
        return (String::from("{}"), String::from("{}"));
    };
    let (head, rest): (Map<_, _>, Map<_, _>) =
        all.into_iter().partition(|(name, _)| HEAD.contains(&name.as_str()));
    (Value::Object(head).to_string(), Value::Object(rest).to_string())
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
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.lines().count(), 2);
        let back: Report = serde_json::from_str(&text).unwrap();
        assert!(back.changed);
        let first = format!("{}}}", text.lines().next().unwrap());
        assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["environment"], "dev");
    }
}
