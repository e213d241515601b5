//! Video levels (16 to 235, colour 16 to 240; ITU-R BT.601) spread to the full range that JPEG has.

/// 255/219 in 256ths; 219 times it stays within 16 bits.
const LUMA_GAIN: u16 = 298;
/// 255/224 in 256ths; 112 times it stays within 16 bits.
const CHROMA_GAIN: i16 = 291;

/// Spreads brightness in place.
pub(crate) fn spread_luma(plane: &mut [u8]) {
    for value in plane {
        let level = u16::from(value.saturating_sub(16).min(219));
        *value = ((level * LUMA_GAIN + 128) >> 8) as u8;
    }
}

/// Spreads colour in place.
pub(crate) fn spread_chroma(plane: &mut [u8]) {
    for value in plane {
        let level = (i16::from(*value) - 128).clamp(-112, 112);
        // Rounded towards the middle, so that grey stays grey.
        *value = (((level * CHROMA_GAIN) / 256 + 128).clamp(0, 255)) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_within_one_of_the_exact_one() {
        for level in 0..=255u8 {
            let (mut luma, mut chroma) = ([level], [level]);
            spread_luma(&mut luma);
            spread_chroma(&mut chroma);
            let exact = (f64::from(level) - 16.0) * 255.0 / 219.0;
            assert!((f64::from(luma[0]) - exact.clamp(0.0, 255.0)).abs() <= 1.0, "luma {level}");
            let exact = (f64::from(level) - 128.0) * 255.0 / 224.0 + 128.0;
            assert!((f64::from(chroma[0]) - exact.clamp(0.0, 255.0)).abs() <= 1.5, "chroma {level}");
        }
        let mut grey = [128];
        spread_chroma(&mut grey);
        assert_eq!(grey, [128]);
    }
}
