//! A log in pieces, from a position that may be kept for later: nothing is read twice, a log that was
//! begun anew is read from its beginning, and no piece is too large.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::log::Log;
use crate::clock::now;

/// Read at once, in bytes; of a log that was never read before, from its end.
const MOST_BYTES: u64 = 4 * 1024 * 1024;
/// What nobody has written to for so long has no half line any more.
const STILL_MS: i64 = 2_000;

/// How far a log was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    File { inode: u64, offset: u64 },
    Journal { cursor: String },
}

/// A piece of a log.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub bytes: Vec<u8>,
    /// When it was written, at the latest; Unix milliseconds.
    pub at_ms: i64,
    /// Nothing that it ends with will be continued.
    pub is_still: bool,
    begin: Position,
}

impl Chunk {
    /// The position behind the first `count` bytes; a journal is always read as a whole.
    pub fn position_behind(&self, count: usize) -> Position {
        match &self.begin {
            Position::File { inode, offset } => {
                Position::File { inode: *inode, offset: offset + u64::try_from(count).unwrap_or(0) }
            }
            Position::Journal { cursor } => Position::Journal { cursor: cursor.clone() },
        }
    }
}

impl Log {
    /// What came since `from`; `None` when nothing did, or when it cannot be read.
    pub fn chunk(&self, from: Option<&Position>) -> Option<Chunk> {
        match self {
            Self::File(path) => of_file(path, from),
            Self::Journal(journal) => {
                let cursor = match from {
                    Some(Position::Journal { cursor }) => Some(cursor.as_str()),
                    _ => None,
                };
                let (text, cursor) = journal.since_cursor(cursor).filter(|(text, _)| !text.is_empty())?;
                let at_ms = now().as_millisecond();
                let begin = Position::Journal { cursor };
                Some(Chunk { bytes: text.into_bytes(), at_ms, is_still: true, begin })
            }
        }
    }
}

fn of_file(path: &Path, from: Option<&Position>) -> Option<Chunk> {
    let known = match from {
        Some(Position::File { inode, offset }) => Some((*inode, *offset)),
        _ => None,
    };
    // A keeper sets a large log aside when it starts the app again.
    let rest = known.and_then(|(inode, offset)| {
        let meta = aside(path).metadata().ok().filter(|meta| meta.ino() == inode && meta.len() > offset)?;
        piece(&aside(path), &meta, offset)
    });
    if rest.is_some() {
        return rest;
    }
    let meta = path.metadata().ok()?;
    let offset = match known {
        Some((inode, offset)) if inode == meta.ino() && offset <= meta.len() => offset,
        Some(_) => 0,
        None => meta.len().saturating_sub(MOST_BYTES),
    };
    piece(path, &meta, offset)
}

fn piece(path: &Path, meta: &Metadata, offset: u64) -> Option<Chunk> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(offset)).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    let at_ms = meta.mtime().saturating_mul(1000);
    let is_full = u64::try_from(bytes.len()).is_ok_and(|length| length == MOST_BYTES);
    let is_still = !is_full && now().as_millisecond().saturating_sub(at_ms) > STILL_MS;
    if !is_still && let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
        bytes.truncate(end + 1);
    } else if !is_still && !is_full {
        bytes.clear();
    }
    let begin = Position::File { inode: meta.ino(), offset };
    (!bytes.is_empty()).then_some(Chunk { bytes, at_ms, is_still, begin })
}

/// Where a keeper sets it aside.
fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::durable;

    fn text(chunk: Option<Chunk>) -> (String, Option<Position>) {
        let position = chunk.as_ref().map(|chunk| chunk.position_behind(chunk.bytes.len()));
        (chunk.map(|chunk| String::from_utf8(chunk.bytes).unwrap()).unwrap_or_default(), position)
    }

    #[test]
    fn whole_lines_are_read_once_over_a_rotation_and_a_truncation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let log = Log::File(path.clone());
        assert!(log.chunk(None).is_none());
        fs::write(&path, "one\ntw").unwrap();
        let (read, at) = text(log.chunk(None));
        assert_eq!(read, "one\n");
        assert!(log.chunk(at.as_ref()).is_none(), "half a line");
        fs::write(&path, "one\ntwo\n").unwrap();
        durable::rename_for_now(&path, &aside(&path)).unwrap();
        fs::write(&path, "three\n").unwrap();
        let (read, at) = text(log.chunk(at.as_ref()));
        assert_eq!(read, "two\n");
        let (read, at) = text(log.chunk(at.as_ref()));
        assert_eq!(read, "three\n");
        assert!(log.chunk(at.as_ref()).is_none());
        fs::write(&path, "4\n").unwrap();
        assert_eq!(text(log.chunk(at.as_ref())).0, "4\n");
    }

    #[test]
    fn a_large_log_is_read_in_pieces_and_a_first_look_sees_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let size = usize::try_from(MOST_BYTES).unwrap();
        fs::write(&path, vec![b'x'; 2 * size + 10]).unwrap();
        let log = Log::File(path.clone());
        let inode = path.metadata().unwrap().ino();
        let first = log.chunk(Some(&Position::File { inode, offset: 0 })).unwrap();
        assert_eq!(first.bytes.len(), size, "a line that fills a piece does not stop the reading");
        let end = log.chunk(None).unwrap().position_behind(size);
        assert_eq!(end, Position::File { inode, offset: 2 * MOST_BYTES + 10 });
    }
}
