//! ITU-T H.265: NAL unit types and parameter sets.

mod config;
mod ptl;
mod ref_pics;
mod sps;
mod vui;

pub use config::{codec_string, config_record, parameter_sets, video_params};
pub use ptl::ProfileTierLevel;
pub use sps::Sps;

use crate::bits::{BitError, BitReader};
use crate::nal::unescape;

/// What a NAL unit carries (table 7-1), as far as Heldar tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalType {
    /// 0 to 5: slice of a trailing picture.
    TrailingSlice,
    /// 6 and 7: slice of a leading picture that can be decoded when decoding starts at its random access picture (RADL).
    DecodableLeadingSlice,
    /// 8 and 9: slice of a leading picture that cannot (RASL).
    SkippedLeadingSlice,
    /// 16 to 18: slice of a BLA picture.
    BrokenLinkSlice,
    /// 19 and 20: slice of an IDR picture.
    IdrSlice,
    /// 21: slice of a CRA picture.
    CleanRandomAccessSlice,
    /// 10 to 15 and 22 to 31: slices of kinds that no profile uses yet.
    ReservedSlice,
    /// 32: video parameter set.
    Vps,
    /// 33: sequence parameter set.
    Sps,
    /// 34: picture parameter set.
    Pps,
    /// 35: access unit delimiter.
    Delimiter,
    /// 36 and 37: end of sequence, end of bitstream.
    End,
    /// 38: filler data.
    Filler,
    /// 39 and 40: supplemental enhancement information.
    Sei,
    /// Everything else: kept and not looked into.
    Other,
}

impl NalType {
    /// The type told by the first byte of a NAL unit.
    pub fn of(header: u8) -> NalType {
        match (header >> 1) & 0x3f {
            0..=5 => NalType::TrailingSlice,
            6 | 7 => NalType::DecodableLeadingSlice,
            8 | 9 => NalType::SkippedLeadingSlice,
            16..=18 => NalType::BrokenLinkSlice,
            19 | 20 => NalType::IdrSlice,
            21 => NalType::CleanRandomAccessSlice,
            10..=15 | 22..=31 => NalType::ReservedSlice,
            32 => NalType::Vps,
            33 => NalType::Sps,
            34 => NalType::Pps,
            35 => NalType::Delimiter,
            36 | 37 => NalType::End,
            38 => NalType::Filler,
            39 | 40 => NalType::Sei,
            _ => NalType::Other,
        }
    }
}

/// `nuh_layer_id` of a NAL unit (7.3.1.2); 0 is the layer that every decoder shows. `None` without a whole header.
pub fn layer_id(nal: &[u8]) -> Option<u8> {
    match nal {
        [first, second, ..] => Some(((first & 1) << 5) | (second >> 3)),
        _ => None,
    }
}

/// Id of a video parameter set (7.3.2.1): nothing else of it is needed.
///
/// # Errors
/// What [`BitError`] names.
pub fn vps_id(nal: &[u8]) -> Result<u8, BitError> {
    match nal {
        [first, _, third, ..] if NalType::of(*first) == NalType::Vps => Ok(third >> 4),
        [first, ..] if NalType::of(*first) != NalType::Vps => Err(BitError::Range("nal_unit_type")),
        _ => Err(BitError::End),
    }
}

/// Ids of a picture parameter set (7.3.2.3.1): its own and that of its sequence parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// `pps_pic_parameter_set_id`, 0 to 63.
    pub id: u8,
    /// `pps_seq_parameter_set_id`, 0 to 15.
    pub sps_id: u8,
}

impl Pps {
    /// Reads a NAL unit of type 34, its header included.
    ///
    /// # Errors
    /// What [`BitError`] names.
    pub fn parse(nal: &[u8]) -> Result<Pps, BitError> {
        let rbsp = unescape(nal.get(..nal.len().min(16)).unwrap_or(nal));
        let r = &mut BitReader::new(&rbsp);
        if NalType::of(r.bits(8)? as u8) != NalType::Pps {
            return Err(BitError::Range("nal_unit_type"));
        }
        r.skip(8)?;
        let id = r.ue_max(63, "pps_pic_parameter_set_id")? as u8;
        Ok(Pps { id, sps_id: r.ue_max(15, "pps_seq_parameter_set_id")? as u8 })
    }
}

/// Picture parameter set that the first slice segment of a picture refers to (7.3.6.1); `None` for a later segment, whose
/// header cannot be read without the parameter sets.
pub fn slice_pps_id(nal: &[u8]) -> Option<u8> {
    let rbsp = unescape(nal.get(..nal.len().min(24)).unwrap_or(nal));
    let r = &mut BitReader::new(&rbsp);
    let kind = (r.bits(16).ok()? >> 9) & 0x3f;
    let first = r.flag().ok()?;
    if (16..=23).contains(&kind) {
        r.skip(1).ok()?; // no_output_of_prior_pics_flag
    }
    let id = r.ue_max(63, "slice_pic_parameter_set_id").ok()? as u8;
    first.then_some(id)
}

#[cfg(test)]
mod tests;
