//! Frames narrower than any that was made for a task.
//!
//! Owns: the choice of the rendition that a narrower one is made from, and the making. Never: a decoder of video; what goes in
//! is a JPEG that a decoder process of ours has made.

use std::io::Cursor;

use heldar_perception::ring::{Frame, Rendition};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use tokio::task::JoinError;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// A frame could not be made narrower.
#[derive(Debug, thiserror::Error)]
pub enum NarrowError {
    /// It cannot be read.
    #[error("a frame cannot be read: {0}")]
    Decode(String),
    /// It cannot be written.
    #[error("a frame cannot be written")]
    Encode(#[from] jpeg_encoder::EncodingError),
    /// The work broke off.
    #[error("the work broke off")]
    Broken(#[from] JoinError),
}

/// The picture in a width; as it is where that is as wide or narrower. Aspect is kept, the height is even.
///
/// # Errors
/// [`NarrowError`]: a defect on our side.
pub async fn narrower(
    frame: &Frame,
    selected: &Rendition,
    width: u32,
    quality: u8,
) -> Result<Rendition, NarrowError> {
    if selected.width <= width {
        return Ok(selected.clone());
    }
    // The narrowest that is wide enough has the least to be read.
    let of_frame = frame.renditions.iter().filter(|made| made.width >= width);
    let source = of_frame.min_by_key(|made| made.width).unwrap_or(selected).clone();
    if source.width == width {
        return Ok(source);
    }
    tokio::task::spawn_blocking(move || scaled(&source, width, quality)).await?
}

fn scaled(source: &Rendition, width: u32, quality: u8) -> Result<Rendition, NarrowError> {
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(&source.jpeg[..]), options);
    let rgb = decoder.decode().map_err(|error| NarrowError::Decode(error.to_string()))?;
    let (from_width, from_height) =
        decoder.dimensions().ok_or_else(|| NarrowError::Decode("it has no size".to_owned()))?;
    let to_width = (width as usize).min(from_width).max(1);
    let exact = (from_height * to_width).div_ceil(from_width.max(1));
    let to_height = (exact + exact % 2).clamp(1, from_height.max(1));
    let pixels = averaged(&rgb, (from_width, from_height), (to_width, to_height));
    let side = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
    let mut jpeg = Vec::with_capacity(pixels.len() / 6);
    let mut encoder = Encoder::new(&mut jpeg, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(&pixels, side(to_width), side(to_height), ColorType::Rgb)?;
    Ok(Rendition { width: u32::from(side(to_width)), height: u32::from(side(to_height)), jpeg: jpeg.into() })
}

/// Each pixel is the mean of those that it stands for.
fn averaged(
    rgb: &[u8],
    (from_width, from_height): (usize, usize),
    (width, height): (usize, usize),
) -> Vec<u8> {
    let bounds = |at: usize, of: usize, from: usize| {
        let start = at * from / of;
        start..((at + 1) * from).div_ceil(of).clamp(start + 1, from.max(start + 1))
    };
    let mut out = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let rows = bounds(y, height, from_height);
        for x in 0..width {
            let columns = bounds(x, width, from_width);
            let (mut sums, mut count) = ([0u32; 3], 0u32);
            for row in rows.clone() {
                let line =
                    rgb.get((row * from_width + columns.start) * 3..(row * from_width + columns.end) * 3);
                for pixel in line.unwrap_or_default().chunks_exact(3) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
                    count += 1;
                }
            }
            // A mean of bytes is a byte.
            out.extend(sums.map(|sum| (sum / count.max(1)) as u8));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_means() {
        let rgb: Vec<u8> = [[0, 10, 20], [10, 20, 30], [100, 0, 0], [100, 0, 0]].concat();
        assert_eq!(averaged(&rgb, (4, 1), (2, 1)), [5, 15, 25, 100, 0, 0]);
        assert_eq!(averaged(&rgb, (2, 2), (1, 1)), [52, 7, 12]);
        assert_eq!(averaged(&rgb, (4, 1), (4, 1)), rgb);
    }

    #[test]
    fn a_narrower_frame_has_the_same_shape() {
        let (width, height) = (64u16, 36u16);
        let grey: Vec<u8> = vec![120; usize::from(width) * usize::from(height) * 3];
        let mut jpeg = Vec::new();
        Encoder::new(&mut jpeg, 85).encode(&grey, width, height, ColorType::Rgb).unwrap();
        let source = Rendition { width: 64, height: 36, jpeg: jpeg.into() };
        let made = scaled(&source, 30, 85).unwrap();
        assert_eq!((made.width, made.height), (30, 18));
        let back = JpegDecoder::new(Cursor::new(&made.jpeg[..])).decode().unwrap();
        assert_eq!(back.len(), 30 * 18 * 3);
        assert!(back.iter().all(|value| value.abs_diff(120) < 4));
        let broken = Rendition { jpeg: source.jpeg.slice(..40), ..source };
        assert!(matches!(scaled(&broken, 30, 85), Err(NarrowError::Decode(_))));
    }
}
