//! What a decoded picture becomes: parts of it, scaled, as JPEG or luma.
//!
//! Owns: sizes and parts, the scalers of a stream and the planes they write to. Sizes: the aspect is kept, nothing is scaled
//! up, heights are even where colour is kept.

use heldar_decode::wire::{Crop, Format, Image, Output};

use crate::av::{Picture, Scaler, Target};
use crate::jpeg::{Encoder, Planes};
use crate::range::{spread_chroma, spread_luma};

/// Scalers that are kept.
const SCALERS: usize = 8;

/// Makes images.
pub(crate) struct Renderer {
    encoder: Encoder,
    scalers: Vec<Scaler>,
    planes: [Vec<u8>; 3],
}

impl Renderer {
    pub(crate) fn new() -> Result<Self, String> {
        Ok(Renderer { encoder: Encoder::new()?, scalers: Vec::new(), planes: Default::default() })
    }

    /// One image of a picture.
    pub(crate) fn render(&mut self, picture: &Picture, output: &Output) -> Result<Image, String> {
        match output.crop.and_then(|crop| whole_pixels(crop, picture.size()?)) {
            None => self.whole(picture, output, None),
            Some((shown, [x, y, width, height])) => {
                let part = picture.part(x, y, width, height).ok_or("a part that cannot be cut out")?;
                self.whole(&part, output, Some(shown))
            }
        }
    }

    fn whole(&mut self, picture: &Picture, output: &Output, crop: Option<Crop>) -> Result<Image, String> {
        let size = picture.size().ok_or("a picture without size")?;
        let luma = output.format == Format::Luma;
        let (width, height) = fit(size, output.width, luma);
        let target = Target { width, height, luma };
        let data = match output.format {
            Format::Luma => {
                self.scale(picture, target)?;
                self.planes[0].clone()
            }
            Format::Planar => {
                self.full_range(picture, target)?;
                self.planes.concat()
            }
            Format::Jpeg(quality) => self.jpeg(picture, target, quality)?,
        };
        Ok(Image { width, height, crop, data })
    }

    fn jpeg(&mut self, picture: &Picture, target: Target, quality: u8) -> Result<Vec<u8>, String> {
        let (width, height) = (usize::from(target.width), usize::from(target.height));
        if picture.is_full_range()
            && picture.size() == Some((target.width, target.height))
            && let Some((planes, strides)) = picture.planes()
        {
            return self.encoder.encode(&Planes { width, height, planes, strides }, quality);
        }
        self.full_range(picture, target)?;
        let [luma, blue, red] = &self.planes;
        let planes = Planes { width, height, planes: [luma, blue, red], strides: target.strides() };
        self.encoder.encode(&planes, quality)
    }

    /// A JPEG of planes that lie one behind the other.
    pub(crate) fn encode(
        &mut self,
        (width, height): (u16, u16),
        quality: u8,
        planes: &[u8],
    ) -> Result<Vec<u8>, String> {
        let target = Target { width, height, luma: false };
        let [luma, chroma, _] = target.plane_lens();
        if planes.len() != luma + 2 * chroma {
            return Err("planes of another size".to_owned());
        }
        let (luma, colours) = planes.split_at(luma);
        let (blue, red) = colours.split_at(chroma);
        let (width, height) = (usize::from(width), usize::from(height));
        self.encoder
            .encode(&Planes { width, height, planes: [luma, blue, red], strides: target.strides() }, quality)
    }

    /// Fills the planes with levels as JPEG has them.
    fn full_range(&mut self, picture: &Picture, target: Target) -> Result<(), String> {
        self.scale(picture, target)?;
        if !picture.is_full_range() {
            let [luma, blue, red] = &mut self.planes;
            spread_luma(luma);
            spread_chroma(blue);
            spread_chroma(red);
        }
        Ok(())
    }

    /// Fills the planes.
    fn scale(&mut self, picture: &Picture, target: Target) -> Result<(), String> {
        let found = self.scalers.iter().position(|scaler| scaler.fits(picture, target));
        let mut scaler = match found {
            Some(at) => self.scalers.remove(at),
            None => Scaler::new(picture, target)?,
        };
        let scaled = scaler.scale(picture, &mut self.planes);
        self.scalers.insert(0, scaler);
        self.scalers.truncate(SCALERS);
        scaled
    }
}

/// The size of a picture that may be so wide at most; 0 leaves it as it is.
fn fit((width, height): (u16, u16), most: u16, luma: bool) -> (u16, u16) {
    let wide = if most == 0 { width } else { width.min(most) };
    let exact = u32::from(height) * u32::from(wide);
    let scaled = (exact + u32::from(width) / 2) / u32::from(width).max(1);
    let high =
        if wide == width && luma { u32::from(height) } else { (scaled / 2 * 2).max(2.min(scaled.max(1))) };
    (wide, u16::try_from(high).unwrap_or(u16::MAX))
}

/// A part widened to even pixels, as it is then and in pixels: left, top, width, height. None where nothing is cut off.
fn whole_pixels(crop: Crop, (width, height): (u16, u16)) -> Option<(Crop, [u16; 4])> {
    let edges = |start: f32, len: f32, side: u16| {
        let bound = |at: f32| (at.clamp(0.0, 1.0) * f32::from(side)) as u32;
        let low = bound(start) / 2 * 2;
        let high = ((start + len).clamp(0.0, 1.0) * f32::from(side)).ceil() as u32;
        let high = high.div_ceil(2).saturating_mul(2).clamp(low + 2, u32::from(side).max(low + 2));
        let low = low.min(u32::from(side).saturating_sub(2) / 2 * 2);
        let high = high.min(u32::from(side));
        (u16::try_from(low).unwrap_or(0), u16::try_from(high.saturating_sub(low)).unwrap_or(side))
    };
    let (x, wide) = edges(crop.x, crop.w, width);
    let (y, high) = edges(crop.y, crop.h, height);
    if wide == 0 || high == 0 || (wide, high) == (width, height) {
        return None;
    }
    let share = |part: u16, side: u16| f32::from(part) / f32::from(side);
    let shown =
        Crop { x: share(x, width), y: share(y, height), w: share(wide, width), h: share(high, height) };
    Some((shown, [x, y, wide, high]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_their_aspect_and_are_never_scaled_up() {
        for (size, most, luma, expected) in [
            ((1920, 1080), 1280, false, (1280, 720)),
            ((1920, 1080), 0, false, (1920, 1080)),
            ((1920, 1080), 4000, false, (1920, 1080)),
            ((768, 576), 640, false, (640, 480)),
            ((704, 577), 0, true, (704, 577)),
            ((704, 577), 0, false, (704, 576)),
            ((640, 360), 333, true, (333, 186)),
            ((4000, 2), 16, false, (16, 1)),
            ((1, 1), 0, false, (1, 1)),
        ] {
            assert_eq!(fit(size, most, luma), expected, "{size:?} in {most}");
        }
    }

    #[test]
    fn parts_are_widened_to_even_pixels_and_stay_inside() {
        let size = (1921, 1081);
        for (x, y, w, h) in
            [(0.0, 0.0, 0.5, 0.5), (0.999, 0.999, 0.5, 0.5), (0.3, 0.2, 0.0, 0.0), (-3.0, 2.0, 9.0, 9.0)]
        {
            let (shown, [left, top, width, height]) =
                whole_pixels(Crop { x, y, w, h }, size).expect("a part");
            assert!(
                left % 2 == 0 && top % 2 == 0 && width > 0 && height > 0,
                "{left} {top} {width} {height}"
            );
            assert!(left + width <= size.0 && top + height <= size.1);
            assert!((f32::from(left) / 1921.0 - shown.x).abs() < 1e-6);
        }
        assert_eq!(whole_pixels(Crop { x: 0.0, y: 0.0, w: 1.0, h: 1.0 }, (640, 360)), None);
        let nan = f32::NAN;
        let _shown = whole_pixels(Crop { x: nan, y: nan, w: nan, h: nan }, (640, 360));
        let _shown = whole_pixels(Crop { x: 0.0, y: 0.0, w: 1.0, h: 1.0 }, (1, 1));
    }
}
