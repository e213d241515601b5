//! Sequence parameter set of H.264 (7.3.2.1.1, Annex E).

use crate::bits::{BitError, BitReader};
use crate::h264::NalType;
use crate::nal::unescape;
use crate::reorder::ReorderLimit;
use crate::vui::{self, Vui};

/// Facts of a sequence parameter set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sps {
    /// `profile_idc`.
    pub profile_idc: u8,
    /// `constraint_set0_flag` (most significant bit) to `constraint_set5_flag` and two reserved bits.
    pub constraints: u8,
    /// `level_idc`.
    pub level_idc: u8,
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u8,
    /// `chroma_format_idc`, 0 to 3.
    pub chroma_format_idc: u8,
    /// `bit_depth_luma_minus8`, 0 to 6.
    pub bit_depth_luma_minus8: u8,
    /// `bit_depth_chroma_minus8`, 0 to 6.
    pub bit_depth_chroma_minus8: u8,
    /// `pic_order_cnt_type`, 0 to 2.
    pub pic_order_cnt_type: u8,
    /// `max_num_ref_frames`, 0 to 16.
    pub max_num_ref_frames: u8,
    /// Coded width in macroblocks.
    pub width_mbs: u32,
    /// Coded height of a frame in macroblocks.
    pub height_mbs: u32,
    /// False when pictures may be coded as fields.
    pub frame_mbs_only: bool,
    /// Width after cropping, in luma samples.
    pub width: u32,
    /// Height after cropping, in luma samples.
    pub height: u32,
    /// Usability information, as far as it could be read.
    pub vui: Vui,
}

/// Most macroblocks in a row or column: what a 16-bit size in files leaves room for.
const MAX_MBS: u32 = 4095;

/// Profiles whose parameter sets tell chroma format and bit depth (7.3.2.1.1).
pub(super) const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

impl Sps {
    /// Reads a NAL unit of type 7, its header byte included.
    ///
    /// Usability information that is damaged is passed over: cameras get it wrong, and nothing in it is needed to decode.
    ///
    /// # Errors
    /// What [`BitError`] names, for another type of NAL unit too.
    pub fn parse(nal: &[u8]) -> Result<Sps, BitError> {
        let rbsp = unescape(nal);
        let r = &mut BitReader::new(&rbsp);
        if NalType::of(r.bits(8)? as u8) != NalType::Sps {
            return Err(BitError::Range("nal_unit_type"));
        }
        let profile_idc = r.bits(8)? as u8;
        let constraints = r.bits(8)? as u8;
        let level_idc = r.bits(8)? as u8;
        let id = r.ue_max(31, "seq_parameter_set_id")? as u8;
        let format = Format::read(r, profile_idc)?;
        r.ue_max(12, "log2_max_frame_num_minus4")?;
        let pic_order_cnt_type = read_picture_order(r)?;
        let max_num_ref_frames = r.ue_max(16, "max_num_ref_frames")? as u8;
        r.skip(1)?; // gaps_in_frame_num_value_allowed_flag
        let width_mbs = r.ue_max(MAX_MBS - 1, "pic_width_in_mbs_minus1")? + 1;
        let map_units = r.ue_max(MAX_MBS - 1, "pic_height_in_map_units_minus1")? + 1;
        let frame_mbs_only = r.flag()?;
        let height_mbs = if frame_mbs_only { map_units } else { map_units * 2 };
        if height_mbs > MAX_MBS {
            return Err(BitError::Range("pic_height_in_map_units_minus1"));
        }
        if !frame_mbs_only {
            r.skip(1)?; // mb_adaptive_frame_field_flag
        }
        r.skip(1)?; // direct_8x8_inference_flag
        let (crop_x, crop_y) = read_cropping(r, &format, frame_mbs_only)?;
        let cut = |size: u32, crop: u64, name| match u32::try_from(crop) {
            Ok(crop) if crop < size => Ok(size - crop),
            _ => Err(BitError::Range(name)),
        };
        let mut vui = Vui::default();
        if r.flag().unwrap_or(false) {
            // Whatever was read before the damage stands.
            let _damage = read_vui(r, &mut vui);
        }
        Ok(Sps {
            profile_idc,
            constraints,
            level_idc,
            id,
            chroma_format_idc: format.chroma_format_idc,
            bit_depth_luma_minus8: format.bit_depth_luma_minus8,
            bit_depth_chroma_minus8: format.bit_depth_chroma_minus8,
            pic_order_cnt_type,
            max_num_ref_frames,
            width_mbs,
            height_mbs,
            frame_mbs_only,
            width: cut(width_mbs * 16, crop_x, "frame_crop_right_offset")?,
            height: cut(height_mbs * 16, crop_y, "frame_crop_bottom_offset")?,
            vui,
        })
    }

    /// How far presentation may differ from decoding order.
    pub fn reorder_limit(&self) -> ReorderLimit {
        let bit = |n: u8| self.constraints & (0x80 >> n) != 0;
        // A.2: no B slices in Baseline, nor in streams that also conform to it; 7.4.2.1.1: constraint_set5_flag of Main,
        // Extended and High says the same. E.2.1: the intra profiles have constraint_set3_flag.
        let no_b_slices = self.profile_idc == 66
            || (matches!(self.profile_idc, 77 | 88) && bit(0))
            || (matches!(self.profile_idc, 77 | 88 | 100) && bit(5));
        let intra = self.profile_idc == 44
            || (matches!(self.profile_idc, 86 | 100 | 110 | 122 | 244) && bit(3))
            || self.max_num_ref_frames == 0;
        if let Some(depth) = self.vui.max_num_reorder {
            // E.2.1 limits it to MaxDpbFrames, and that to 16.
            return ReorderLimit::Known(depth.min(16) as u8);
        }
        // 8.2.1.3: with type 2, output order is decoding order.
        if self.pic_order_cnt_type == 2 || no_b_slices || intra {
            return ReorderLimit::Known(0);
        }
        ReorderLimit::AtMost(self.max_dpb_frames())
    }

    /// `MaxDpbFrames` (A.3.1 h): at least 1, at most 16.
    fn max_dpb_frames(&self) -> u8 {
        let level_1b =
            self.level_idc == 11 && self.constraints & 0x10 != 0 && matches!(self.profile_idc, 66 | 77 | 88);
        // MaxDpbMbs of table A-1.
        let max_dpb_mbs = match self.level_idc {
            _ if level_1b => 396,
            0..=10 => 396,
            11 => 900,
            12..=20 => 2376,
            21 => 4752,
            22..=30 => 8100,
            31 => 18_000,
            32 => 20_480,
            33..=41 => 32_768,
            42 => 34_816,
            43..=50 => 110_400,
            51..=52 => 184_320,
            _ => 696_320,
        };
        let frame_mbs = (self.width_mbs * self.height_mbs).max(1);
        (max_dpb_mbs / frame_mbs).clamp(1, 16) as u8
    }
}

/// Chroma format and bit depth.
struct Format {
    chroma_format_idc: u8,
    separate_planes: bool,
    bit_depth_luma_minus8: u8,
    bit_depth_chroma_minus8: u8,
}

impl Format {
    fn read(r: &mut BitReader<'_>, profile_idc: u8) -> Result<Format, BitError> {
        let mut format = Format {
            chroma_format_idc: 1,
            separate_planes: false,
            bit_depth_luma_minus8: 0,
            bit_depth_chroma_minus8: 0,
        };
        if !HIGH_PROFILES.contains(&profile_idc) {
            return Ok(format);
        }
        format.chroma_format_idc = r.ue_max(3, "chroma_format_idc")? as u8;
        if format.chroma_format_idc == 3 {
            format.separate_planes = r.flag()?;
        }
        format.bit_depth_luma_minus8 = r.ue_max(6, "bit_depth_luma_minus8")? as u8;
        format.bit_depth_chroma_minus8 = r.ue_max(6, "bit_depth_chroma_minus8")? as u8;
        r.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if r.flag()? {
            let lists = if format.chroma_format_idc == 3 { 12 } else { 8 };
            for list in 0..lists {
                if r.flag()? {
                    skip_scaling_list(r, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(format)
    }
}

/// `scaling_list()` (7.3.2.1.1.1).
fn skip_scaling_list(r: &mut BitReader<'_>, size: u32) -> Result<(), BitError> {
    let mut last = 8i32;
    for _ in 0..size {
        // delta_scale lies in -128..=127, but only its low eight bits matter.
        let next = last.wrapping_add(r.se()?) & 0xff;
        if next == 0 {
            return Ok(());
        }
        last = next;
    }
    Ok(())
}

/// Reads `pic_order_cnt_type` and what depends on it.
fn read_picture_order(r: &mut BitReader<'_>) -> Result<u8, BitError> {
    let kind = r.ue_max(2, "pic_order_cnt_type")?;
    match kind {
        0 => {
            r.ue_max(12, "log2_max_pic_order_cnt_lsb_minus4")?;
        }
        1 => {
            r.skip(1)?; // delta_pic_order_always_zero_flag
            r.se()?; // offset_for_non_ref_pic
            r.se()?; // offset_for_top_to_bottom_field
            for _ in 0..r.ue_max(255, "num_ref_frames_in_pic_order_cnt_cycle")? {
                r.se()?;
            }
        }
        _ => {}
    }
    Ok(kind as u8)
}

/// Luma samples cut from both sides together, horizontally and vertically (7.4.2.1.1, equations 7-19 to 7-22).
fn read_cropping(
    r: &mut BitReader<'_>,
    format: &Format,
    frame_mbs_only: bool,
) -> Result<(u64, u64), BitError> {
    if !r.flag()? {
        return Ok((0, 0));
    }
    let chroma = if format.separate_planes { 0 } else { format.chroma_format_idc };
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = if chroma == 1 { 2 } else { 1 } * if frame_mbs_only { 1 } else { 2 };
    let x = u64::from(r.ue()?) + u64::from(r.ue()?);
    let y = u64::from(r.ue()?) + u64::from(r.ue()?);
    Ok((x * unit_x, y * unit_y))
}

/// `vui_parameters()` (E.1.1).
fn read_vui(r: &mut BitReader<'_>, vui: &mut Vui) -> Result<(), BitError> {
    vui::read_head(r, vui)?;
    if r.flag()? {
        let (units, scale) = (r.bits(32)?, r.bits(32)?);
        r.skip(1)?; // fixed_frame_rate_flag
        // A tick is the time of one field (E.2.1).
        vui.picture_interval = vui::interval(units, scale, 2);
    }
    let nal_hrd = r.flag()?;
    if nal_hrd {
        skip_hrd(r)?;
    }
    let vcl_hrd = r.flag()?;
    if vcl_hrd {
        skip_hrd(r)?;
    }
    if nal_hrd || vcl_hrd {
        r.skip(1)?; // low_delay_hrd_flag
    }
    r.skip(1)?; // pic_struct_present_flag
    if r.flag()? {
        r.skip(1)?; // motion_vectors_over_pic_boundaries_flag
        for _ in 0..4 {
            r.ue()?; // two limits of sizes, two of motion vectors
        }
        vui.max_num_reorder = Some(r.ue_max(16, "max_num_reorder_frames")?);
    }
    Ok(())
}

/// `hrd_parameters()` (E.1.2).
fn skip_hrd(r: &mut BitReader<'_>) -> Result<(), BitError> {
    let count = r.ue_max(31, "cpb_cnt_minus1")? + 1;
    r.skip(8)?; // bit_rate_scale, cpb_size_scale
    for _ in 0..count {
        r.ue()?;
        r.ue()?;
        r.skip(1)?;
    }
    r.skip(20) // four lengths of five bits
}
