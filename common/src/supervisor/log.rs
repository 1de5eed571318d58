//! What an instance prints: its last lines for a problem, the lines that come for a watch, and the
//! command that shows more.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::journal::{Journal, JournalFollower};
use crate::exec::tail;
use crate::report::quoted;

/// Read in one look.
const MOST_BYTES: u64 = 1024 * 1024;

/// Where an instance's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    File(PathBuf),
    Journal(Journal),
}

impl Log {
    /// The last lines.
    pub fn tail(&self) -> String {
        match self {
            Self::File(path) => tail(path, 0),
            Self::Journal(journal) => journal.tail(),
        }
    }

    /// The command that shows more of them.
    pub fn hint(&self) -> String {
        match self {
            Self::File(path) => format!("tail -n 50 {}", quoted(path.display())),
            Self::Journal(journal) => journal.hint(),
        }
    }

    /// Follows it from where it ends now.
    pub fn follow(&self) -> Follower {
        match self {
            Self::File(path) => Follower::File(FileFollower { read: length(path), path: path.clone() }),
            Self::Journal(journal) => Follower::Journal(journal.follow()),
        }
    }
}

/// A log from where it stood at some moment.
#[derive(Debug)]
pub enum Follower {
    File(FileFollower),
    Journal(JournalFollower),
}

impl Follower {
    /// The whole lines that came since the last look.
    pub fn look(&mut self) -> String {
        match self {
            Self::File(file) => file.look(),
            Self::Journal(journal) => journal.look(),
        }
    }
}

/// A file, and how much of it was read.
#[derive(Debug)]
pub struct FileFollower {
    path: PathBuf,
    read: u64,
}

impl FileFollower {
    fn look(&mut self) -> String {
        // A shorter file is a new one.
        if length(&self.path) < self.read {
            self.read = 0;
        }
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.take(MOST_BYTES).read_to_end(&mut bytes)
        });
        if read.is_err() {
            return String::new();
        }
        // A line that has no end yet is read in the next look, unless it fills the whole of this one.
        if bytes.len() < usize::try_from(MOST_BYTES).unwrap_or(usize::MAX) {
            bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        }
        self.read += u64::try_from(bytes.len()).unwrap_or(0);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn length(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_that_came_since_are_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        std::fs::write(&path, "before\n").unwrap();
        let mut log = Log::File(path.clone()).follow();
        assert_eq!(log.look(), "");
        std::fs::write(&path, "before\none\ntw").unwrap();
        assert_eq!(log.look(), "one\n");
        std::fs::write(&path, "before\none\ntwo\n").unwrap();
        assert_eq!((log.look(), log.look()), ("two\n".into(), String::new()));
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(log.look(), "new\n");
    }
}
