//! Sequence parameter set of H.265 (7.3.2.2).

use super::{NalType, ProfileTierLevel, ref_pics};
use crate::bits::{BitError, BitReader};
use crate::nal::unescape;
use crate::vui::Vui;

/// Facts of a sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `sps_video_parameter_set_id`, 0 to 15.
    pub vps_id: u8,
    /// `sps_seq_parameter_set_id`, 0 to 15.
    pub id: u8,
    /// `sps_max_sub_layers_minus1`, 0 to 6.
    pub max_sub_layers_minus1: u8,
    /// `sps_temporal_id_nesting_flag`.
    pub temporal_id_nesting: bool,
    /// Profile, tier and level.
    pub ptl: ProfileTierLevel,
    /// `chroma_format_idc`, 0 to 3.
    pub chroma_format_idc: u8,
    /// `bit_depth_luma_minus8`, 0 to 8.
    pub bit_depth_luma_minus8: u8,
    /// `bit_depth_chroma_minus8`, 0 to 8.
    pub bit_depth_chroma_minus8: u8,
    /// Width inside the conformance window, in luma samples.
    pub width: u32,
    /// Height inside the conformance window, in luma samples.
    pub height: u32,
    /// `sps_max_num_reorder_pics` of the highest sub-layer, at most 15.
    pub max_num_reorder: u8,
    /// Usability information, as far as it could be read.
    pub vui: Vui,
}

/// Largest width or height: what a 16-bit size in files leaves room for.
const MAX_SIZE: u32 = 65_535;

impl Sps {
    /// Reads a NAL unit of type 33, its two header bytes included.
    ///
    /// What stands behind the reorder depth is optional here: when it is damaged the set counts as one without usability
    /// information.
    ///
    /// # Errors
    /// What [`BitError`] names, for another type of NAL unit too.
    pub fn parse(nal: &[u8]) -> Result<Sps, BitError> {
        let rbsp = unescape(nal);
        let r = &mut BitReader::new(&rbsp);
        if NalType::of(r.bits(8)? as u8) != NalType::Sps {
            return Err(BitError::Range("nal_unit_type"));
        }
        r.skip(8)?; // nuh_layer_id, nuh_temporal_id_plus1
        let vps_id = r.bits(4)? as u8;
        let max_sub_layers_minus1 = r.bits(3)?;
        if max_sub_layers_minus1 > 6 {
            return Err(BitError::Range("sps_max_sub_layers_minus1"));
        }
        let temporal_id_nesting = r.flag()?;
        let ptl = ProfileTierLevel::read(r, max_sub_layers_minus1)?;
        let id = r.ue_max(15, "sps_seq_parameter_set_id")? as u8;
        let chroma_format_idc = r.ue_max(3, "chroma_format_idc")? as u8;
        let separate_planes = chroma_format_idc == 3 && r.flag()?;
        let (width, height) = read_size(r, if separate_planes { 0 } else { chroma_format_idc })?;
        let bit_depth_luma_minus8 = r.ue_max(8, "bit_depth_luma_minus8")? as u8;
        let bit_depth_chroma_minus8 = r.ue_max(8, "bit_depth_chroma_minus8")? as u8;
        let log2_max_poc_lsb = r.ue_max(12, "log2_max_pic_order_cnt_lsb_minus4")? + 4;
        let mut max_num_reorder = 0;
        let first = if r.flag()? { 0 } else { max_sub_layers_minus1 };
        for _ in first..=max_sub_layers_minus1 {
            r.ue_max(15, "sps_max_dec_pic_buffering_minus1")?;
            max_num_reorder = r.ue_max(15, "sps_max_num_reorder_pics")? as u8;
            r.ue()?; // sps_max_latency_increase_plus1
        }
        let mut vui = Vui::default();
        let _damage = read_rest(r, log2_max_poc_lsb, max_sub_layers_minus1, &mut vui);
        Ok(Sps {
            vps_id,
            id,
            max_sub_layers_minus1: max_sub_layers_minus1 as u8,
            temporal_id_nesting,
            ptl,
            chroma_format_idc,
            bit_depth_luma_minus8,
            bit_depth_chroma_minus8,
            width,
            height,
            max_num_reorder,
            vui,
        })
    }
}

/// Coded size less the conformance window, whose offsets count chroma samples (7.4.3.2.1).
fn read_size(r: &mut BitReader<'_>, chroma_array_type: u8) -> Result<(u32, u32), BitError> {
    let width = r.ue_max(MAX_SIZE, "pic_width_in_luma_samples")?;
    let height = r.ue_max(MAX_SIZE, "pic_height_in_luma_samples")?;
    let (mut crop_x, mut crop_y) = (0, 0);
    if r.flag()? {
        let unit_x = if matches!(chroma_array_type, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma_array_type == 1 { 2 } else { 1 };
        crop_x = (u64::from(r.ue()?) + u64::from(r.ue()?)) * unit_x;
        crop_y = (u64::from(r.ue()?) + u64::from(r.ue()?)) * unit_y;
    }
    let cut = |size: u32, crop: u64| match u32::try_from(crop) {
        Ok(crop) if crop < size => Ok(size - crop),
        _ => Err(BitError::Range("conformance_window")),
    };
    Ok((cut(width, crop_x)?, cut(height, crop_y)?))
}

/// Reads from the block sizes to the usability information.
fn read_rest(
    r: &mut BitReader<'_>,
    log2_max_poc_lsb: u32,
    max_sub_layers_minus1: u32,
    vui: &mut Vui,
) -> Result<(), BitError> {
    for _ in 0..6 {
        r.ue()?; // four block sizes, two depths
    }
    // scaling_list_enabled_flag, sps_scaling_list_data_present_flag
    if r.flag()? && r.flag()? {
        skip_scaling_lists(r)?;
    }
    r.skip(2)?; // amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if r.flag()? {
        r.skip(8)?; // two bit depths of PCM
        r.ue()?;
        r.ue()?;
        r.skip(1)?; // pcm_loop_filter_disabled_flag
    }
    let sets = r.ue_max(64, "num_short_term_ref_pic_sets")?;
    ref_pics::skip(r, sets)?;
    if r.flag()? {
        let count = r.ue_max(32, "num_long_term_ref_pics_sps")?;
        r.skip((count * (log2_max_poc_lsb + 1)) as usize)?; // lt_ref_pic_poc_lsb_sps and its flag
    }
    r.skip(2)?; // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
    if r.flag()? {
        super::vui::read(r, max_sub_layers_minus1, vui)?;
    }
    Ok(())
}

/// `scaling_list_data()` (7.3.4).
fn skip_scaling_lists(r: &mut BitReader<'_>) -> Result<(), BitError> {
    for size_id in 0..4u32 {
        // Lists of 32x32 exist for two of the six matrices, also with 4:4:4, where the others are derived.
        let step = if size_id == 3 { 3 } else { 1 };
        for _ in (0..6).step_by(step) {
            if !r.flag()? {
                r.ue()?; // scaling_list_pred_matrix_id_delta
                continue;
            }
            if size_id > 1 {
                r.se()?; // scaling_list_dc_coef_minus8
            }
            for _ in 0..64.min(1u32 << (4 + (size_id << 1))) {
                r.se()?; // scaling_list_delta_coef
            }
        }
    }
    Ok(())
}
