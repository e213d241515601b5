//! The picture number, burned in so that it survives lossy coding and scaling down to sub stream size.
//!
//! A row of square blocks at the top left of the picture, black for 0 and white for 1: a white and a black one to find
//! the levels, 16 bits of number (most significant first), 8 bits of CRC. A block is a fortieth of the picture's width on
//! each side and the row begins one block in from both edges.

/// Blocks per picture width.
const BLOCKS_PER_WIDTH: usize = 40;
/// Levels, number and check.
const BLOCKS: usize = 2 + 16 + 8;
const WHITE: u8 = 235;
const BLACK: u8 = 16;
/// Least distance between the two levels that is taken for a strip.
const MIN_CONTRAST: u32 = 60;

/// A plane of 8-bit luma samples.
#[derive(Clone, Copy, Debug)]
pub struct Luma<'a> {
    /// Samples, row by row.
    pub data: &'a [u8],
    /// Samples per row that are part of the picture.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Samples from one row to the next.
    pub stride: usize,
}

/// CRC-8 with polynomial 0x07 and an initial value that no blank strip satisfies.
fn crc8(number: u16) -> u8 {
    number.to_be_bytes().iter().fold(0x5a, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc, _| if crc & 0x80 != 0 { (crc << 1) ^ 0x07 } else { crc << 1 })
    })
}

/// All blocks of a number, the first in the lowest bit.
fn blocks(number: u16) -> impl Iterator<Item = bool> {
    let code = (u32::from(number) << 8) | u32::from(crc8(number));
    [true, false].into_iter().chain((0..24).rev().map(move |bit| code >> bit & 1 == 1))
}

/// Draws the strip into a luma plane without padding. Pictures narrower than 120 samples have no room for it.
pub fn burn(data: &mut [u8], width: usize, number: u16) {
    if width < 3 * BLOCKS_PER_WIDTH {
        return;
    }
    let edge = |block: usize| (block * width + BLOCKS_PER_WIDTH / 2) / BLOCKS_PER_WIDTH;
    for row in data.chunks_exact_mut(width).take(edge(2)).skip(edge(1)) {
        for (index, white) in blocks(number).enumerate() {
            if let Some(block) = row.get_mut(edge(index + 1)..edge(index + 2)) {
                block.fill(if white { WHITE } else { BLACK });
            }
        }
    }
}

/// Reads the number; `None` if there is no strip or it is damaged.
pub fn read(plane: Luma<'_>) -> Option<u16> {
    let side = plane.width as f64 / BLOCKS_PER_WIDTH as f64;
    let mut levels = [0u32; BLOCKS];
    for (index, level) in levels.iter_mut().enumerate() {
        *level = mean(plane, side * (index as f64 + 1.0), side)?;
    }
    let [white, black, bits @ ..] = levels;
    if white < black + MIN_CONTRAST {
        return None;
    }
    let threshold = (white + black) / 2;
    let code = bits.iter().fold(0u32, |code, &level| (code << 1) | u32::from(level > threshold));
    let [_, high, low, crc] = code.to_be_bytes();
    let number = u16::from_be_bytes([high, low]);
    (crc8(number) == crc).then_some(number)
}

/// Mean of the middle of the block that begins at `x`, where neighbours do not bleed in.
fn mean(plane: Luma<'_>, x: f64, side: f64) -> Option<u32> {
    let middle =
        |from: f64| ((from + side * 0.3).round() as usize, ((from + side * 0.7).round() as usize).max(1));
    let ((left, right), (top, bottom)) = (middle(x), middle(side));
    let (right, bottom) = (right.max(left + 1), bottom.max(top + 1));
    if right > plane.width || bottom > plane.height {
        return None;
    }
    let mut sum = 0u32;
    for row in top..bottom {
        let start = row.checked_mul(plane.stride)?;
        let samples = plane.data.get(start.checked_add(left)?..start.checked_add(right)?)?;
        sum += samples.iter().map(|&sample| u32::from(sample)).sum::<u32>();
    }
    let count = u32::try_from((right - left) * (bottom - top)).ok()?;
    Some(sum / count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn luma(data: &[u8], width: usize) -> Luma<'_> {
        Luma { data, width, height: data.len() / width, stride: width }
    }

    proptest! {
        #[test]
        fn what_is_burned_is_read(number: u16, width in 120usize..1000, noise in 0u8..50) {
            let mut data = vec![100; width * 100];
            burn(&mut data, width, number);
            for (index, sample) in data.iter_mut().enumerate() {
                let shake = (index * 7919 % 101) as u8 % noise.max(1);
                *sample = if index % 2 == 0 { sample.saturating_add(shake) } else { sample.saturating_sub(shake) };
            }
            prop_assert_eq!(read(luma(&data, width)), Some(number));
        }

        #[test]
        fn half_size_reads_the_same(number: u16) {
            let (width, height) = (1280, 720);
            let mut data = vec![90; width * height];
            burn(&mut data, width, number);
            let half: Vec<u8> = (0..height / 2).flat_map(|y| (0..width / 2).map(move |x| (x, y)))
                .map(|(x, y)| data[2 * y * width + 2 * x]).collect();
            prop_assert_eq!(read(luma(&half, width / 2)), Some(number));
        }

        #[test]
        fn any_plane_is_survived(data in proptest::collection::vec(any::<u8>(), 0..400), width in 0usize..50, stride: usize) {
            let _outcome = read(Luma { data: &data, width, height: 10, stride });
        }
    }

    #[test]
    fn blank_and_damaged_pictures_have_no_number() {
        for level in [0, 16, 128, 235, 255] {
            assert_eq!(read(luma(&vec![level; 640 * 360], 640)), None);
        }
        let mut data = vec![100; 640 * 360];
        burn(&mut data, 640, 12345);
        // One block of the number, turned around.
        for row in data.chunks_exact_mut(640).skip(16).take(16) {
            for sample in &mut row[16 * 8..16 * 9] {
                *sample = 251 - *sample;
            }
        }
        assert_eq!(read(luma(&data, 640)), None);
    }
}
