//! Usability information of H.265 (E.2.1) and the decoder model's parameters in it (E.2.2).

use crate::bits::{BitError, BitReader};
use crate::vui::{self, Vui};

/// `vui_parameters()`.
pub(super) fn read(r: &mut BitReader<'_>, max_sub_layers_minus1: u32, vui: &mut Vui) -> Result<(), BitError> {
    vui::read_head(r, vui)?;
    r.skip(3)?; // neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
    if r.flag()? {
        for _ in 0..4 {
            r.ue()?; // default display window: a hint that readers leave alone
        }
    }
    if r.flag()? {
        let (units, scale) = (r.bits(32)?, r.bits(32)?);
        vui.picture_interval = vui::interval(units, scale, 1);
        if r.flag()? {
            r.ue()?; // vui_num_ticks_poc_diff_one_minus1
        }
        if r.flag()? {
            skip_hrd(r, max_sub_layers_minus1)?;
        }
    }
    if r.flag()? {
        r.skip(3)?; // tiles_fixed_structure_flag and two more
        vui.min_spatial_segmentation = r.ue_max(4095, "min_spatial_segmentation_idc")? as u16;
    }
    Ok(())
}

/// `hrd_parameters()` with its common information present.
fn skip_hrd(r: &mut BitReader<'_>, max_sub_layers_minus1: u32) -> Result<(), BitError> {
    let nal = r.flag()?;
    let vcl = r.flag()?;
    let mut sub_picture = false;
    if nal || vcl {
        sub_picture = r.flag()?;
        if sub_picture {
            r.skip(19)?; // tick divisor and three lengths
        }
        r.skip(8)?; // bit_rate_scale, cpb_size_scale
        if sub_picture {
            r.skip(4)?; // cpb_size_du_scale
        }
        r.skip(15)?; // three lengths
    }
    for _ in 0..=max_sub_layers_minus1 {
        let fixed_general = r.flag()?;
        let fixed_within_sequence = fixed_general || r.flag()?;
        let mut low_delay = false;
        if fixed_within_sequence {
            r.ue_max(2047, "elemental_duration_in_tc_minus1")?;
        } else {
            low_delay = r.flag()?;
        }
        let count = if low_delay { 1 } else { r.ue_max(31, "cpb_cnt_minus1")? + 1 };
        for _ in 0..(u32::from(nal) + u32::from(vcl)) * count {
            let numbers = if sub_picture { 4 } else { 2 };
            for _ in 0..numbers {
                r.ue()?;
            }
            r.skip(1)?; // cbr_flag
        }
    }
    Ok(())
}
