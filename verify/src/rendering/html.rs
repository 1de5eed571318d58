//! One HTML page that needs nothing else: the report and the screenshots, no script.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::layout::marked_picture;
use common::report::{Report, Status, Step};

use super::escape_markup;
use crate::past::Leaving;
use crate::regressions::Change;

const STYLE: &str = include_str!("html.css");

/// The page; what is in the report was made safe to show, and is made safe for HTML here.
pub(super) fn render(report: &Report, steps: &[&Step], leaving: &Leaving) -> String {
    let environment = escape(report.environment.as_deref().unwrap_or_default());
    let outcome = report.outcome.word();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>verify {environment}: {outcome}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    let class = if report.success { "passed" } else { "failed" };
    let _ = writeln!(page, "<h1>verify {environment}: <span class=\"{class}\">{outcome}</span></h1>");
    facts(&mut page, report);
    stages(&mut page, steps);
    failures(&mut page, steps);
    changes(&mut page, &leaving.structure.changes);
    screenshots(&mut page, leaving);
    all_checks(&mut page, steps);
    page.push_str("</body>\n</html>\n");
    page
}

fn facts(page: &mut String, report: &Report) {
    let release = report.release.as_ref();
    let facts = [
        ("revision", release.map(|release| release.revision.clone())),
        ("branch", release.and_then(|release| release.branch.clone())),
        ("deployment", report.deployment.clone()),
        ("compared with", compared_with(report)),
        ("begun", Some(report.started_at.to_string())),
        ("took", Some(format!("{} ms", report.duration_ms))),
    ];
    page.push_str("<table>\n");
    for (name, value) in facts {
        let Some(value) = value else { continue };
        let _ = writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table>\n");
}

fn compared_with(report: &Report) -> Option<String> {
    let baseline = &report.details.get("verify")?["regressions"]["baseline"];
    let text = |name: &str| baseline[name].as_str();
    Some(format!("{}, deployment {}", text("revision")?, text("deployment")?))
}

fn stages(page: &mut String, steps: &[&Step]) {
    page.push_str("<h2>Stages</h2>\n<table>\n<tr><th>stage</th><th class=\"number\">passed</th><th class=\"number\">failed</th><th class=\"number\">skipped</th><th class=\"number\">ms</th></tr>\n");
    let mut names: Vec<&str> = steps.iter().map(|step| step.stage()).collect();
    names.dedup();
    for name in names {
        let own = || steps.iter().filter(|step| step.stage() == name);
        let count = |status| own().filter(|step| step.status == status).count();
        let took: u64 = own().map(|step| step.duration_ms).sum();
        let failed = count(Status::Failed);
        let class = if failed > 0 { "failed" } else { "passed" };
        let _ = writeln!(
            page,
            "<tr><td class=\"{class}\">{}</td><td class=\"number\">{}</td><td class=\"number\">{failed}</td><td class=\"number\">{}</td><td class=\"number\">{took}</td></tr>",
            escape(name),
            count(Status::Passed),
            count(Status::Skipped),
        );
    }
    page.push_str("</table>\n");
}

fn failures(page: &mut String, steps: &[&Step]) {
    let failed = steps.iter().filter(|step| step.status == Status::Failed);
    let problems: Vec<_> = failed.filter_map(|step| Some((step, step.problem.as_ref()?))).collect();
    if problems.is_empty() {
        return;
    }
    let _ = writeln!(page, "<h2>{} failed</h2>", problems.len());
    for (step, problem) in problems {
        let _ = writeln!(
            page,
            "<article>\n<h3>{}</h3>\n<div class=\"dim\">{} · {}</div>",
            escape(&problem.title),
            escape(&step.name),
            escape(&problem.kind)
        );
        if let Some(detail) = &problem.detail {
            let _ = writeln!(page, "<pre>{}</pre>", escape(detail));
        }
        if let Some(hint) = &problem.hint {
            let _ = writeln!(page, "<code>{}</code>", escape(hint));
        }
        page.push_str("</article>\n");
    }
}

fn changes(page: &mut String, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    page.push_str("<h2>Since the release before</h2>\n<ul>\n");
    for change in changes {
        let accepted = change.accepted.as_ref().map(|by| format!(", accepted by {}", escape(by)));
        let accepted = accepted.unwrap_or_default();
        let (sentence, id) = (escape(&change.sentence()), escape(&change.id));
        let _ = writeln!(page, "<li>{sentence} <span class=\"dim\">{id}{accepted}</span></li>");
    }
    page.push_str("</ul>\n");
}

fn screenshots(page: &mut String, leaving: &Leaving) {
    if leaving.structure.screenshots.is_empty() {
        return;
    }
    page.push_str("<h2>Screenshots</h2>\n");
    for (name, file) in &leaving.structure.screenshots {
        let name = escape(name);
        if let Some(picture) = leaving.pictures.get(file) {
            figure(page, &name, picture);
        }
        if let Some(marked) = leaving.pictures.get(&marked_picture(file)) {
            figure(page, &format!("{name}, what differs"), marked);
        }
    }
}

/// `caption` is HTML already.
fn figure(page: &mut String, caption: &str, picture: &[u8]) {
    let _ = writeln!(
        page,
        "<figure>\n<figcaption>{caption}</figcaption>\n<img alt=\"{caption}\" src=\"data:image/png;base64,{}\">\n</figure>",
        STANDARD.encode(picture)
    );
}

fn all_checks(page: &mut String, steps: &[&Step]) {
    let _ =
        writeln!(page, "<h2>All checks</h2>\n<details>\n<summary>{} checks</summary>\n<table>", steps.len());
    for step in steps {
        let word = match step.status {
            Status::Passed => "passed",
            Status::Failed => "failed",
            Status::Skipped => "skipped",
        };
        let reason = step.problem.as_ref().map(|problem| escape(&problem.title)).unwrap_or_default();
        let _ = writeln!(
            page,
            "<tr><td class=\"{word}\">{word}</td><td>{}<br><span class=\"dim\">{reason}</span></td><td class=\"number\">{} ms</td></tr>",
            escape(&step.name),
            step.duration_ms
        );
    }
    page.push_str("</table>\n</details>\n");
}

fn escape(text: &str) -> String {
    escape_markup(text, |c| match c {
        '\'' => Some("&#39;"),
        c if c.is_control() && c != '\n' && c != '\t' => Some("\u{fffd}"),
        _ => None,
    })
}
