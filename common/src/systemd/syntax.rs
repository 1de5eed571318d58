//! How text is written for systemd, so that it comes out as it went in: values of an environment
//! file, words of a unit file, and lines of the shell that a unit starts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::Path;

use crate::report::{Problem, quoted};

/// An environment file. Between double quotes systemd takes four characters for its own, and a
/// backslash makes each of them plain; all else, a line's end too, stands for itself.
///
/// # Errors
/// `not-started`: a variable that is not UTF-8, which systemd would drop.
pub(crate) fn environment_file(variables: &BTreeMap<OsString, OsString>) -> Result<String, Problem> {
    let mut text = String::new();
    for (name, value) in variables {
        let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
            let name = name.to_string_lossy().into_owned();
            return Err(Problem::new("not-started", format!("the variable {name} is not UTF-8"))
                .hint(format!("printenv {} | od -c", quoted(name))));
        };
        let _ = write!(text, "{name}=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '$' | '`') {
                text.push('\\');
            }
            text.push(c);
        }
        text.push_str("\"\n");
    }
    Ok(text)
}

/// A path as one word of a unit file.
pub(crate) fn word(path: &Path) -> String {
    format!("\"{}\"", plain(path))
}

/// A path that fills a line of a unit file by itself: only `%` means something there.
pub(crate) fn plain(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

/// A path as one word of a command line in a unit, where `$` means something too.
pub(crate) fn command_word(path: &Path) -> String {
    word(path).replace('$', "$$")
}

/// Text as one word of a shell.
pub(crate) fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_for_an_environment_file() {
        let variables = BTreeMap::from([("A".into(), "a \"b\" $c `d` \\e %f\ng".into())]);
        let text = environment_file(&variables).unwrap();
        assert_eq!(text, "A=\"a \\\"b\\\" \\$c \\`d\\` \\\\e %f\ng\"\n");
    }

    #[test]
    fn a_shell_gives_each_word_back() {
        for text in ["a b", "it's", "$HOME `id` \"x\" \\ \n%i", ""] {
            let line = format!("printf %s {}", shell_word(text));
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }

    #[test]
    fn paths_are_words_that_mean_nothing_else() {
        assert_eq!(command_word(Path::new("/a b/1%/$x")), "\"/a b/1%%/$$x\"");
        assert_eq!(plain(Path::new("/a b/1%/$x")), "/a b/1%%/$x");
    }
}
