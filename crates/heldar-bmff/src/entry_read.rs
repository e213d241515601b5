//! Reading of sample entries.

use bytes::Bytes;
use heldar_media::{AudioCodec, AudioParams, TrackParams, VideoCodec, VideoParams, aac, h264, h265};

use crate::{
    cursor::Cursor,
    descriptor::read_esds,
    error::{Error, malformed},
};

/// Reads one whole sample entry box of a track with that timescale.
pub(crate) fn read(entry: &[u8], timescale: u32) -> Result<TrackParams, Error> {
    let mut walk = Cursor::new(entry, 0);
    let Some(view) = walk.next_box()? else {
        return Err(malformed("no sample entry", 0));
    };
    if !walk.is_empty() {
        return Err(walk.error("bytes after the sample entry"));
    }
    match &view.kind {
        b"avc1" => read_video(view.body, VideoCodec::H264).map(TrackParams::Video),
        b"hvc1" => read_video(view.body, VideoCodec::H265).map(TrackParams::Video),
        b"mp4a" => read_audio(view.body, AudioCodec::Aac, timescale).map(TrackParams::Audio),
        b"Opus" => read_audio(view.body, AudioCodec::Opus, timescale).map(TrackParams::Audio),
        _ => Err(Error::Unsupported("sample entry")),
    }
}

fn read_video(mut body: Cursor<'_>, codec: VideoCodec) -> Result<VideoParams, Error> {
    body.skip(24)?;
    let width = u32::from(body.u16()?);
    let height = u32::from(body.u16()?);
    body.skip(50)?;
    let (config_kind, shortest) = match codec {
        VideoCodec::H264 => (b"avcC", 7),
        VideoCodec::H265 => (b"hvcC", 23),
    };
    let [config, pasp] = body.find([config_kind, b"pasp"])?;
    let Some(mut config) = config.filter(|c| c.remaining() >= shortest) else {
        return Err(body.error("no codec configuration record"));
    };
    let config = Bytes::copy_from_slice(config.take(config.remaining())?);
    let pixel_aspect = match pasp {
        Some(mut pasp) => Some((pasp.u32()?, pasp.u32()?)),
        None => None,
    };
    let (codec_string, told) = match codec {
        VideoCodec::H264 => (avc1_string(&config), h264_params(&config)),
        VideoCodec::H265 => (hvc1_string(&config), h265_params(&config)),
    };
    let Some(codec_string) = codec_string else {
        return Err(body.error("no codec configuration record"));
    };
    // A record whose parameter sets can't be read is still playable, so the rest does not depend on them.
    let (nominal_interval, reorder_depth) = told.map_or((None, 0), |t| (t.nominal_interval, t.reorder_depth));
    Ok(VideoParams {
        codec,
        codec_string,
        width,
        height,
        pixel_aspect,
        nominal_interval,
        reorder_depth,
        config,
    })
}

/// The parameters that the first sequence parameter set of an AVCDecoderConfigurationRecord tells.
fn h264_params(config: &Bytes) -> Option<VideoParams> {
    let sets = h264::parameter_sets(config).ok()?;
    let of_type = |wanted: u8| sets.iter().filter(move |n| n.first().is_some_and(|h| h & 0x1f == wanted));
    let [sps, pps] = [7, 8].map(|wanted| of_type(wanted).cloned().collect::<Vec<_>>());
    let active = h264::Sps::parse(sps.first()?).ok()?;
    h264::video_params(&active, &sps, &pps).ok()
}

/// The same of an HEVCDecoderConfigurationRecord.
fn h265_params(config: &Bytes) -> Option<VideoParams> {
    let sets = h265::parameter_sets(config).ok()?;
    let of_type =
        |wanted: u8| sets.iter().filter(move |n| n.first().is_some_and(|h| (h >> 1) & 0x3f == wanted));
    let [vps, sps, pps] = [32, 33, 34].map(|wanted| of_type(wanted).cloned().collect::<Vec<_>>());
    let active = h265::Sps::parse(sps.first()?).ok()?;
    h265::video_params(&active, &vps, &sps, &pps).ok()
}

/// RFC 6381 3.3: profile, constraints and level of the AVCDecoderConfigurationRecord.
fn avc1_string(config: &[u8]) -> Option<String> {
    match config {
        [1, profile, constraints, level, ..] => {
            Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
        }
        _ => None,
    }
}

/// ISO/IEC 14496-15 annex E.3: general profile, tier and level of the HEVCDecoderConfigurationRecord.
fn hvc1_string(config: &[u8]) -> Option<String> {
    let mut record = Cursor::new(config, 0);
    if record.u8().ok()? != 1 {
        return None;
    }
    let profile = record.u8().ok()?;
    let compatibility = record.u32().ok()?.reverse_bits();
    let constraints = record.take(6).ok()?;
    let level = record.u8().ok()?;
    let space = ["", "A", "B", "C"][usize::from(profile >> 6)];
    let tier = if profile & 0x20 == 0 { 'L' } else { 'H' };
    let mut text = format!("hvc1.{space}{}.{compatibility:x}.{tier}{level}", profile & 0x1f);
    let used = constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        text.push_str(&format!(".{byte:x}"));
    }
    Some(text)
}

fn read_audio(mut body: Cursor<'_>, codec: AudioCodec, timescale: u32) -> Result<AudioParams, Error> {
    body.skip(16)?;
    let channels = body.u16()?;
    body.skip(10)?;
    let Ok(channels) = u8::try_from(channels) else {
        return Err(body.error("channel count"));
    };
    let (config, codec_string, frame_samples) = match codec {
        AudioCodec::Aac => {
            let [Some(esds)] = body.find([b"esds"])? else {
                return Err(body.error("no elementary stream descriptor"));
            };
            let config = read_esds(esds)?;
            let told = aac::AudioSpecificConfig::parse(config)
                .map_err(|_| Error::Unsupported("AudioSpecificConfig"))?;
            (config, format!("mp4a.40.{}", told.object_type), told.frame_samples)
        }
        AudioCodec::Opus => {
            let [Some(mut dops)] = body.find([b"dOps"])? else {
                return Err(body.error("no Opus description"));
            };
            (dops.take(dops.remaining())?, "opus".to_owned(), 960)
        }
    };
    Ok(AudioParams {
        codec,
        codec_string,
        sample_rate: timescale,
        channels,
        frame_samples,
        config: Bytes::copy_from_slice(config),
    })
}
