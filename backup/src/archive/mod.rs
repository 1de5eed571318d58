//! Files of a backup: born 0600, measured while they are written, compressed and read back.
//! Hashing takes as long as copying: a snapshot does both at once, on two cores.

mod frames;
mod lanes;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use common::backups::FileFacts;
use common::cli::Meter;
use common::database;
use common::durable;
use common::report::{OrProblem, Problem};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

const PART: usize = 1 << 20;
/// Parts of a snapshot that wait to be hashed.
const AHEAD: usize = 16;

/// Counts and hashes what goes through to `out`.
pub(crate) struct Measured<W> {
    out: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Measured<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, hasher: Sha256::new(), size: 0 }
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub(crate) fn finish(self) -> (W, FileFacts) {
        (self.out, FileFacts { size: self.size, sha256: common::hex(&self.hasher.finalize()) })
    }
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.note(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A compressed file and what it was made from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compressed {
    pub(crate) file: FileFacts,
    pub(crate) raw: FileFacts,
}

/// A new file that only its owner may read.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

/// Writes a small file, on disk when this returns.
pub(crate) fn write_small(path: &Path, text: &str) -> io::Result<FileFacts> {
    let mut out = Measured::new(create_private(path)?);
    out.write_all(text.as_bytes())?;
    let (file, facts) = out.finish();
    durable::sync_file(&file)?;
    Ok(facts)
}

/// Copies the database `live` at one point in time into the new file `copy`, and measures it meanwhile.
///
/// # Errors
/// As those of [`database::snapshot`].
pub(crate) fn snapshot(live: &Path, copy: &Path) -> Result<FileFacts, Problem> {
    measured(&mut |act| database::snapshot(live, copy, act))
}

/// The same of what the open transaction of `live` sees.
///
/// # Errors
/// As those of [`database::snapshot_in`].
pub(crate) fn snapshot_in(live: &Connection, copy: &Path) -> Result<FileFacts, Problem> {
    measured(&mut |act| database::snapshot_in(live, copy, act))
}

/// Brings the `copy` of an earlier moment up to what the open transaction of `live` sees.
///
/// # Errors
/// As those of [`database::refresh_in`].
pub(crate) fn refresh_in(live: &Connection, copy: &Path) -> Result<FileFacts, Problem> {
    measured(&mut |act| database::refresh_in(live, copy, act))
}

/// Takes each part of a copy and the bytes there are in total.
type Part<'a> = dyn FnMut(&[u8], u64) + 'a;

fn measured(copy: &mut dyn FnMut(&mut Part<'_>) -> Result<(), Problem>) -> Result<FileFacts, Problem> {
    let mut meter = Meter::new("snapshot");
    thread::scope(|scope| {
        let (parts, due) = sync_channel(AHEAD);
        let measuring = scope.spawn(|| measure_all(due));
        let mut done = 0;
        let copied = copy(&mut |part, total| {
            done += part.len() as u64;
            meter.update(done, total);
            // The thread takes parts until the last one.
            let _ = parts.send(part.to_vec());
        });
        drop(parts);
        let facts = measuring.join().unwrap_or_else(|panic| resume_unwind(panic));
        copied.map(|()| facts)
    })
}

fn measure_all(parts: Receiver<Vec<u8>>) -> FileFacts {
    let mut out = Measured::new(io::sink());
    for part in parts {
        out.note(&part);
    }
    out.finish().1
}

/// Compresses `source` into the new file `target`, on disk when this returns, and reads it back.
/// What lies there unpacks to the bytes of `source`; `progress` hears how many were read.
pub(crate) fn compress(
    source: &Path,
    target: &Path,
    progress: &mut dyn FnMut(u64),
) -> io::Result<Compressed> {
    let mut raw = Measured::new(io::sink());
    let mut out = Measured::new(create_private(target)?);
    frames::pack(File::open(source)?, &mut |part| {
        raw.write_all(&part.plain)?;
        progress(raw.size);
        out.write_all(&part.frame)
    })?;
    let (file, written) = out.finish();
    durable::sync_file(&file)?;
    if measure(target)? != written {
        return Err(io::Error::other(format!("{} does not read back the same", target.display())));
    }
    Ok(Compressed { file: written, raw: raw.finish().1 })
}

/// Waits until what was written of `file` is on disk.
///
/// # Errors
/// `state-unwritable`.
pub(crate) fn sync(file: &Path) -> Result<(), Problem> {
    File::open(file)
        .and_then(|file| durable::sync_file(&file))
        .or_problem("state-unwritable", || format!("cannot write {}", file.display()))
}

/// Copies `source`, which is not compressed, into `out`.
pub(crate) fn copy_out(source: &Path, out: File) -> io::Result<Compressed> {
    let mut out = Measured::new(out);
    copy(File::open(source)?, &mut out)?;
    let (_, file) = out.finish();
    Ok(Compressed { raw: file.clone(), file })
}

/// Decompresses `source` into `out`, measuring both.
pub(crate) fn decompress(source: &Path, out: File) -> io::Result<Compressed> {
    let mut packed = Tee { input: File::open(source)?, seen: Measured::new(io::sink()) };
    let mut raw = Measured::new(out);
    frames::unpack(&mut packed, &mut |part| raw.write_all(&part))?;
    let (_, raw) = raw.finish();
    Ok(Compressed { file: packed.seen.finish().1, raw })
}

/// Size and hash of a file.
pub(crate) fn measure(path: &Path) -> io::Result<FileFacts> {
    measure_open(File::open(path)?)
}

/// Size and hash of what is still to be read.
pub(crate) fn measure_open(from: impl Read) -> io::Result<FileFacts> {
    let mut out = Measured::new(io::sink());
    copy(from, &mut out)?;
    Ok(out.finish().1)
}

/// Copies what is still to be read into the new file `target`; on disk only once somebody syncs it.
pub(crate) fn copy_new(from: impl Read, target: &Path) -> io::Result<(File, FileFacts)> {
    let mut out = Measured::new(create_private(target)?);
    copy(from, &mut out)?;
    Ok(out.finish())
}

/// Hashes the compressed bytes on their way to where they are unpacked.
struct Tee {
    input: File,
    seen: Measured<io::Sink>,
}

impl Read for Tee {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let taken = self.input.read(bytes)?;
        self.seen.write_all(&bytes[..taken])?;
        Ok(taken)
    }
}

fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut part = vec![0; PART];
    loop {
        let taken = from.read(&mut part)?;
        if taken == 0 {
            return to.flush();
        }
        to.write_all(&part[..taken])?;
    }
}
