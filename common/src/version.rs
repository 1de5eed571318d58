//! The version that a revision gives itself in a file of the project, and the tag that stands for it.

use crate::git::Repository;

const LARGEST_BYTES: u64 = 1024 * 1024;
const LONGEST: usize = 64;

type Reader = fn(&str) -> Option<String>;

/// Reads the version from the files of a revision, never from the work tree: `VERSION`,
/// `pyproject.toml`, `Cargo.toml`, `package.json`, the first that holds one.
pub fn of_revision(repository: &Repository, revision: &str) -> Option<String> {
    let readers: [(&str, Reader); 4] = [
        ("VERSION", |text| text.lines().next().map(str::to_owned)),
        ("pyproject.toml", |text| in_toml(text, &[&["project"], &["tool", "poetry"]])),
        ("Cargo.toml", |text| in_toml(text, &[&["package"], &["workspace", "package"]])),
        ("package.json", in_json),
    ];
    readers.into_iter().find_map(|(file, read)| {
        let found = read(&repository.file(revision, file, LARGEST_BYTES)?)?;
        let found = found.trim();
        let version = found.strip_prefix('v').unwrap_or(found);
        is_version(version).then(|| version.to_owned())
    })
}

/// The tag of a version: `v1.4.0`.
pub fn tag_name(version: &str) -> String {
    format!("v{version}")
}

/// The tags that somebody may mean: as written, and with or without the `v`.
pub fn tags_meant(name: &str) -> [String; 2] {
    [name.to_owned(), name.strip_prefix('v').map_or_else(|| tag_name(name), str::to_owned)]
}

/// Whether a tag stands for a version, by its name.
pub fn is_tag(name: &str) -> bool {
    is_version(name.strip_prefix('v').unwrap_or(name))
}

fn in_toml(text: &str, tables: &[&[&str]]) -> Option<String> {
    let document: toml::Table = text.parse().ok()?;
    tables.iter().find_map(|path| {
        let (first, rest) = path.split_first()?;
        let table = rest.iter().try_fold(document.get(*first)?, |table, name| table.get(name))?;
        table.get("version")?.as_str().map(str::to_owned)
    })
}

fn in_json(text: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(text).ok()?;
    document.get("version")?.as_str().map(str::to_owned)
}

/// Semantic versions and those of Python: numbers with at least one dot, then letters, digits and
/// `.+-_`. Nothing else ever becomes the name of a tag.
fn is_version(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let core = match text.split_once('!') {
        Some((epoch, rest)) if digits(epoch) => rest,
        Some(_) => return false,
        None => text,
    };
    let end = core.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(core.len());
    let (numbers, suffix) = core.split_at(end);
    // A suffix may follow a dot of its own: 1.4.post1.
    let numbers = if suffix.is_empty() { numbers } else { numbers.strip_suffix('.').unwrap_or(numbers) };
    text.len() <= LONGEST
        && numbers.contains('.')
        && numbers.split('.').all(digits)
        && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte))
        && !suffix.contains("..")
        && suffix.bytes().last().is_none_or(|last| last.is_ascii_alphanumeric())
        // git keeps that ending for itself.
        && core.rsplit_once('.').is_none_or(|(_, last)| last != "lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_have_a_dot_and_no_surprise() {
        for good in [
            "1.4",
            "2.0.1",
            "2.0.1-rc.1",
            "1.0.0+build.5",
            "1.0a1",
            "1.4.post1",
            "1.0.dev3+g1a2b3c",
            "1!2.0",
            "2026.11.23",
            "1.0.0-x-y",
        ] {
            assert!(is_version(good), "{good}");
        }
        for bad in [
            "",
            "v1",
            "1",
            "faulty",
            "1.",
            ".1",
            "1..2",
            "1.0 beta",
            "1.0\n",
            "-1.0",
            "1.0-",
            "1.0..rc",
            "1.0.lock",
            "1.0~1",
            "1.0^",
            "1.0:x",
            "1.0/../x",
            "$(id).1",
            "a!1.0",
            "1!1",
            "1.0\u{661}",
        ] {
            assert!(!is_version(bad), "{bad}");
        }
        assert!(!is_version(&format!("1.{}", "0".repeat(LONGEST))));
    }

    #[test]
    fn each_file_has_its_place_for_the_version() {
        let python = |text| in_toml(text, &[&["project"], &["tool", "poetry"]]);
        assert_eq!(python("[project]\nname='x'\nversion='1.2'\n").unwrap(), "1.2");
        assert_eq!(python("[tool.poetry]\nversion='1.3'\n").unwrap(), "1.3");
        assert_eq!(python("[project]\ndynamic=['version']\n"), None);
        let rust = |text| in_toml(text, &[&["package"], &["workspace", "package"]]);
        assert_eq!(
            rust("[package]\nversion.workspace=true\n[workspace.package]\nversion='0.3.1'\n").unwrap(),
            "0.3.1"
        );
        assert_eq!(in_json("{\"version\":\"4.5.6\"}").unwrap(), "4.5.6");
        assert_eq!(in_json("{\"version\":4}"), None);
    }

    #[test]
    fn a_version_may_be_written_with_and_without_its_letter() {
        assert_eq!(tags_meant("1.4.0"), ["1.4.0", "v1.4.0"]);
        assert_eq!(tags_meant("v1.4.0"), ["v1.4.0", "1.4.0"]);
    }

    proptest! {
        #[test]
        fn what_passes_is_always_a_name_that_git_takes(text in "[0-9]{1,3}[0-9.!a-z+_-]{0,12}") {
            if is_version(&text) {
                let name = format!("refs/tags/{}", tag_name(&text));
                let checked = std::process::Command::new("git").args(["check-ref-format", &name]).status().unwrap();
                prop_assert!(checked.success(), "{}", name);
            }
        }
    }
}
