//! A log in pieces, from a position that may be kept for later: nothing is read twice, a log that was
//! begun anew is read from its beginning, and no piece is too large. Of what was written while nobody
//! has read for long the end is read.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::log::Log;
use crate::clock::now;
use crate::database::with_suffix;

/// Read at once, in bytes; of a log that was never read before, from its end.
pub(super) const MOST_BYTES: u64 = 4 * 1024 * 1024;
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
    /// There is no room in it for more.
    pub is_full: bool,
    begin: Begin,
}

#[derive(Debug, Clone)]
enum Begin {
    File {
        inode: u64,
        offset: u64,
    },
    /// Behind which cursor it stands, and the one that stands behind it.
    Journal {
        before: Option<String>,
        behind: String,
    },
}

impl Chunk {
    /// The position behind the first `count` bytes; what is no file is done with as a whole or not at all.
    pub fn position_behind(&self, count: usize) -> Option<Position> {
        match &self.begin {
            Begin::File { inode, offset } => {
                Some(Position::File { inode: *inode, offset: offset + u64::try_from(count).unwrap_or(0) })
            }
            Begin::Journal { before, behind } => {
                let cursor = if count < self.bytes.len() { before.clone() } else { Some(behind.clone()) };
                cursor.map(|cursor| Position::Journal { cursor })
            }
        }
    }

    pub fn is_of_file(&self) -> bool {
        matches!(self.begin, Begin::File { .. })
    }
}

impl Log {
    /// What came since `from`, of a file no more than so many `pieces` before its end; `None` when
    /// nothing came, or when it cannot be read. With `fresh` a journal has to be up to date.
    pub fn chunk(&self, from: Option<&Position>, pieces: u64, fresh: bool) -> Option<Chunk> {
        match self {
            Self::File(path) => of_file(path, from, pieces.saturating_mul(MOST_BYTES)),
            Self::Journal(journal) => {
                let cursor = match from {
                    Some(Position::Journal { cursor }) => Some(cursor.as_str()),
                    _ => None,
                };
                let (text, behind) =
                    journal.since_cursor(cursor, fresh).filter(|(text, _)| !text.is_empty())?;
                let now_ms = now().as_millisecond();
                // Of unknown age it is taken as it is.
                let written = written_ms(&behind);
                let is_still = written.is_none_or(|at| now_ms.saturating_sub(at) > STILL_MS);
                let begin = Begin::Journal { before: cursor.map(str::to_owned), behind };
                let at_ms = written.unwrap_or(now_ms);
                Some(Chunk { bytes: text.into_bytes(), at_ms, is_still, is_full: false, begin })
            }
        }
    }
}

/// When the entry before a cursor was written: systemd keeps that in it, in microseconds.
fn written_ms(cursor: &str) -> Option<i64> {
    let time = cursor.split(';').find_map(|part| part.strip_prefix("t="))?;
    i64::from_str_radix(time, 16).ok().map(|micros| micros / 1000)
}

fn of_file(path: &Path, from: Option<&Position>, reach: u64) -> Option<Chunk> {
    let known = match from {
        Some(Position::File { inode, offset }) => Some((*inode, *offset)),
        _ => None,
    };
    // A keeper sets a large log aside when it starts the app again.
    let rest = known.and_then(|(inode, offset)| {
        let (file, meta) = open(&aside(path))?;
        let has_more = meta.ino() == inode && meta.len() > offset;
        if has_more { piece(file, &meta, offset, reach) } else { None }
    });
    if rest.is_some() {
        return rest;
    }
    let (file, meta) = open(path)?;
    let offset = match known {
        Some((inode, offset)) if inode == meta.ino() && offset <= meta.len() => offset,
        Some(_) => 0,
        None => meta.len().saturating_sub(MOST_BYTES),
    };
    piece(file, &meta, offset, reach)
}

/// What is said of it is about the file that was opened, whatever has the name meanwhile.
fn open(path: &Path) -> Option<(File, Metadata)> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    Some((file, meta))
}

fn piece(mut file: File, meta: &Metadata, offset: u64, reach: u64) -> Option<Chunk> {
    let offset = offset.max(meta.len().saturating_sub(reach));
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset)).ok()?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    let at_ms = meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000);
    let is_full = u64::try_from(bytes.len()).is_ok_and(|length| length == MOST_BYTES);
    let is_still = !is_full && now().as_millisecond().saturating_sub(at_ms) > STILL_MS;
    if !is_still && let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
        bytes.truncate(end + 1);
    } else if !is_still && !is_full {
        bytes.clear();
    }
    let begin = Begin::File { inode: meta.ino(), offset };
    (!bytes.is_empty()).then_some(Chunk { bytes, at_ms, is_still, is_full, begin })
}

/// Where a keeper sets it aside.
fn aside(path: &Path) -> PathBuf {
    with_suffix(path, ".1")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::durable;

    fn text(chunk: Option<Chunk>) -> (String, Option<Position>) {
        let position = chunk.as_ref().and_then(|chunk| chunk.position_behind(chunk.bytes.len()));
        (chunk.map(|chunk| String::from_utf8(chunk.bytes).unwrap()).unwrap_or_default(), position)
    }

    #[test]
    fn whole_lines_are_read_once_over_a_rotation_and_a_truncation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let log = Log::File(path.clone());
        assert!(log.chunk(None, 8, true).is_none());
        fs::write(&path, "one\ntw").unwrap();
        let (read, at) = text(log.chunk(None, 8, true));
        assert_eq!(read, "one\n");
        assert!(log.chunk(at.as_ref(), 8, true).is_none(), "half a line");
        fs::write(&path, "one\ntwo\n").unwrap();
        durable::rename_for_now(&path, &aside(&path)).unwrap();
        fs::write(&path, "three\n").unwrap();
        let (read, at) = text(log.chunk(at.as_ref(), 8, true));
        assert_eq!(read, "two\n");
        let (read, at) = text(log.chunk(at.as_ref(), 8, true));
        assert_eq!(read, "three\n");
        assert!(log.chunk(at.as_ref(), 8, true).is_none());
        fs::write(&path, "4\n").unwrap();
        assert_eq!(text(log.chunk(at.as_ref(), 8, true)).0, "4\n");
    }

    #[test]
    fn a_large_log_is_read_in_pieces_and_a_first_look_sees_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        let size = usize::try_from(MOST_BYTES).unwrap();
        fs::write(&path, vec![b'x'; 2 * size + 10]).unwrap();
        let log = Log::File(path.clone());
        let inode = path.metadata().unwrap().ino();
        let first = log.chunk(Some(&Position::File { inode, offset: 0 }), 8, true).unwrap();
        assert_eq!(first.bytes.len(), size, "a line that fills a piece does not stop the reading");
        let end = log.chunk(None, 8, true).unwrap().position_behind(size);
        assert_eq!(end, Some(Position::File { inode, offset: 2 * MOST_BYTES + 10 }));
        let late = log.chunk(Some(&Position::File { inode, offset: 3 }), 1, true).unwrap();
        assert_eq!(late.position_behind(0), Some(Position::File { inode, offset: MOST_BYTES + 10 }));
    }

    #[test]
    fn a_journal_is_done_with_as_a_whole_and_a_cursor_says_when_it_was_written() {
        let begin = Begin::Journal { before: None, behind: "s=1;t=3e8".to_owned() };
        let chunk = Chunk { bytes: b"a\nb\n".to_vec(), at_ms: 0, is_still: false, is_full: false, begin };
        assert_eq!(chunk.position_behind(2), None);
        assert_eq!(chunk.position_behind(4), Some(Position::Journal { cursor: "s=1;t=3e8".to_owned() }));
        assert_eq!((written_ms("s=a;i=1;t=3e8;x=2"), written_ms("else")), (Some(1), None));
    }
}
