//! JPEGs as pixels, and back.
//!
//! Owns: reading, making smaller, writing. Never: a decoder of video; what goes in is a JPEG that this server has made.

use std::io::Cursor;

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// A picture cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PixelsError {
    /// It cannot be read.
    #[error("a picture cannot be read: {0}")]
    Decode(String),
    /// It cannot be written.
    #[error("a picture cannot be written")]
    Encode(#[from] jpeg_encoder::EncodingError),
}

/// A picture, three bytes a pixel: red, green, blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pixels {
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) rgb: Vec<u8>,
}

impl Pixels {
    /// Reads a JPEG. Blocks for milliseconds.
    ///
    /// # Errors
    /// [`PixelsError::Decode`].
    pub(crate) fn read(jpeg: &[u8]) -> Result<Self, PixelsError> {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(Cursor::new(jpeg), options);
        let rgb = decoder.decode().map_err(|error| PixelsError::Decode(error.to_string()))?;
        let side = |length: usize| u16::try_from(length).ok().filter(|length| *length > 0);
        let size = decoder.dimensions().and_then(|(width, height)| Some((side(width)?, side(height)?)));
        let (width, height) = size.ok_or_else(|| PixelsError::Decode("it has no size".to_owned()))?;
        if rgb.len() != usize::from(width) * usize::from(height) * 3 {
            return Err(PixelsError::Decode("it has another form".to_owned()));
        }
        Ok(Pixels { width, height, rgb })
    }

    /// So wide at most. The aspect is kept, the height is even.
    pub(crate) fn fit(self, width: u32) -> Self {
        let (from_width, from_height) = (usize::from(self.width), usize::from(self.height));
        let to_width = (width as usize).min(from_width).max(1);
        if to_width == from_width {
            return self;
        }
        let exact = (from_height * to_width).div_ceil(from_width);
        let to_height = (exact + exact % 2).clamp(1, from_height);
        let rgb = averaged(&self.rgb, (from_width, from_height), (to_width, to_height));
        // Neither side grows.
        Pixels { width: to_width as u16, height: to_height as u16, rgb }
    }

    /// As a JPEG of this quality, 1 to 100.
    ///
    /// # Errors
    /// [`PixelsError::Encode`].
    pub(crate) fn jpeg(&self, quality: u8) -> Result<Vec<u8>, PixelsError> {
        let mut jpeg = Vec::with_capacity(self.rgb.len() / 6);
        let mut encoder = Encoder::new(&mut jpeg, quality);
        encoder.set_sampling_factor(SamplingFactor::F_2_2);
        encoder.encode(&self.rgb, self.width, self.height, ColorType::Rgb)?;
        Ok(jpeg)
    }
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
    fn a_smaller_picture_has_the_same_shape_and_colour() {
        let grey = Pixels { width: 64, height: 36, rgb: vec![120; 64 * 36 * 3] };
        let jpeg = grey.jpeg(85).unwrap();
        let back = Pixels::read(&jpeg).unwrap().fit(30);
        assert_eq!((back.width, back.height, back.rgb.len()), (30, 18, 30 * 18 * 3));
        assert!(back.rgb.iter().all(|value| value.abs_diff(120) < 4));
        assert_eq!(grey.clone().fit(64), grey);
        assert_eq!(grey.clone().fit(900), grey);
        for broken in [&jpeg[..40], b"", b"no picture"] {
            assert!(matches!(Pixels::read(broken), Err(PixelsError::Decode(_))));
        }
    }
}
