//! A stream as a row of independent zstd frames, packed and unpacked on several cores at once. Each
//! packed frame is unpacked again and compared before it is handed back. `zstd -d` reads the row as
//! one file.

use std::io::{self, Read};
use std::mem;

use zstd::bulk::{Compressor, Decompressor};
use zstd::stream::read::Decoder;
use zstd::zstd_safe::{compress_bound, find_frame_compressed_size, get_error_name, get_frame_content_size};

use super::lanes::{Work, each};

const LEVEL: i32 = 2;
/// Bytes before compression: small frames compress worse, large ones take memory on every lane. Twice
/// as large saves as much as the next level does, for no time.
const FRAME: usize = 1 << 20;

/// Bytes as they were read, and the frame that unpacks to them.
pub(super) struct Packed {
    pub(super) plain: Vec<u8>,
    pub(super) frame: Vec<u8>,
}

/// Gives `act` each part of `from`, in order, as it was read and as a frame of its own; an empty
/// stream is one empty part.
///
/// # Errors
/// Of reading, of zstd, or of `act`; a frame that does not unpack to what it was made from.
pub(super) fn pack(mut from: impl Read, act: &mut dyn FnMut(Packed) -> io::Result<()>) -> io::Result<()> {
    let mut is_first = true;
    let mut next = || {
        let empty = mem::take(&mut is_first).then(Vec::new);
        Ok(next_part(&mut from)?.or(empty))
    };
    each(&mut next, &Packer::new, act)
}

/// Gives `act` what the frames of `from` unpack to, in order. One great frame, as earlier versions and
/// other programs make it, takes one core.
///
/// # Errors
/// Of reading, of zstd, or of `act`.
pub(super) fn unpack(from: impl Read, act: &mut dyn FnMut(Vec<u8>) -> io::Result<()>) -> io::Result<()> {
    let mut frames = Frames { from, held: Vec::new() };
    frames.fill()?;
    if frames.are_parts() {
        return each(&mut || frames.next(), &Unpacker::new, act);
    }
    let mut stream = Decoder::new(frames.held.as_slice().chain(frames.from))?;
    while let Some(plain) = next_part(&mut stream)? {
        act(plain)?;
    }
    Ok(())
}

/// Up to a frame's worth of bytes; none at the end.
fn next_part(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::with_capacity(FRAME);
    from.take(FRAME as u64).read_to_end(&mut plain)?;
    Ok((!plain.is_empty()).then_some(plain))
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
}

impl Work for Packer {
    type Made = Packed;

    fn make(&mut self, plain: Vec<u8>) -> io::Result<Packed> {
        let frame = self.compressor.compress(&plain)?;
        let size = self.decompressor.decompress_to_buffer(&frame, &mut self.unpacked)?;
        if self.unpacked[..size] != plain {
            return Err(io::Error::other("a compressed part does not unpack to what it was made from"));
        }
        Ok(Packed { plain, frame })
    }
}

struct Unpacker(Decompressor<'static>);

impl Unpacker {
    fn new() -> io::Result<Self> {
        Decompressor::new().map(Self)
    }
}

impl Work for Unpacker {
    type Made = Vec<u8>;

    fn make(&mut self, frame: Vec<u8>) -> io::Result<Vec<u8>> {
        self.0.decompress(&frame, FRAME)
    }
}

/// Cuts a row of frames apart.
struct Frames<R> {
    from: R,
    /// Bytes that were read and not given yet.
    held: Vec<u8>,
}

impl<R: Read> Frames<R> {
    fn fill(&mut self) -> io::Result<()> {
        let missing = compress_bound(FRAME).saturating_sub(self.held.len());
        self.held.reserve_exact(missing);
        (&mut self.from).take(missing as u64).read_to_end(&mut self.held).map(drop)
    }

    /// Whether the first is whole and unpacks to a part of ours.
    fn are_parts(&self) -> bool {
        let size = get_frame_content_size(&self.held).ok().flatten();
        size.is_some_and(|size| size <= FRAME as u64) && find_frame_compressed_size(&self.held).is_ok()
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.fill()?;
        if self.held.is_empty() {
            return Ok(None);
        }
        let size =
            find_frame_compressed_size(&self.held).map_err(|code| io::Error::other(get_error_name(code)))?;
        let rest = self.held.split_off(size);
        Ok(Some(mem::replace(&mut self.held, rest)))
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
            pack(Slow { rest: &bytes, fails: false }, &mut |part| {
                seen.extend_from_slice(&part.plain);
                packed.extend_from_slice(&part.frame);
                Ok(())
            })
            .unwrap();
            assert!(seen == bytes, "{size}");
            assert!(zstd::stream::decode_all(packed.as_slice()).unwrap() == bytes, "{size}");
            let mut unpacked = Vec::new();
            unpack(Slow { rest: &packed, fails: false }, &mut |part| {
                unpacked.extend_from_slice(&part);
                Ok(())
            })
            .unwrap();
            assert!(unpacked == bytes, "{size}");
        }
    }

    #[test]
    fn what_fails_ends_every_lane() {
        let bytes = text(7 * FRAME);
        let torn = pack(Slow { rest: &bytes, fails: true }, &mut |_| Ok(()));
        assert_eq!(torn.unwrap_err().to_string(), "torn");
        let mut left = 3;
        let full = pack(Slow { rest: &bytes, fails: false }, &mut |_| {
            left -= 1;
            if left == 0 { Err(io::Error::other("full")) } else { Ok(()) }
        });
        assert_eq!(full.unwrap_err().to_string(), "full");
    }

    #[test]
    fn one_great_frame_unpacks_too() {
        let bytes = text(3 * FRAME + 5);
        let packed = zstd::stream::encode_all(bytes.as_slice(), 3).unwrap();
        let mut unpacked = Vec::new();
        unpack(packed.as_slice(), &mut |part| {
            unpacked.extend_from_slice(&part);
            Ok(())
        })
        .unwrap();
        assert!(unpacked == bytes);
        for cut in [1, packed.len() / 2, packed.len() - 1] {
            assert!(unpack(&packed[..cut], &mut |_| Ok(())).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_cut_flipped_or_no_frame_does_not_unpack() {
        let bytes = text(3 * FRAME);
        let mut packed = Vec::new();
        pack(bytes.as_slice(), &mut |part| {
            packed.extend_from_slice(&part.frame);
            Ok(())
        })
        .unwrap();
        for cut in [1, packed.len() / 2, packed.len() - 1] {
            assert!(unpack(&packed[..cut], &mut |_| Ok(())).is_err(), "cut at {cut}");
        }
        for at in [0, 3, packed.len() / 3, packed.len() - 1] {
            let mut flipped = packed.clone();
            flipped[at] ^= 1;
            assert!(unpack(flipped.as_slice(), &mut |_| Ok(())).is_err(), "flipped at {at}");
        }
        packed.extend_from_slice(b"rubbish");
        assert!(unpack(packed.as_slice(), &mut |_| Ok(())).is_err());
    }
}
