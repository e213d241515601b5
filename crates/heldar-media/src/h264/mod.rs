//! ITU-T H.264: NAL unit types, parameter sets, recovery points.

mod config;
mod sps;

pub use config::{codec_string, config_record, parameter_sets, video_params};
pub use sps::Sps;

use crate::bits::{BitError, BitReader};
use crate::nal::unescape;

/// What a NAL unit carries (table 7-1), as far as Heldar tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalType {
    /// 1: slice of a picture that is not IDR.
    Slice,
    /// 2 to 4: data partition of such a slice.
    DataPartition,
    /// 5: slice of an IDR picture.
    IdrSlice,
    /// 6: supplemental enhancement information.
    Sei,
    /// 7: sequence parameter set.
    Sps,
    /// 8: picture parameter set.
    Pps,
    /// 9: access unit delimiter.
    Delimiter,
    /// 10 and 11: end of sequence, end of stream.
    End,
    /// 12: filler data.
    Filler,
    /// 13 and 15: parameter sets of auxiliary pictures and of further layers, which files of the base layer leave out.
    OtherParameterSet,
    /// Everything else: kept and not looked into.
    Other,
}

impl NalType {
    /// The type told by the first byte of a NAL unit.
    pub fn of(header: u8) -> NalType {
        match header & 0x1f {
            1 => NalType::Slice,
            2..=4 => NalType::DataPartition,
            5 => NalType::IdrSlice,
            6 => NalType::Sei,
            7 => NalType::Sps,
            8 => NalType::Pps,
            9 => NalType::Delimiter,
            10 | 11 => NalType::End,
            12 => NalType::Filler,
            13 | 15 => NalType::OtherParameterSet,
            _ => NalType::Other,
        }
    }
}

/// Ids of a picture parameter set (7.3.2.2): its own and that of its sequence parameter set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pps {
    /// `pic_parameter_set_id`, 0 to 255.
    pub id: u8,
    /// `seq_parameter_set_id`, 0 to 31.
    pub sps_id: u8,
}

impl Pps {
    /// Reads a NAL unit of type 8, its header byte included.
    ///
    /// # Errors
    /// What [`BitError`] names.
    pub fn parse(nal: &[u8]) -> Result<Pps, BitError> {
        // Both ids lie within the first nine bytes; the rest is not needed.
        let head = nal.get(..nal.len().min(16)).unwrap_or(nal);
        let rbsp = unescape(head);
        let r = &mut BitReader::new(&rbsp);
        if NalType::of(r.bits(8)? as u8) != NalType::Pps {
            return Err(BitError::Range("nal_unit_type"));
        }
        let id = r.ue_max(255, "pic_parameter_set_id")? as u8;
        Ok(Pps { id, sps_id: r.ue_max(31, "seq_parameter_set_id")? as u8 })
    }
}

/// Picture parameter set that a slice refers to (7.3.3).
///
/// # Errors
/// What [`BitError`] names.
pub fn slice_pps_id(nal: &[u8]) -> Result<u8, BitError> {
    let head = nal.get(..nal.len().min(24)).unwrap_or(nal);
    let rbsp = unescape(head);
    let r = &mut BitReader::new(&rbsp);
    r.skip(8)?;
    r.ue()?; // first_mb_in_slice
    r.ue_max(9, "slice_type")?;
    Ok(r.ue_max(255, "pic_parameter_set_id")? as u8)
}

/// `payloadType` of a recovery point (Annex D).
const RECOVERY_POINT: u32 = 6;

/// `recovery_frame_cnt` of the recovery point message in a NAL unit of type 6 (D.1.8), if there is one.
pub fn recovery_frame_count(sei: &[u8]) -> Option<u32> {
    let rbsp = unescape(sei);
    let mut rest = rbsp.get(1..)?;
    // More than the trailing bits must be left (7.3.2.3).
    while rest.len() > 1 {
        let kind = take_sei_number(&mut rest)?;
        let size = take_sei_number(&mut rest)? as usize;
        let payload = rest.get(..size)?;
        if kind == RECOVERY_POINT {
            return BitReader::new(payload).ue().ok();
        }
        rest = rest.get(size..)?;
    }
    None
}

/// A number of 255s and one smaller byte (7.3.2.3.1).
fn take_sei_number(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    loop {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value = value.checked_add(u32::from(*byte))?;
        if *byte != 255 {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests;
