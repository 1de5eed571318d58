//! Compresses a stream as a row of independent zstd frames, on several cores at once. Each frame is
//! unpacked again and compared before it is handed back. `zstd -d` reads the row as one file.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope};

use zstd::bulk::{Compressor, Decompressor};

const LEVEL: i32 = 2;
/// Bytes before compression: small frames compress worse, large ones take memory on every lane. Twice
/// as large saves as much as the next level does, for no time.
const FRAME: usize = 1 << 20;
/// Lanes on a large machine: more would wait for the disk.
const LANES: usize = 4;
/// Parts that a lane has at a time; more would take memory.
const AHEAD: usize = 1;

/// Takes a part as it was read, and its frame.
type Act<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<()> + 'a;

/// Bytes as they were read, and the frame that unpacks to them.
struct Packed {
    plain: Vec<u8>,
    frame: Vec<u8>,
}

/// One thread that packs what it is given, in order.
struct Lane {
    plain: SyncSender<Vec<u8>>,
    packed: Receiver<io::Result<Packed>>,
}

impl Lane {
    fn begin<'scope>(scope: &'scope Scope<'scope, '_>) -> Self {
        let (plain, due) = sync_channel(AHEAD);
        let (done, packed) = sync_channel(AHEAD);
        scope.spawn(move || pack_all(&due, &done));
        Self { plain, packed }
    }

    fn give(&self, plain: Vec<u8>) -> io::Result<()> {
        self.plain.send(plain).map_err(|_| ended())
    }

    fn take(&self) -> io::Result<Packed> {
        self.packed.recv().map_err(|_| ended())?
    }
}

fn ended() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

/// Gives `act` each part of `from`, in order, as it was read and as a frame of its own; an empty
/// stream is one empty part.
///
/// # Errors
/// Of reading, of zstd, or of `act`; a frame that does not unpack to what it was made from.
pub(super) fn each(mut from: impl Read, act: &mut Act<'_>) -> io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let lanes: Vec<Lane> = (0..cores.min(LANES)).map(|_| Lane::begin(scope)).collect();
        let mut hand_on = |number: usize| {
            let packed = lanes[number % lanes.len()].take()?;
            act(&packed.plain, &packed.frame)
        };
        let ahead = lanes.len() * AHEAD;
        let mut given = 0;
        loop {
            let plain = next_part(&mut from)?;
            if plain.is_empty() && given > 0 {
                break;
            }
            if given >= ahead {
                hand_on(given - ahead)?;
            }
            lanes[given % lanes.len()].give(plain)?;
            given += 1;
        }
        (given.saturating_sub(ahead)..given).try_for_each(hand_on)
    })
}

/// Up to a frame's worth of bytes; none at the end.
fn next_part(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(FRAME);
    from.take(FRAME as u64).read_to_end(&mut plain)?;
    Ok(plain)
}

fn pack_all(due: &Receiver<Vec<u8>>, done: &SyncSender<io::Result<Packed>>) {
    let mut made = Packer::new();
    while let Ok(plain) = due.recv() {
        let part = match &mut made {
            Ok(packer) => packer.pack(plain),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        if done.send(part).is_err() {
            return;
        }
    }
}

struct Packer {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
    unpacked: Vec<u8>,
}

impl Packer {
    fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.include_checksum(true)?;
        Ok(Self { compressor, decompressor: Decompressor::new()?, unpacked: vec![0; FRAME] })
    }

    fn pack(&mut self, plain: Vec<u8>) -> io::Result<Packed> {
        let frame = self.compressor.compress(&plain)?;
        let size = self.decompressor.decompress_to_buffer(&frame, &mut self.unpacked)?;
        if self.unpacked[..size] != plain {
            return Err(io::Error::other("a compressed part does not unpack to what it was made from"));
        }
        Ok(Packed { plain, frame })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that gives a few bytes at a time, and fails where told to.
    struct Slow<'a> {
        rest: &'a [u8],
        fails: bool,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            if self.rest.is_empty() && self.fails {
                return Err(io::Error::other("torn"));
            }
            let size = bytes.len().min(self.rest.len()).min(100_003);
            let (now, rest) = self.rest.split_at(size);
            bytes[..size].copy_from_slice(now);
            self.rest = rest;
            Ok(size)
        }
    }

    fn text(size: usize) -> Vec<u8> {
        (0..size).map(|at| u8::try_from(at * at / 777 % 251).unwrap()).collect()
    }

    #[test]
    fn frames_come_in_order_and_unpack_as_one_stream() {
        for size in [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 9 * FRAME + 12_345] {
            let bytes = text(size);
            let (mut seen, mut packed) = (Vec::new(), Vec::new());
            each(Slow { rest: &bytes, fails: false }, &mut |plain, frame| {
                seen.extend_from_slice(plain);
                packed.extend_from_slice(frame);
                Ok(())
            })
            .unwrap();
            assert!(seen == bytes, "{size}");
            assert!(zstd::stream::decode_all(packed.as_slice()).unwrap() == bytes, "{size}");
        }
    }

    #[test]
    fn what_fails_ends_every_lane() {
        let bytes = text(7 * FRAME);
        let torn = each(Slow { rest: &bytes, fails: true }, &mut |_, _| Ok(()));
        assert_eq!(torn.unwrap_err().to_string(), "torn");
        let mut left = 3;
        let full = each(Slow { rest: &bytes, fails: false }, &mut |_, _| {
            left -= 1;
            if left == 0 { Err(io::Error::other("full")) } else { Ok(()) }
        });
        assert_eq!(full.unwrap_err().to_string(), "full");
    }
}
