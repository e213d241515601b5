//! What the decoder configuration records of H.264 and H.265 share (ISO/IEC 14496-15): parameter sets behind 16-bit lengths.

use bytes::{BufMut, Bytes, BytesMut};

/// Why a decoder configuration record cannot be built or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A kind of parameter set that decoding needs is not there.
    #[error("a parameter set is missing")]
    Missing,
    /// More parameter sets than the record can count.
    #[error("too many parameter sets")]
    TooMany,
    /// A parameter set of more than 65 535 bytes.
    #[error("a parameter set is too long")]
    TooLong,
    /// Bytes that are no such record.
    #[error("not a decoder configuration record")]
    Malformed,
}

/// Appends NAL units, each behind its length.
pub(crate) fn put_sets(out: &mut BytesMut, nals: &[Bytes]) -> Result<(), RecordError> {
    for nal in nals {
        out.put_u16(u16::try_from(nal.len()).map_err(|_| RecordError::TooLong)?);
        out.put_slice(nal);
    }
    Ok(())
}

/// Takes the NAL unit whose length stands at `at`, and moves past it.
pub(crate) fn take_set(record: &Bytes, at: &mut usize) -> Result<Bytes, RecordError> {
    let body = *at + 2;
    let len = record.get(*at..body).ok_or(RecordError::Malformed)?;
    let end = body + usize::from(u16::from_be_bytes([len[0], len[1]]));
    if end > record.len() {
        return Err(RecordError::Malformed);
    }
    *at = end;
    Ok(record.slice(body..end))
}
