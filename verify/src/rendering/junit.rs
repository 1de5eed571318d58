//! JUnit XML: only the elements that every reader agrees on.

use std::fmt::Write;

use common::report::{Status, Step};

use super::{escape_markup, told};

pub(super) fn render(environment: &str, steps: &[&Step]) -> String {
    let count = |status| steps.iter().filter(|step| step.status == status).count();
    let total: u64 = steps.iter().map(|step| step.duration_ms).sum();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        xml,
        "<testsuite name=\"verify {}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{}\">",
        escape(environment),
        steps.len(),
        count(Status::Failed),
        count(Status::Skipped),
        seconds(total)
    );
    for step in steps {
        render_step(&mut xml, step);
    }
    xml.push_str("</testsuite>\n");
    xml
}

fn render_step(xml: &mut String, step: &Step) {
    let stage = step.stage();
    let (name, time) = (escape(&step.name), seconds(step.duration_ms));
    let _ = write!(xml, "  <testcase classname=\"verify.{stage}\" name=\"{name}\" time=\"{time}\"");
    let _ = match (&step.problem, step.status) {
        (Some(problem), Status::Failed) => writeln!(
            xml,
            ">\n    <failure type=\"{}\" message=\"{}\">{}</failure>\n  </testcase>",
            escape(&problem.kind),
            escape(&problem.title),
            escape(&told(problem))
        ),
        (Some(problem), Status::Skipped) => {
            writeln!(xml, ">\n    <skipped message=\"{}\"/>\n  </testcase>", escape(&problem.title))
        }
        _ => writeln!(xml, "/>"),
    };
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// XML allows no control characters, not even escaped.
fn escape(text: &str) -> String {
    escape_markup(text, |c| match c {
        '\n' => Some("&#10;"),
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => Some("\u{fffd}"),
        _ => None,
    })
}
