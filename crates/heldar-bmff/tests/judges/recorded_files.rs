//! Recorded files, judged by ffprobe, ffmpeg and GStreamer.



use crate::support::*;

/// A file that is written in one piece is read by others as what was coded.
fn check(name: &str, video: &str, audio: &str) {
    let clip = clip(video, audio, "160x120");
    let recorded = record(&clip, 0..clip.pictures.len(), Timing::FirstDecoded, None);
    for (state, bytes) in [("open", recorded.bytes.clone()), ("sealed", recorded.sealed())] {
        let path = write(&format!("{name}_{state}.mp4"), &bytes);
        let packets = packets_of(&path, &[], "v:0", "packet=pts,size,flags");
        let origin = clip.pictures[0].dts;
        let found: Vec<_> = packets.iter().map(|p| (p["pts"].clone(), p["size"].clone(), p["flags"].contains('K'))).collect();
        let sent: Vec<_> = clip
            .pictures
            .iter()
            .map(|p| ((p.pts - origin).to_string(), p.data.len().to_string(), p.sync))
            .collect();
        assert_eq!(found, sent, "{name} {state}");
        assert_eq!(picture_md5(&path), clip.picture_md5, "{name} {state}");
        println!("{name} {state} {} {}", probe(&path, "format=duration"), probe(&path, "stream=duration"));
    }
}

#[test]
fn h264() {
    check("h264", H264, AAC);
}

#[test]
fn h264_b() {
    check("h264_b", H264_B, "");
}

#[test]
fn h264_open() {
    check("h264_open", H264_OPEN, "");
}

#[test]
fn h265() {
    check("h265", H265, OPUS);
}
