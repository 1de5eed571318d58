//! The text of an installed hook, and recognising it: a few lines of sh that call this program by
//! its absolute path. Everything in it is quoted, and no name of a branch ever gets there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Hook;

const OPENING: &[u8] =
    b"#!/bin/sh\n# by `deploy hooks install`; `deploy hooks remove` puts back what was here. ";

/// The whole file: `config` and `program` are absolute.
pub(super) fn text(hook: Hook, program: &Path, config: &Path) -> Vec<u8> {
    let command = [
        b"exec ".as_slice(),
        &quoted(program.as_os_str()),
        format!(" hooks run {} --config ", hook.name()).as_bytes(),
        &quoted(config.as_os_str()),
        b" -- \"$@\" >/dev/null\n",
    ]
    .concat();
    [OPENING, seal(&command).as_bytes(), b"\n", &command].concat()
}

/// Whether a file was written by us: `Some(true)` as it is, `Some(false)` edited since.
pub(super) fn recognise(file: &[u8]) -> Option<bool> {
    let rest = file.strip_prefix(OPENING)?;
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (sealed, command) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    Some(sealed == seal(command).as_bytes())
}

/// One word for sh, whatever bytes it holds.
fn quoted(word: &OsStr) -> Vec<u8> {
    let mut text = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => text.extend(b"'\\''"),
            other => text.push(*other),
        }
    }
    text.push(b'\'');
    text
}

fn seal(command: &[u8]) -> String {
    format!("sha256 {}", common::hex(&Sha256::digest(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_edit_is_noticed_and_other_files_are_not_ours() {
        let written = text(Hook::PreReceive, Path::new("/bin/deploy"), Path::new("/srv/deploy.toml"));
        assert_eq!(recognise(&written), Some(true));
        for at in OPENING.len()..written.len() {
            let mut edited = written.clone();
            edited[at] ^= 1;
            assert_eq!(recognise(&edited), Some(false), "byte {at}");
        }
        assert_eq!(recognise(&written[..written.len() - 1]), Some(false));
        assert_eq!(recognise(&[&written, b"echo more\n".as_slice()].concat()), Some(false));
        assert_eq!(recognise(b"#!/bin/sh\nexit 0\n"), None);
    }

    #[test]
    fn sh_reads_back_what_was_quoted() {
        for word in ["a b", "it's", "$(touch x)`id`\"\\", "-n", "new\nline", "ü*?"] {
            let line = [b"printf %s ".as_slice(), &quoted(OsStr::new(word))].concat();
            let output =
                std::process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(&line)).output().unwrap();
            assert_eq!(output.stdout, word.as_bytes());
        }
    }
}
