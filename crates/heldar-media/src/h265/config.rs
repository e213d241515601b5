//! `HEVCDecoderConfigurationRecord`, the body of the `hvcC` box (ISO/IEC 14496-15 8.3.3.1), and the codec string.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};

use super::Sps;
use crate::params::{VideoCodec, VideoParams};
use crate::record::{RecordError, put_sets, take_set};

/// RFC 6381 string of streams whose parameter sets are in the sample entry: `hvc1.` and what ISO/IEC 14496-15 Annex E.3
/// puts behind it, such as `hvc1.1.6.L93.90`.
pub fn codec_string(sps: &Sps) -> String {
    let ptl = &sps.ptl;
    let space = match ptl.profile_space {
        1 => "A",
        2 => "B",
        3 => "C",
        _ => "",
    };
    let tier = if ptl.high_tier { 'H' } else { 'L' };
    let mut text = format!(
        "hvc1.{space}{}.{:x}.{tier}{}",
        ptl.profile_idc,
        ptl.compatibility.reverse_bits(),
        ptl.level_idc
    );
    // Trailing bytes that are zero may be left out; the first stays, since readers exist that want one.
    let used = ptl.constraints.iter().rposition(|b| *b != 0).unwrap_or(0) + 1;
    for byte in ptl.constraints.iter().take(used) {
        let _infallible = write!(text, ".{byte:x}");
    }
    text
}

/// Builds the record from the sequence parameter set in force and the NAL units of all sets, in order.
///
/// # Errors
/// [`RecordError`] when a kind has none or more than the record has room for.
pub fn config_record(
    active: &Sps,
    vps: &[Bytes],
    sps: &[Bytes],
    pps: &[Bytes],
) -> Result<Bytes, RecordError> {
    let arrays = [(32u8, vps), (33, sps), (34, pps)];
    let size: usize = arrays.iter().flat_map(|(_, nals)| nals.iter()).map(|n| n.len() + 2).sum();
    let mut out = BytesMut::with_capacity(32 + size);
    let ptl = &active.ptl;
    out.put_u8(1);
    out.put_u8((ptl.profile_space << 6) | (u8::from(ptl.high_tier) << 5) | ptl.profile_idc);
    out.put_u32(ptl.compatibility);
    out.put_slice(&ptl.constraints);
    out.put_u8(ptl.level_idc);
    out.put_u16(0xf000 | active.vui.min_spatial_segmentation);
    out.put_u8(0xfc); // parallelismType 0: mixed or unknown
    out.put_u8(0xfc | active.chroma_format_idc);
    out.put_u8(0xf8 | active.bit_depth_luma_minus8);
    out.put_u8(0xf8 | active.bit_depth_chroma_minus8);
    out.put_u16(0); // avgFrameRate: unspecified
    // constantFrameRate 0, numTemporalLayers, temporalIdNested, NAL units behind four bytes of length
    let layers = active.max_sub_layers_minus1 + 1;
    out.put_u8((layers << 3) | (u8::from(active.temporal_id_nesting) << 2) | 3);
    out.put_u8(arrays.len() as u8);
    for (kind, nals) in arrays {
        if nals.is_empty() {
            return Err(RecordError::Missing);
        }
        out.put_u8(0x80 | kind); // array_completeness, as `hvc1` demands
        out.put_u16(u16::try_from(nals.len()).map_err(|_| RecordError::TooMany)?);
        put_sets(&mut out, nals)?;
    }
    Ok(out.freeze())
}

/// The NAL units of a record, in order.
///
/// # Errors
/// [`RecordError::Malformed`] for another version or a length past the end.
pub fn parameter_sets(record: &Bytes) -> Result<Vec<Bytes>, RecordError> {
    if record.first() != Some(&1) {
        return Err(RecordError::Malformed);
    }
    let byte = |at: usize| record.get(at).copied().ok_or(RecordError::Malformed);
    let mut sets = Vec::new();
    let arrays = byte(22)?;
    let mut at = 23;
    for _ in 0..arrays {
        let count = u16::from_be_bytes([byte(at + 1)?, byte(at + 2)?]);
        at += 3;
        for _ in 0..count {
            sets.push(take_set(record, &mut at)?);
        }
    }
    Ok(sets)
}

/// Parameters of a track from the sequence parameter set in force and the NAL units of all sets.
///
/// # Errors
/// As [`config_record`].
pub fn video_params(
    active: &Sps,
    vps: &[Bytes],
    sps: &[Bytes],
    pps: &[Bytes],
) -> Result<VideoParams, RecordError> {
    Ok(VideoParams {
        codec: VideoCodec::H265,
        codec_string: codec_string(active),
        width: active.width,
        height: active.height,
        pixel_aspect: active.vui.pixel_aspect(),
        nominal_interval: active.vui.picture_interval,
        reorder_depth: active.max_num_reorder,
        config: config_record(active, vps, sps, pps)?,
    })
}
