//! `[files]`: what files of the deployed release must be like.

use std::path::{Component, Path};

use common::report::Problem;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::entry::Texts;
use super::source::Source;

/// Keys of one file.
pub(super) const KEYS: [&str; 3] = ["sha256", "text", "absent"];
const PREFIX: &str = "sha256:";

/// One file, by its path inside the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileCheck {
    pub(crate) path: String,
    pub(crate) wanted: FileWanted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileWanted {
    /// There must be no such file.
    Gone,
    /// In lower-case hexadecimal digits; texts it must, and must not, have.
    Content { sha256: Option<String>, text: Vec<String>, absent: Vec<String> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Options {
    sha256: Option<String>,
    text: Texts,
    absent: Absent,
}

/// Texts, or the file itself.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected true, a text or a list of texts")]
enum Absent {
    File(bool),
    Texts(Texts),
}

impl Default for Absent {
    fn default() -> Self {
        Self::File(false)
    }
}

pub(super) fn read(source: &Source<'_>, table: DeTable<'_>) -> Result<Vec<FileCheck>, Problem> {
    let mut files = Vec::new();
    for (key, value) in table {
        let (path, span) = (key.get_ref().to_string(), value.span());
        if Path::new(&path).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(source.wrong(&key.span(), &format!("'{path}' is not a path inside the release")));
        }
        let options = match value.into_inner() {
            DeValue::String(text) => {
                let sha256 = text.strip_prefix(PREFIX).map(str::to_owned);
                let sha256 = sha256.ok_or_else(|| source.wrong(&span, "expected \"sha256:…\" or { … }"))?;
                Options { sha256: Some(sha256), ..Options::default() }
            }
            DeValue::Table(table) => {
                source.check_keys(&table, &KEYS)?;
                source.read(Spanned::new(span.clone(), DeValue::Table(table)))?
            }
            _ => return Err(source.wrong(&span, "expected \"sha256:…\" or { … }")),
        };
        let wanted = wanted(options).map_err(|what| source.wrong(&span, &what))?;
        files.push(FileCheck { path, wanted });
    }
    Ok(files)
}

/// The error is a sentence.
fn wanted(options: Options) -> Result<FileWanted, String> {
    let absent = match options.absent {
        Absent::File(true) if options.sha256.is_some() || !options.text.0.is_empty() => {
            return Err("a file that must be absent has no content".into());
        }
        Absent::File(true) => return Ok(FileWanted::Gone),
        Absent::File(false) => Vec::new(),
        Absent::Texts(texts) => texts.0,
    };
    let sha256 = options.sha256.map(|hash| hash.trim_start_matches(PREFIX).to_ascii_lowercase());
    if let Some(hash) =
        sha256.as_ref().filter(|hash| hash.len() != 64 || hash.chars().any(|c| !c.is_ascii_hexdigit()))
    {
        return Err(format!("'{hash}' is not a SHA-256 of 64 hexadecimal digits"));
    }
    Ok(FileWanted::Content { sha256, text: options.text.0, absent })
}
