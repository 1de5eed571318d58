//! Foreign text in a hint: a hint is pasted into a shell, so a branch, a path or a revision in it
//! must stay the one word it is, whatever characters somebody gave it.

use std::borrow::Cow;
use std::fmt::Display;

/// `text` as one word of a POSIX shell; plain names stay as they are.
///
/// A NUL, which no word can hold, is left out.
pub fn quoted(text: impl Display) -> String {
    let text = text.to_string().replace('\0', "");
    shlex::try_quote(&text).map(Cow::into_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// What a real shell makes of the word, behind a marker that nothing else prints.
    fn as_a_shell_reads(word: &str) -> String {
        let line = format!("printf '<%s>' {word}");
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn plain_names_stay_plain() {
        for name in ["main", "feature/x-1.2", "/srv/app/ledger.db", "3f2a9c1"] {
            assert_eq!(quoted(name), name);
        }
    }

    #[test]
    fn names_that_are_commands_stay_one_word() {
        for name in [
            "",
            "$(touch x)",
            "`id`",
            "a b",
            "it's",
            "a\"b",
            "x;reboot",
            "a\nb",
            "*",
            "~root",
            "-x",
            "#c",
            "\\",
            "!!",
            "a=b",
            "{a,b}",
            "&",
            "|",
            "\u{1b}[2J",
        ] {
            assert_eq!(as_a_shell_reads(&quoted(name)), format!("<{name}>"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_stays_one_word(text in "[\\x01-\\x7f\u{80}-\u{2fff}$`'\"\\\\ \n;&|<>(){}*?!~#-]{0,24}") {
            prop_assert_eq!(as_a_shell_reads(&quoted(&text)), format!("<{text}>"));
        }
    }
}
