//! What is pushed: git's lines on a hook's stdin.

use std::io::Read;

use common::report::{OrProblem, Problem};

use super::Hook;

/// One ref that a push moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// The branch's name; other refs are free and not kept here.
    pub(super) branch: String,
    /// Where it stands; none when it is made by this push.
    pub(super) old: Option<String>,
    /// Where it goes; none when it is deleted.
    pub(super) new: Option<String>,
}

/// All of stdin.
pub(super) fn read() -> Result<Vec<u8>, Problem> {
    let mut input = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut input)
        .or_problem("hook-input", || "cannot read what git says is pushed".into())
        .map_err(|problem| problem.hint("git push"))?;
    Ok(input)
}

/// The branches among the lines; git promises their form.
pub(super) fn parse(hook: Hook, input: &[u8]) -> Vec<Update> {
    String::from_utf8_lossy(input).lines().filter_map(|line| parse_line(hook, line)).collect()
}

fn parse_line(hook: Hook, line: &str) -> Option<Update> {
    let words: Vec<&str> = line.split(' ').collect();
    let (old, new, reference) = match words.as_slice() {
        [_, new, reference, old] if hook == Hook::PrePush => (old, new, reference),
        [old, new, reference] if hook != Hook::PrePush => (old, new, reference),
        _ => return None,
    };
    let branch = reference.strip_prefix("refs/heads/")?.to_owned();
    Some(Update { branch, old: commit(old), new: commit(new) })
}

/// All zeros stand for no commit.
fn commit(id: &str) -> Option<String> {
    id.contains(|c| c != '0').then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_only_and_zeros_are_nothing() {
        let zero = "0".repeat(40);
        let input = format!("{zero} aa refs/heads/a;$(b)\nbb {zero} refs/heads/dev\ncc dd refs/tags/v1\n");
        let update = |branch: &str, old: Option<&str>, new: Option<&str>| Update {
            branch: branch.into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let expected = [update("a;$(b)", None, Some("aa")), update("dev", Some("bb"), None)];
        assert_eq!(parse(Hook::PreReceive, input.as_bytes()), expected);
        let input = format!("refs/heads/x aa refs/heads/dev bb\n(delete) {zero} refs/heads/main cc\n");
        let expected = [update("dev", Some("bb"), Some("aa")), update("main", Some("cc"), None)];
        assert_eq!(parse(Hook::PrePush, input.as_bytes()), expected);
    }
}
