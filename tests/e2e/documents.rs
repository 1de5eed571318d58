//! What the documents list is what the sources have, both ways.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const MEMBERS: [&str; 7] = ["common", "deploy", "verify", "status", "rollback", "migrate", "backup"];
/// After these a slug follows as the first literal.
const OPENINGS: [&str; 3] = ["Problem::new(", "Finding::new(", "or_problem("];

#[test]
fn every_problem_type_is_in_the_report_document() {
    let text = read("docs/report.md");
    let (_, list) = text.split_once("## Problem types").unwrap();
    let listed: BTreeSet<&str> = list.lines().filter_map(first_cell).filter(|cell| *cell != "type").collect();
    let sources: Vec<String> =
        sources().iter().map(|file| without_tests(&fs::read_to_string(file).unwrap())).collect();
    let raised: BTreeSet<&str> = sources.iter().flat_map(|source| slugs(source)).collect();
    let missing: Vec<_> = raised.difference(&listed).collect();
    assert!(missing.is_empty(), "docs/report.md lacks {missing:?}");
    let named = |slug: &&&str| sources.iter().any(|source| source.contains(&format!("\"{slug}\"")));
    let gone: Vec<_> = listed.iter().filter(|slug| !named(slug)).collect();
    assert!(gone.is_empty(), "no source has {gone:?} of docs/report.md");
}

/// A hint is pasted into a shell: a path in it must stay one word.
#[test]
fn every_path_in_a_hint_is_quoted() {
    for file in sources() {
        let source = without_tests(&fs::read_to_string(&file).unwrap());
        for hint in source.split(".hint(").skip(1).map(argument) {
            let paths = hint.matches(".display()").count();
            let quoted = hint.split("quoted(").skip(1).filter(|word| argument(word).contains(".display()"));
            assert!(quoted.count() >= paths, "{}: .hint({hint})", file.display());
        }
    }
}

/// What stands before the parenthesis that closes an open one.
fn argument(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    &text[..end.unwrap_or(text.len())]
}

#[test]
fn every_key_is_in_the_configuration_document() {
    let text = read("docs/config.md");
    let listed: BTreeSet<&str> = text.lines().filter_map(first_cell).collect();
    for line in read("common/src/config/every_key.toml").lines() {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let nested = value.trim().strip_prefix('{').filter(|_| key != "coverage");
        let parts = nested.map_or_else(
            || vec![key.to_owned()],
            |table| inner_keys(table).map(|inner| format!("{key}.{inner}")).collect(),
        );
        for part in parts {
            assert!(listed.contains(part.as_str()), "docs/config.md lacks {part}");
        }
    }
}

#[test]
fn every_test_that_the_plan_names_exists() {
    let plan = read("docs/plan.md");
    let tests: String = test_sources().iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let named: BTreeSet<&str> =
        plan.split('`').skip(1).step_by(2).filter(|word| is_test_name(word)).collect();
    assert!(named.len() > 30, "the plan names {} tests", named.len());
    let gone: Vec<_> = named
        .iter()
        .filter(|name| !["fn", "def"].iter().any(|word| tests.contains(&format!("{word} {name}("))))
        .collect();
    assert!(gone.is_empty(), "docs/plan.md names {gone:?}");
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    for document in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root().join(name))
        .chain(documents())
    {
        let text = fs::read_to_string(&document).unwrap();
        let targets = text.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            assert!(document.parent().unwrap().join(target).exists(), "{}: {target}", document.display());
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn files(dir: PathBuf, ending: &str) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(dir).into_iter().flatten().map(walkdir::DirEntry::into_path);
    entries.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
}

fn documents() -> Vec<PathBuf> {
    files(root().join("docs"), "md")
}

fn sources() -> Vec<PathBuf> {
    let all = MEMBERS.iter().flat_map(|member| files(root().join(member).join("src"), "rs"));
    all.filter(|file| file.file_name().is_none_or(|name| name != "tests.rs")).collect()
}

fn test_sources() -> Vec<PathBuf> {
    let dirs = MEMBERS.iter().map(|member| root().join(member)).chain([root().join("tests")]);
    let rust = dirs.flat_map(|dir| files(dir, "rs"));
    rust.chain(files(root().join("examples/viewer/tests"), "py")).collect()
}

/// The part before the file's own tests.
fn without_tests(source: &str) -> String {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

fn slugs(source: &str) -> BTreeSet<&str> {
    let after = |opening: &str| source.split(opening).skip(1).map(str::trim_start).collect::<Vec<_>>();
    let literals = OPENINGS.iter().flat_map(|opening| after(opening));
    literals.filter_map(|rest| rest.strip_prefix('"')?.split('"').next()).collect()
}

fn first_cell(line: &str) -> Option<&str> {
    Some(line.strip_prefix("| ")?.split(" |").next()?.trim_matches('`'))
}

/// The names before each `=` at the top of an inline table.
fn inner_keys(table: &str) -> impl Iterator<Item = &str> {
    table
        .split(" = ")
        .filter_map(|part| part.trim().rsplit([' ', '{']).next())
        .filter(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
}

/// Test names are whole sentences; commands, keys and files are not.
fn is_test_name(word: &str) -> bool {
    word.matches('_').count() >= 2
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
