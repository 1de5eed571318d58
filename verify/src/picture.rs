//! Pictures of pages, compared: how many pixels differ, and where.

use std::io::Cursor;

use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Transformations};

/// Edges of letters may come out a little lighter or darker without anybody seeing it.
const TOLERANCE: u8 = 24;
const MARK: [u8; 4] = [216, 0, 40, 255];

/// How two pictures differ.
#[derive(Debug)]
pub(crate) struct Difference {
    /// Share of the pixels that differ, of those that either picture has.
    pub(crate) percent: f64,
    /// PNG: the later picture, faded, with what differs marked; none when nothing does.
    pub(crate) marked: Option<Vec<u8>>,
}

struct Picture {
    width: u32,
    height: u32,
    /// Red, green, blue, alpha; rows from the top.
    pixels: Vec<u8>,
}

/// Compares two PNG files.
///
/// # Errors
/// A sentence: one of them cannot be read.
pub(crate) fn compare(before: &[u8], after: &[u8]) -> Result<Difference, String> {
    if before == after {
        return Ok(Difference { percent: 0.0, marked: None });
    }
    let (before, after) = (read(before)?, read(after)?);
    let (width, height) = (before.width.max(after.width), before.height.max(after.height));
    let places = differing(&before, &after, width, height);
    if places.is_empty() {
        return Ok(Difference { percent: 0.0, marked: None });
    }
    let percent = 100.0 * to_float(places.len()) / to_float(area(width, height));
    let mut marked = after.on_canvas(width, height);
    for value in &mut marked.pixels {
        // Three quarters of the way to white.
        *value = 191 + *value / 4;
    }
    for at in places {
        marked.pixels[4 * at..4 * at + 4].copy_from_slice(&MARK);
    }
    Ok(Difference { percent, marked: Some(write(&marked)?) })
}

/// Numbers of the pixels that differ, on a canvas that holds both pictures.
fn differing(before: &Picture, after: &Picture, width: u32, height: u32) -> Vec<usize> {
    let mut places = Vec::new();
    for y in 0..height {
        // Most rows of most pages are the same.
        if before.width == after.width && before.row(y) == after.row(y) {
            continue;
        }
        let differs = |x: &u32| !same(before.pixel(*x, y), after.pixel(*x, y));
        places.extend((0..width).filter(differs).map(|x| area(width, y) + x as usize));
    }
    places
}

impl Picture {
    fn row(&self, y: u32) -> Option<&[u8]> {
        let begin = 4 * area(self.width, y);
        self.pixels.get(begin..begin + 4 * self.width as usize)
    }

    fn pixel(&self, x: u32, y: u32) -> Option<[u8; 4]> {
        let at = 4 * x as usize;
        self.row(y)?.get(at..at + 4)?.try_into().ok()
    }

    /// The same picture with white at its right and below.
    fn on_canvas(&self, width: u32, height: u32) -> Self {
        let mut pixels = Vec::with_capacity(4 * area(width, height));
        for y in 0..height {
            pixels.extend(self.row(y).unwrap_or_default());
            pixels.resize(4 * area(width, y + 1), 255);
        }
        Self { width, height, pixels }
    }
}

fn area(width: u32, height: u32) -> usize {
    width as usize * height as usize
}

fn to_float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn same(before: Option<[u8; 4]>, after: Option<[u8; 4]>) -> bool {
    let close = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= TOLERANCE;
    matches!((before, after), (Some(before), Some(after)) if before.iter().zip(&after).all(close))
}

fn read(bytes: &[u8]) -> Result<Picture, String> {
    let unreadable = |error: png::DecodingError| format!("the picture cannot be read: {error}");
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::normalize_to_color8() | Transformations::ALPHA);
    let mut reader = decoder.read_info().map_err(unreadable)?;
    let mut pixels = vec![0; reader.output_buffer_size().ok_or("the picture is too large")?];
    let info = reader.next_frame(&mut pixels).map_err(unreadable)?;
    pixels.truncate(info.buffer_size());
    if info.color_type == ColorType::GrayscaleAlpha {
        pixels = pixels.chunks_exact(2).flat_map(|pair| [pair[0], pair[0], pair[0], pair[1]]).collect();
    }
    Ok(Picture { width: info.width, height: info.height, pixels })
}

fn write(picture: &Picture) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, picture.width, picture.height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    let written = encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&picture.pixels).and_then(|()| writer.finish()));
    written.map_err(|error| format!("the picture cannot be written: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 4]) -> Vec<u8> {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let pixels = places.flat_map(|(x, y)| colour(x, y)).collect();
        write(&Picture { width, height, pixels }).unwrap()
    }

    #[test]
    fn what_differs_is_counted_and_marked() {
        let before = picture(20, 10, |_, _| [0, 0, 0, 255]);
        let after =
            picture(20, 10, |x, y| if x < 5 && y < 4 { [250, 250, 250, 255] } else { [9, 9, 9, 255] });
        let difference = compare(&before, &after).unwrap();
        assert!((difference.percent - 10.0).abs() < 1e-9, "{}", difference.percent);
        let marked = read(&difference.marked.unwrap()).unwrap();
        assert_eq!(marked.pixel(4, 3), Some(MARK));
        assert_eq!(marked.pixel(5, 3), Some([193, 193, 193, 254]));
    }

    #[test]
    fn what_nobody_sees_is_no_difference() {
        let before = picture(4, 4, |_, _| [100, 100, 100, 255]);
        let after = picture(4, 4, |_, _| [110, 95, 100, 255]);
        for other in [&before, &after] {
            let difference = compare(&before, other).unwrap();
            assert!(difference.percent == 0.0 && difference.marked.is_none());
        }
    }

    #[test]
    fn what_only_one_picture_has_differs() {
        let before = picture(10, 10, |_, _| [1, 2, 3, 255]);
        let after = picture(10, 20, |_, _| [1, 2, 3, 255]);
        assert!((compare(&before, &after).unwrap().percent - 50.0).abs() < 1e-9);
        assert!((compare(&after, &before).unwrap().percent - 50.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_picture_is_said() {
        let sound = picture(1, 1, |_, _| [0; 4]);
        assert!(compare(b"GIF89a", &sound).unwrap_err().contains("cannot be read"));
        assert!(compare(&sound[..sound.len() / 2], &sound).is_err());
    }
}
