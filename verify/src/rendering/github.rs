//! GitHub workflow commands: an annotation for each problem.

use common::report::{Status, Step};

use super::told;

pub(super) fn render(steps: &[&Step]) -> String {
    let failed = steps.iter().filter(|step| step.status == Status::Failed);
    failed.filter_map(|step| annotation(step)).collect()
}

fn annotation(step: &Step) -> Option<String> {
    let problem = step.problem.as_ref()?;
    let level = if problem.kind == "unverified" { "warning" } else { "error" };
    let title = data(&format!("verify {}", step.name)).replace(':', "%3A").replace(',', "%2C");
    Some(format!("::{level} title={title}::{}\n", data(&told(problem))))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}
