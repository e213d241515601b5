//! The elementary stream descriptor of AAC (ISO/IEC 14496-1 7.2.6, ISO/IEC 14496-14 5.6).

use crate::{boxes::BoxWriter, cursor::Cursor, error::Error};

const ES_DESCRIPTOR: u8 = 3;
const DECODER_CONFIG_DESCRIPTOR: u8 = 4;
const DECODER_SPECIFIC_INFO: u8 = 5;
const SL_CONFIG_DESCRIPTOR: u8 = 6;
/// `objectTypeIndication` of MPEG-4 audio.
const MPEG4_AUDIO: u8 = 0x40;
/// `streamType` audio in the upper six bits, not an up stream, reserved bit set.
const AUDIO_STREAM: u8 = (5 << 2) | 1;
/// Longest AudioSpecificConfig that is written: every descriptor length stays in one byte.
pub(crate) const MAX_SPECIFIC_CONFIG: usize = 64;

/// Writes an `esds` box for `config`, an AudioSpecificConfig of at most [`MAX_SPECIFIC_CONFIG`] bytes.
pub(crate) fn write_esds(w: &mut BoxWriter, config: &[u8]) {
    let config_len = config.len().min(MAX_SPECIFIC_CONFIG);
    w.full(b"esds", 0, 0, |w| {
        let decoder_config_len = 13 + 2 + config_len;
        w.u8(ES_DESCRIPTOR);
        w.u8((3 + 2 + decoder_config_len + 3) as u8);
        // ES_ID is 0 in files (ISO/IEC 14496-14 3.1.2); no flags.
        w.u16(0);
        w.u8(0);
        w.u8(DECODER_CONFIG_DESCRIPTOR);
        w.u8(decoder_config_len as u8);
        w.u8(MPEG4_AUDIO);
        w.u8(AUDIO_STREAM);
        // bufferSizeDB, maxBitrate, avgBitrate: not known.
        w.zeros(3 + 4 + 4);
        w.u8(DECODER_SPECIFIC_INFO);
        w.u8(config_len as u8);
        w.bytes(&config[..config_len]);
        w.u8(SL_CONFIG_DESCRIPTOR);
        w.u8(1);
        // Predefined: for use in MP4 files.
        w.u8(2);
    });
}

/// The AudioSpecificConfig in the body of an `esds` box.
pub(crate) fn read_esds<'a>(mut body: Cursor<'a>) -> Result<&'a [u8], Error> {
    body.version_flags()?;
    let mut es = expect(&mut body, ES_DESCRIPTOR)?;
    es.skip(2)?;
    let flags = es.u8()?;
    if flags & 0x80 != 0 {
        es.skip(2)?;
    }
    if flags & 0x40 != 0 {
        let url = es.u8()?;
        es.skip(usize::from(url))?;
    }
    if flags & 0x20 != 0 {
        es.skip(2)?;
    }
    let mut config = expect(&mut es, DECODER_CONFIG_DESCRIPTOR)?;
    if config.u8()? != MPEG4_AUDIO {
        return Err(Error::Unsupported("audio that is not MPEG-4 audio"));
    }
    config.skip(12)?;
    let mut specific = expect(&mut config, DECODER_SPECIFIC_INFO)?;
    specific.take(specific.remaining())
}

/// The body of the next descriptor, which must have that tag.
fn expect<'a>(from: &mut Cursor<'a>, tag: u8) -> Result<Cursor<'a>, Error> {
    if from.u8()? != tag {
        return Err(from.error("unexpected descriptor"));
    }
    // ISO/IEC 14496-1 8.3.3: up to four bytes of seven bits, the highest first.
    let mut len = 0usize;
    for _ in 0..4 {
        let byte = from.u8()?;
        len = (len << 7) | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let offset = from.offset();
            return Ok(Cursor::new(from.take(len)?, offset));
        }
    }
    Err(from.error("descriptor length"))
}
