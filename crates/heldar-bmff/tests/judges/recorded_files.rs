//! Recorded files, judged by ffprobe, ffmpeg, GStreamer and mediainfo.

use heldar_bmff::*;

use crate::support::*;

/// A file is read by others as what was coded, while it is open and once it is sealed.
fn check(name: &str, video: &str, audio: &str, timing: Timing) {
    let clip = clip(video, audio, "160x120");
    let pictures = 0..clip.pictures.len();
    let origin = clip.origin(&pictures, timing);
    let recorded = record(&clip, pictures, timing, None);
    for (state, bytes) in [("open", recorded.bytes.clone()), ("sealed", recorded.sealed())] {
        let path = write(&format!("{name}_{state}.mp4"), &bytes);
        let packets = packets_of(&path, &[], "v:0", "packet=pts,size,flags");
        let found: Vec<_> = packets
            .iter()
            .map(|p| (p["pts"].parse().unwrap(), p["size"].parse().unwrap(), p["flags"].contains('K')))
            .collect();
        let sent: Vec<_> = clip.pictures.iter().map(|p| (p.pts - origin, p.data.len(), p.sync)).collect();
        assert_eq!(found, sent, "{name} {state}");
        assert_eq!(picture_md5(&path), clip.picture_md5, "{name} {state}");

        let stream = &packets_of(&path, &[], "v:0", "stream=duration")[0];
        assert_eq!(stream["duration"], "6.000000", "{name} {state}");
        let frames = packets_of(&path, &[], "a:0", "packet=pts,size");
        let sent = recorded.table.track(AUDIO_TRACK_ID).map_or(0, |t| t.samples().len());
        assert_eq!(frames.len(), sent, "{name} {state}");
        // Sound is where it was against the pictures, from the first picture on; 48000 ticks of it are 90000 of theirs.
        let first = clip.pictures.iter().map(|p| p.pts).min().unwrap();
        let heard = clip.frames.iter().filter(|f| f.pts * 15 / 8 >= first);
        let sent: Vec<i64> = heard.map(|f| f.pts - origin * 8 / 15).collect();
        let found: Vec<i64> = frames.iter().map(|f| f["pts"].parse().unwrap()).collect();
        assert_eq!(found, sent[..found.len()], "{name} {state}");
        assert_eq!(scan(bytes.as_slice()).unwrap().table, recorded.table, "{name} {state}");
    }
    let path = write(&format!("{name}_gstreamer.mp4"), &recorded.sealed());
    let pictures: Vec<_> =
        gstreamer_pictures(&path, clip.video.codec).into_iter().map(|(_, md5)| md5).collect();
    assert_eq!(pictures, clip.picture_md5, "{name}");
}

#[test]
fn h264() {
    check("h264", H264, AAC, Timing::FirstDecoded);
}

#[test]
fn h264_b() {
    check("h264_b", H264_B, "", Timing::FirstDecoded);
}

/// As the recorder writes it: the first picture is presented at 0, and so is the sound of that instant.
#[test]
fn h264_b_in_step() {
    check("h264_b_in_step", H264_B, AAC, Timing::FirstShown);
}

#[test]
fn h264_open() {
    check("h264_open", H264_OPEN, "", Timing::FirstDecoded);
}

#[test]
fn h265() {
    check("h265", H265, OPUS, Timing::FirstDecoded);
}

/// A sealed file tells its length without being read to its end.
#[test]
fn length_in_the_header() {
    let clip = clip(H264, "", "160x120");
    let recorded = record(&clip, 0..clip.pictures.len(), Timing::FirstDecoded, None);
    let sealed = recorded.sealed();
    let cut = write("length.mp4", &sealed[..recorded.table.fragments()[1].end() as usize]);
    let location = format!("location={}", cut.to_str().unwrap());
    let report = ["filesrc", &location, "!", "qtdemux", "!", "progressreport", "!", "fakesink", "sync=true"];
    let told = run("gst-launch-1.0", &report);
    assert!(told.contains(" / 6 seconds"), "{told}");
    let whole = write("length_whole.mp4", &sealed);
    let told = run(
        "mediainfo",
        &["--Output=General;%Format%|%Duration%|%IsTruncated%|%VideoCount%", whole.to_str().unwrap()],
    );
    assert_eq!(told.trim(), "MPEG-4|6000||1");
}

/// Uneven pixels are shown wide.
#[test]
fn pixel_aspect() {
    let clip = clip(H264, "", "160x120");
    let mut video = clip.video.clone();
    video.pixel_aspect = Some((16, 11));
    let init = InitSegment::new(&video, None).unwrap();
    let recorded = record(&clip, 0..25, Timing::FirstDecoded, None);
    let mut bytes = init.bytes().to_vec();
    bytes.extend_from_slice(&recorded.bytes[recorded.init.bytes().len()..]);
    let path = write("aspect.mp4", &bytes);
    assert_eq!(probe(&path, "stream=sample_aspect_ratio"), "16:11");
}

/// A file torn anywhere is cut to its last whole fragment, sealed again, and played.
#[test]
fn recovery() {
    let clip = clip(H264_B, AAC, "160x120");
    let recorded = record(&clip, 0..clip.pictures.len(), Timing::FirstDecoded, None);
    let third = recorded.table.fragments()[3];
    for torn in
        [third.offset + 5, third.offset + u64::from(third.moof_len) + 30, third.end() - 1, third.end()]
    {
        let left = &recorded.bytes[..torn as usize];
        let found = scan(left).unwrap();
        let mut bytes = left[..found.end as usize].to_vec();
        let slot = found.init.duration_slot.unwrap() as usize;
        let index = FragmentIndex::of(&found.table).unwrap();
        bytes[slot..slot + 20].copy_from_slice(&duration_box(index.end_ticks()));
        bytes.extend(TableBuilder::from(&found.table).encode().unwrap());
        assert!(matches!(scan(bytes.as_slice()).unwrap().tail, Tail::Sealed(_)));

        let path = write(&format!("recovered_{torn}.mp4"), &bytes);
        let pictures = picture_md5(&path);
        let runs = recorded.table.track(VIDEO_TRACK_ID).unwrap().runs();
        let whole = runs[if torn == third.end() { 4 } else { 3 }].first_sample as usize;
        assert_eq!(pictures, clip.picture_md5[..whole]);
    }
}
