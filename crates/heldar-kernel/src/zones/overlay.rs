//! What a zone event is about, drawn over its picture: the zone, the way of the track, its box (perception.md 12, `box=1`).
//!
//! Owns: colours and strokes. Never: a stored picture; those stay clean.

use std::convert::Infallible;

use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_9X18, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyleBuilder};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor as _};
use embedded_graphics::primitives::{Circle, Line, Primitive as _, PrimitiveStyle};
use embedded_graphics::text::{Baseline, Text};
use embedded_graphics::{Drawable as _, Pixel};

use crate::pixels::Pixels;

const ZONE: Rgb888 = Rgb888::new(0x2d, 0xc7, 0xff);
const TRACK: Rgb888 = Rgb888::new(0xff, 0xd2, 0x2e);
const BOX: Rgb888 = Rgb888::new(0xff, 0x5a, 0x36);

/// What is drawn, in shares of the picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Overlay {
    /// Corners of the zone.
    pub(crate) zone: Vec<[f64; 2]>,
    /// Whether the last corner is joined to the first.
    pub(crate) is_closed: bool,
    /// How the zone is called.
    pub(crate) name: String,
    /// Where the track was, oldest first.
    pub(crate) way: Vec<[f64; 2]>,
    /// Its box: x, y, width, height.
    pub(crate) bbox: Option<[f64; 4]>,
    /// What is written at the box.
    pub(crate) caption: String,
}

impl Overlay {
    /// Draws it.
    pub(crate) fn draw(&self, pixels: &mut Pixels) {
        let mut brush = Brush {
            stroke: u32::from(pixels.width / 400).max(1) + 1,
            font: match pixels.width {
                0..400 => &FONT_6X10,
                400..900 => &FONT_9X18,
                _ => &FONT_10X20,
            },
            canvas: Canvas(pixels),
        };
        let Ok(()) = self.draw_with(&mut brush);
    }

    fn draw_with(&self, brush: &mut Brush<'_>) -> Result<(), Infallible> {
        let around = self.zone.first().filter(|_| self.is_closed && self.zone.len() > 2);
        let corners: Vec<[f64; 2]> = self.zone.iter().chain(around).copied().collect();
        brush.lines(&corners, ZONE)?;
        brush.lines(&self.way, TRACK)?;
        if let Some(last) = self.way.last() {
            brush.dot(*last, TRACK)?;
        }
        if let Some([x, y, w, h]) = self.bbox {
            let corners = [[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]];
            brush.lines(&corners, BOX)?;
            brush.label(&self.caption, [x, y], BOX)?;
        }
        let highest = self.zone.iter().min_by(|a, b| a[1].total_cmp(&b[1]));
        highest.map_or(Ok(()), |at| brush.label(&self.name, *at, ZONE))
    }
}

struct Brush<'a> {
    canvas: Canvas<'a>,
    stroke: u32,
    font: &'static MonoFont<'static>,
}

impl Brush<'_> {
    /// The pixel of a point; points on the far edges are still in the picture.
    fn pixel(&self, [x, y]: [f64; 2]) -> Point {
        let at = |share: f64, side: u32| {
            (share.clamp(-1.0, 2.0) * f64::from(side)).min(f64::from(side) - 1.0) as i32
        };
        let size = self.canvas.size();
        Point::new(at(x, size.width), at(y, size.height))
    }

    fn lines(&mut self, points: &[[f64; 2]], colour: Rgb888) -> Result<(), Infallible> {
        for pair in points.windows(2) {
            let line = Line::new(self.pixel(pair[0]), self.pixel(pair[1]));
            line.into_styled(PrimitiveStyle::with_stroke(colour, self.stroke)).draw(&mut self.canvas)?;
        }
        Ok(())
    }

    fn dot(&mut self, at: [f64; 2], colour: Rgb888) -> Result<(), Infallible> {
        let dot = Circle::with_center(self.pixel(at), self.stroke * 3);
        dot.into_styled(PrimitiveStyle::with_fill(colour)).draw(&mut self.canvas)
    }

    /// Writes above a point, below it where there is no room, and within the picture.
    fn label(&mut self, text: &str, at: [f64; 2], colour: Rgb888) -> Result<(), Infallible> {
        if text.is_empty() {
            return Ok(());
        }
        let letter = self.font.character_size;
        let (Point { x, y }, size) = (self.pixel(at), self.canvas.size());
        let room = (size.width / letter.width.max(1)) as usize;
        let text: String = text.chars().take(room).collect();
        let wide = letter.width as i32 * text.chars().count() as i32;
        let (high, gap) = (letter.height as i32, self.stroke as i32);
        let top = if y >= high + gap { y - high - gap } else { y + gap };
        let left = x.clamp(0, (size.width as i32 - wide).max(0));
        let top = top.clamp(0, (size.height as i32 - high).max(0));
        let style = MonoTextStyleBuilder::new().font(self.font).text_color(Rgb888::BLACK);
        let style = style.background_color(colour).build();
        let written = Text::with_baseline(&text, Point::new(left, top), style, Baseline::Top);
        written.draw(&mut self.canvas).map(|_end| ())
    }
}

/// A picture to draw on. What lies outside is left out.
struct Canvas<'a>(&'a mut Pixels);

impl Canvas<'_> {
    fn set(&mut self, at: Point, colour: Rgb888) {
        let (Ok(x), Ok(y)) = (usize::try_from(at.x), usize::try_from(at.y)) else { return };
        let width = usize::from(self.0.width);
        if x >= width {
            return;
        }
        let start = (y * width + x) * 3;
        if let Some(pixel) = self.0.rgb.get_mut(start..start + 3) {
            pixel.copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
        }
    }
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width.into(), self.0.height.into())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        pixels.into_iter().for_each(|Pixel(at, colour)| self.set(at, colour));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn black(width: u16, height: u16) -> Pixels {
        Pixels { width, height, rgb: vec![0; usize::from(width) * usize::from(height) * 3] }
    }

    fn at(pixels: &Pixels, x: usize, y: usize) -> Rgb888 {
        let start = (y * usize::from(pixels.width) + x) * 3;
        Rgb888::new(pixels.rgb[start], pixels.rgb[start + 1], pixels.rgb[start + 2])
    }

    #[test]
    fn zone_way_and_box_are_where_they_belong() {
        let mut pixels = black(400, 200);
        let overlay = Overlay {
            zone: vec![[0.25, 0.5], [0.75, 0.5], [0.75, 1.0], [0.25, 1.0]],
            is_closed: true,
            name: "yard".to_owned(),
            way: vec![[0.1, 0.9], [0.4, 0.9]],
            bbox: Some([0.8, 0.4, 0.1, 0.4]),
            caption: "person".to_owned(),
        };
        overlay.draw(&mut pixels);
        assert_eq!(at(&pixels, 200, 100), ZONE, "upper edge");
        assert_eq!(at(&pixels, 100, 150), ZONE, "the edge that closes it");
        assert_eq!(at(&pixels, 200, 199), ZONE, "an edge of the picture");
        assert_eq!(at(&pixels, 80, 180), TRACK);
        assert_eq!(at(&pixels, 160, 181), TRACK, "its end");
        assert_eq!(at(&pixels, 340, 80), BOX);
        assert_eq!(at(&pixels, 320, 120), BOX);
        assert_eq!(at(&pixels, 340, 120), Rgb888::BLACK, "inside of the box");
        assert_eq!(at(&pixels, 20, 20), Rgb888::BLACK);
        // Words stand on their colour, above what they name.
        let of = |colour: Rgb888| (0..80).filter(|y| (0..400).any(|x| at(&pixels, x, *y) == colour)).count();
        assert!(of(BOX) >= 18, "{}", of(BOX));
        // An open line is not closed.
        let mut open = black(400, 200);
        Overlay { is_closed: false, ..overlay }.draw(&mut open);
        assert_ne!(at(&open, 100, 150), ZONE);
    }

    #[test]
    fn nothing_is_too_odd_to_be_drawn() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -3.0, 0.0, 1.0, 5.0];
        let points: Vec<[f64; 2]> = odd.iter().flat_map(|x| odd.iter().map(|y| [*x, *y])).collect();
        for (width, height) in [(1, 1), (2, 3), (64, 36), (1920, 1080)] {
            let overlay = Overlay {
                zone: points.clone(),
                is_closed: true,
                name: "ärgerlich 門 ".repeat(40),
                way: points.clone(),
                bbox: Some([f64::NAN, 0.9, 2.0, f64::INFINITY]),
                caption: String::new(),
            };
            overlay.draw(&mut black(width, height));
        }
    }
}
