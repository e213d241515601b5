//! What the video usability information of H.264 (Annex E) and H.265 (Annex E) have in common.

use heldar_base::Micros;

use crate::bits::{BitError, BitReader};

/// Facts of the usability information that Heldar uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vui {
    /// Sample aspect ratio; `None` when unspecified.
    pub sample_aspect: Option<(u32, u32)>,
    /// Time of one picture, where it is told and between 1 ms and 60 s.
    pub picture_interval: Option<Micros>,
    /// H.264: `max_num_reorder_frames`.
    pub max_num_reorder: Option<u32>,
    /// H.265: `min_spatial_segmentation_idc`, at most 4095; 0 when absent.
    pub min_spatial_segmentation: u16,
}

impl Vui {
    /// Sample aspect ratio in lowest terms, and only if it is not square.
    pub fn pixel_aspect(&self) -> Option<(u32, u32)> {
        let (w, h) = self.sample_aspect?;
        let (mut a, mut b) = (w, h);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        // Both numbers are above zero, so their divisor is too.
        (w != h).then(|| (w / a.max(1), h / a.max(1)))
    }
}

/// Table E-1 of both standards, `aspect_ratio_idc` 1 to 16.
const SAMPLE_ASPECTS: [(u32, u32); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// `aspect_ratio_idc` that announces a ratio of its own.
const EXTENDED_SAR: u32 = 255;

/// Reads the elements that both begin with: aspect ratio, overscan, signal type, chroma location.
pub(crate) fn read_head(r: &mut BitReader<'_>, vui: &mut Vui) -> Result<(), BitError> {
    if r.flag()? {
        let idc = r.bits(8)?;
        let ratio = if idc == EXTENDED_SAR {
            Some((r.bits(16)?, r.bits(16)?))
        } else {
            (idc as usize).checked_sub(1).and_then(|at| SAMPLE_ASPECTS.get(at)).copied()
        };
        // A ratio with a zero in it means "unspecified" (E.2.1).
        vui.sample_aspect = ratio.filter(|(w, h)| *w > 0 && *h > 0);
    }
    if r.flag()? {
        r.skip(1)?; // overscan_appropriate_flag
    }
    if r.flag()? {
        r.skip(4)?; // video_format, video_full_range_flag
        if r.flag()? {
            r.skip(24)?; // colour_primaries, transfer_characteristics, matrix_coefficients
        }
    }
    if r.flag()? {
        r.ue()?; // chroma_sample_loc_type_top_field
        r.ue()?; // chroma_sample_loc_type_bottom_field
    }
    Ok(())
}

/// Time of `ticks` units of `num_units_in_tick / time_scale` seconds, if that can be the interval of a camera's pictures.
pub(crate) fn interval(num_units_in_tick: u32, time_scale: u32, ticks: u32) -> Option<Micros> {
    if time_scale == 0 {
        return None;
    }
    // At most 2^32 times 2: far inside i64.
    let interval = Micros::from_ticks(i64::from(num_units_in_tick) * i64::from(ticks), time_scale);
    (Micros::from_millis(1)..=Micros::from_secs(60)).contains(&interval).then_some(interval)
}
