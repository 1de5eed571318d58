//! Processes of a browser: its children have a command line that says nothing of it, but its group.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Process groups of the browsers whose profile lies below the directory.
pub(crate) fn groups_of(dir: &Path) -> BTreeSet<String> {
    let mark = dir.display().to_string();
    pids()
        .filter(|pid| line_of(*pid).contains(&mark))
        .filter_map(|pid| fields_of(pid)?.into_iter().nth(2))
        .collect()
}

/// Everything that runs in these groups.
pub(crate) fn processes_of(groups: &BTreeSet<String>) -> Vec<i32> {
    let is_one =
        |pid: &i32| fields_of(*pid).is_some_and(|fields| fields[0] != "Z" && groups.contains(&fields[2]));
    pids().filter(is_one).collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn line_of(pid: i32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
}

/// State, parent, process group and so on, behind the name.
fn fields_of(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.split_whitespace().map(str::to_owned).collect())
}

pub(crate) fn is_renderer(pid: i32) -> bool {
    line_of(pid).contains("--type=renderer")
}

/// A renderer that has had a second of the processor's time.
pub(crate) fn is_busy(pid: i32) -> bool {
    let ticks = fields_of(pid).and_then(|fields| fields.get(11)?.parse().ok());
    is_renderer(pid) && ticks.is_some_and(|ticks: u64| ticks > 100)
}
