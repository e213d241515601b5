//! `AVCDecoderConfigurationRecord`, the body of the `avcC` box (ISO/IEC 14496-15 5.3.3.1), and the codec string.

use bytes::{BufMut, Bytes, BytesMut};

use super::Sps;
use crate::params::{VideoCodec, VideoParams};
use crate::record::{RecordError, put_sets, take_set};

/// RFC 6381 string of streams whose parameter sets are in the sample entry: `avc1.PPCCLL` (ISO/IEC 14496-15 Annex E.2).
pub fn codec_string(sps: &Sps) -> String {
    format!("avc1.{:02x}{:02x}{:02x}", sps.profile_idc, sps.constraints, sps.level_idc)
}

/// Builds the record from the parameter set in force and the NAL units of all of them, in order.
///
/// # Errors
/// [`RecordError`] when there are none or more than the record has room for.
pub fn config_record(active: &Sps, sps: &[Bytes], pps: &[Bytes]) -> Result<Bytes, RecordError> {
    if sps.is_empty() || pps.is_empty() {
        return Err(RecordError::Missing);
    }
    let mut out = BytesMut::with_capacity(16 + sps.iter().chain(pps).map(|n| n.len() + 2).sum::<usize>());
    out.put_slice(&[1, active.profile_idc, active.constraints, active.level_idc]);
    out.put_u8(0xfc | 3); // NAL units stand behind four bytes of length
    out.put_u8(0xe0 | u8::try_from(sps.len()).ok().filter(|n| *n <= 31).ok_or(RecordError::TooMany)?);
    put_sets(&mut out, sps)?;
    out.put_u8(u8::try_from(pps.len()).map_err(|_| RecordError::TooMany)?);
    put_sets(&mut out, pps)?;
    if !matches!(active.profile_idc, 66 | 77 | 88) {
        out.put_u8(0xfc | active.chroma_format_idc);
        out.put_u8(0xf8 | active.bit_depth_luma_minus8);
        out.put_u8(0xf8 | active.bit_depth_chroma_minus8);
        out.put_u8(0); // sequence parameter set extensions
    }
    Ok(out.freeze())
}

/// The parameter sets of a record, in order.
///
/// # Errors
/// [`RecordError::Malformed`] for another version or a length past the end.
pub fn parameter_sets(record: &Bytes) -> Result<Vec<Bytes>, RecordError> {
    let mut sets = Vec::new();
    if record.first() != Some(&1) {
        return Err(RecordError::Malformed);
    }
    let mut at = 5;
    for mask in [0x1f, 0xff] {
        let count = record.get(at).ok_or(RecordError::Malformed)? & mask;
        at += 1;
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
pub fn video_params(active: &Sps, sps: &[Bytes], pps: &[Bytes]) -> Result<VideoParams, RecordError> {
    Ok(VideoParams {
        codec: VideoCodec::H264,
        codec_string: codec_string(active),
        width: active.width,
        height: active.height,
        pixel_aspect: active.vui.pixel_aspect(),
        nominal_interval: active.vui.picture_interval,
        reorder_depth: active.reorder_limit().told().unwrap_or(0),
        config: config_record(active, sps, pps)?,
    })
}
