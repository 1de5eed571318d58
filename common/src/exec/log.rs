//! The log file of one run: everything that the programs it ran have printed.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::report::{OrProblem, Problem, now, quoted};

/// Of a log, what a problem shows.
const TAIL_BYTES: usize = 4096;
const TAIL_LINES: usize = 20;

/// An open log file, 0600, never an existing one and never through a link.
#[derive(Debug)]
pub struct RunLog {
    file: File,
    path: PathBuf,
}

impl RunLog {
    /// Makes `DIR/TOOL-ENVIRONMENT-TIMESTAMP.log`; a collision gets a numeric suffix.
    ///
    /// # Errors
    /// `log-unwritable`.
    pub fn create(dir: &Path, tool: &str, environment: &str) -> Result<Self, Problem> {
        std::fs::create_dir_all(dir)
            .or_problem("log-unwritable", || format!("cannot make {}", dir.display()))?;
        let stem = format!("{tool}-{environment}-{}", now().strftime("%Y%m%dT%H%M%SZ"));
        for number in 1..1000 {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let path = dir.join(format!("{stem}{suffix}.log"));
            match open_new(&path) {
                Ok(file) => return Ok(Self { file, path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(Problem::new("log-unwritable", format!("cannot write {}", path.display()))
                        .detail(error.to_string())
                        .hint(format!("ls -ld {}", quoted(dir.display()))));
                }
            }
        }
        Err(Problem::new("log-unwritable", format!("too many log files {stem}"))
            .hint(format!("ls {}", quoted(dir.display()))))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A headline before a program's output.
    pub fn title(&self, text: &str) {
        let _ = writeln!(&self.file, "# {} {text}", now());
    }

    /// Text of ours, or output that was looked through.
    pub fn append(&self, text: &str) {
        let _ = (&self.file).write_all(text.as_bytes());
    }

    /// A descriptor for a program to write to.
    ///
    /// # Errors
    /// `log-unwritable`.
    pub fn writer(&self) -> Result<File, Problem> {
        self.file.try_clone().or_problem("log-unwritable", || "cannot duplicate the log file".into())
    }

    /// Position of the end, to read from later.
    pub fn end(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// The last lines written since `start`.
    pub fn tail(&self, start: u64) -> String {
        tail(&self.path, start)
    }
}

/// The last 20 lines, at most 4 KiB, of what stands in `path` after byte `start`; nothing of what is
/// not a file of ours.
pub fn tail(path: &Path, start: u64) -> String {
    let Ok(mut file) = open_own(path) else { return String::new() };
    let end = file.metadata().map_or(0, |meta| meta.len());
    let from = start.max(end.saturating_sub(TAIL_BYTES as u64));
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(from)).is_err() || file.read_to_end(&mut bytes).is_err() {
        return String::new();
    }
    last_lines(&bytes, from > start)
}

/// The same of what a program has printed.
pub fn tail_of(output: &str) -> String {
    let from = output.len().saturating_sub(TAIL_BYTES);
    last_lines(&output.as_bytes()[from..], from > 0)
}

/// A line whose beginning is missing says so: half a secret is known by that mark.
fn last_lines(bytes: &[u8], is_cut: bool) -> String {
    let cut = if is_cut { "…" } else { "" };
    let text = format!("{cut}{}", String::from_utf8_lossy(bytes));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

/// Logs may lie where anybody may lay something else: a link, a pipe that nobody writes to, a file of
/// another user.
fn open_own(path: &Path) -> std::io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() && meta.uid() == rustix::process::geteuid().as_raw() {
        return Ok(file);
    }
    Err(ErrorKind::PermissionDenied.into())
}

fn open_new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn only_a_file_of_ours_is_shown_as_a_log_and_a_pipe_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("own"), "one\ntwo\n").unwrap();
        symlink(file("own"), file("link")).unwrap();
        let pipe = file("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(tail(&file("own"), 0), "one\ntwo");
        assert_eq!(tail(&file("link"), 0), "");
        assert_eq!(tail(&pipe, 0), "");
        if rustix::process::geteuid().is_root() {
            chown(file("own"), Some(65_534), None).unwrap();
            assert_eq!(tail(&file("own"), 0), "");
        }
    }
}
