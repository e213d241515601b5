//! Sound: parameters and durations against those of ffmpeg's files, coded silence decoded by ffmpeg.

use std::io::Write;
use std::process::{Command, Stdio};

use heldar_media::{AudioParams, aac, opus};

/// Samples that ffmpeg decodes from the bytes of a file, as 16-bit numbers; fails on any complaint.
fn decode(format: &str, file: &[u8]) -> Vec<i16> {
    let mut child = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-xerror",
            "-err_detect",
            "explode",
            "-f",
            format,
            "-i",
            "-",
            "-f",
            "s16le",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg is installed");
    let mut stdin = child.stdin.take().unwrap();
    let file = file.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&file));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    output.stdout.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
}

/// A raw frame behind an ADTS header (ISO/IEC 14496-3 1.A.3.2).
fn adts(params: &AudioParams, frame: &[u8]) -> Vec<u8> {
    let config = u16::from_be_bytes([params.config[0], params.config[1]]);
    let (profile, rate, channels) = ((config >> 11) - 1, (config >> 7) & 15, (config >> 3) & 15);
    let len = frame.len() as u64 + 7;
    let header = (0xfff1u64 << 40)
        | (u64::from(profile) << 38)
        | (u64::from(rate) << 34)
        | (u64::from(channels) << 30)
        | (len << 13)
        | (0x7ff << 2);
    [&header.to_be_bytes()[1..], frame].concat()
}

/// Raw frames of an ADTS stream without checksums.
fn raw_frames(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while stream.len() > 7 {
        let len =
            (usize::from(stream[3] & 3) << 11) | (usize::from(stream[4]) << 3) | usize::from(stream[5] >> 5);
        frames.push(stream[7..len].to_vec());
        stream = &stream[len..];
    }
    frames
}

#[test]
fn aac_silence_decodes_to_zeros() {
    for object_type in [1u8, 2, 4] {
        for rate in [8_000, 16_000, 48_000] {
            for channels in [1u8, 2] {
                let mut config = aac::lc_config(rate, channels).unwrap().to_vec();
                config[0] = (config[0] & 0x07) | (object_type << 3);
                let params = aac::audio_params(config.into()).unwrap();
                let frame = aac::silence(&params).unwrap();
                let samples = decode("aac", &adts(&params, &frame).repeat(50));
                assert_eq!(samples.len(), 50 * 1024 * usize::from(channels), "{params:?}");
                assert!(samples.iter().all(|s| *s == 0), "{params:?}");
            }
        }
    }
}

#[test]
fn aac_silence_follows_sound() {
    for channels in [1u8, 2] {
        let text = format!(
            "sine=frequency=440:sample_rate=16000,aformat=channel_layouts={}",
            ["mono", "stereo"][usize::from(channels) - 1]
        );
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", &text, "-t", "1", "-c:a", "aac", "-f", "adts", "-"])
            .output()
            .unwrap();
        let params = aac::audio_params(aac::lc_config(16_000, channels).unwrap()).unwrap();
        let mut frames = raw_frames(&output.stdout);
        let sound = frames.len();
        assert!(sound > 10);
        frames.extend(std::iter::repeat_n(aac::silence(&params).unwrap().to_vec(), 20));
        let file: Vec<u8> = frames.iter().flat_map(|f| adts(&params, f)).collect();
        let samples = decode("aac", &file);
        let frame = 1024 * usize::from(channels);
        assert_eq!(samples.len(), (sound + 20) * frame);
        let (loud, quiet) = samples.split_at((sound + 1) * frame);
        assert!(loud.iter().any(|s| s.abs() > 1000));
        // Half of the first silent frame is the fading half of the last sound.
        assert!(quiet.iter().all(|s| *s == 0));
    }
}

/// An Ogg page with one packet (RFC 3533 6).
fn ogg_page(kind: u8, granule: u64, number: u32, packet: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(kind);
    page.extend(granule.to_le_bytes());
    page.extend(7u32.to_le_bytes());
    page.extend(number.to_le_bytes());
    page.extend([0; 4]);
    page.push((packet.len() / 255 + 1) as u8);
    page.extend(std::iter::repeat_n(255, packet.len() / 255));
    page.push((packet.len() % 255) as u8);
    page.extend(packet);
    let crc = page.iter().fold(0u32, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << 24), |c, _| {
            if c >> 31 == 1 { (c << 1) ^ 0x04c1_1db7 } else { c << 1 }
        })
    });
    page[22..26].copy_from_slice(&crc.to_le_bytes());
    page
}

#[test]
fn opus_silence_decodes_to_zeros() {
    for channels in [1u8, 2] {
        for frame in [120u32, 240, 480, 960, 1920, 2880, 3840, 5760] {
            let params = opus::audio_params(channels, frame, 0).unwrap();
            let packet = opus::silence(&params).unwrap();
            let head = [&b"OpusHead\x01"[..], &[channels, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0]].concat();
            let mut file = ogg_page(2, 0, 0, &head);
            file.extend(ogg_page(0, 0, 1, b"OpusTags\0\0\0\0\0\0\0\0"));
            for n in 1..=20u32 {
                let kind = if n == 20 { 4 } else { 0 };
                file.extend(ogg_page(kind, u64::from(n * frame), n + 1, &packet));
            }
            let samples = decode("ogg", &file);
            assert_eq!(samples.len(), 20 * frame as usize * usize::from(channels), "{params:?}");
            assert!(samples.iter().all(|s| *s == 0), "{params:?}");
        }
    }
}

/// libopus for one second.
fn opus_clip(frame_ms: &str, channels: u8) -> crate::clip::Clip {
    crate::clip::encode_from(
        "sine=frequency=440:sample_rate=48000",
        &format!("-t 1 -ac {channels} -c:a libopus -b:a 24k -frame_duration {frame_ms}"),
    )
}

#[test]
fn opus_packets_and_parameters_are_those_of_ffmpeg() {
    for (frame_ms, samples) in [("2.5", 120u32), ("10", 480), ("20", 960), ("60", 2880), ("120", 5760)] {
        for channels in [1, 2] {
            let clip = opus_clip(frame_ms, channels);
            let params = opus::audio_params(channels, samples, 312).unwrap();
            // What the encoder looks ahead differs with its frames; all else is as ffmpeg writes it.
            let mut d_ops = clip.box_body(b"dOps").to_vec();
            d_ops[2..4].copy_from_slice(&312u16.to_be_bytes());
            assert_eq!(params.config[..], d_ops);
            for packet in &clip.packets[..clip.packets.len() - 1] {
                let got = opus::packet_samples(&packet.data).unwrap();
                assert_eq!((got, i64::from(got)), (samples, packet.duration));
            }
        }
    }
}

#[test]
fn aac_configurations_are_those_of_ffmpeg() {
    for (rate, channels) in [(8_000u32, 1u8), (16_000, 2), (44_100, 2), (48_000, 6)] {
        let source = format!("sine=frequency=440:sample_rate={rate}");
        let clip = crate::clip::encode_from(&source, &format!("-t 1 -ac {channels} -ar {rate} -c:a aac"));
        // DecoderSpecificInfo (ISO/IEC 14496-1 7.2.6.7): tag 5, a length of four bytes here, the configuration.
        let esds = clip.box_body(b"esds");
        let at = esds.windows(4).position(|w| w == [5, 0x80, 0x80, 0x80]).unwrap();
        let len = usize::from(esds[at + 4]);
        let params = aac::audio_params(esds.slice(at + 5..at + 5 + len)).unwrap();
        assert_eq!(params.config[..2], aac::lc_config(rate, channels).unwrap());
        assert_eq!((params.sample_rate, params.channels), (rate, channels));
        assert_eq!(params.codec_string, "mp4a.40.2");
        assert_eq!(i64::from(params.frame_samples), clip.packets[1].duration);
    }
}
