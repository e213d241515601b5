//! Readers that we did not write must read the cameras: ffprobe, ffmpeg, GStreamer and retina, over TCP and UDP, with and
//! without password, each coding.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod common;

use std::process::Output;
use std::time::Duration;

use common::{ACCOUNT, media_dir, one, options, read, run, tcp, udp, with_account};
use heldar_testcam::{Account, Options, Running, profile, start};

fn account() -> Account {
    Account { user: ACCOUNT.0.to_owned(), password: ACCOUNT.1.to_owned().into() }
}

/// Cameras: ordinary with AAC, H.265, G.711, H.264 with B-frames, all behind a password.
async fn guarded() -> Running {
    let profiles = ["aac_audio", "h265", "pcma_audio", "b_frames"].map(|name| profile::find(name).unwrap());
    start(Options { cameras: 4, profiles: profiles.to_vec(), account: Some(account()), ..options() })
        .await
        .unwrap()
}

fn passed(output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}");
}

/// It has seen all that it was to see, and nothing went wrong until then. Its sources sometimes interrupt their own PAUSE
/// when they are taken down, and call that an error.
fn decoded(output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Got EOS from element"), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn ffprobe_sees_both_tracks() {
    let running = guarded().await;
    for (camera, expect) in
        running.cameras().iter().zip([&["h264", "aac"][..], &["hevc"], &["h264", "pcm_alaw"], &["h264"]])
    {
        let url = with_account(&camera.url);
        let entries = [
            "-v",
            "error",
            "-rtsp_transport",
            "tcp",
            "-show_entries",
            "stream=codec_name",
            "-of",
            "csv=p=0",
            &url,
        ];
        let output = run("ffprobe", &entries).await;
        passed(&output, &camera.url);
        let names: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().split_whitespace().collect();
        assert_eq!(names, expect, "{}", camera.url);
    }
}

#[tokio::test]
async fn ffmpeg_reads_and_decodes() {
    let running = guarded().await;
    let reads =
        running.cameras().iter().flat_map(|camera| ["tcp", "udp"].map(|transport| (camera, transport)));
    let reads = reads.map(|(camera, transport)| async move {
        let url = with_account(&camera.url);
        let arguments = [
            "-v",
            "error",
            "-xerror",
            "-rtsp_transport",
            transport,
            "-i",
            &url,
            "-t",
            "4",
            "-f",
            "null",
            "-",
        ];
        passed(&run("ffmpeg", &arguments).await, &format!("{} over {transport}", camera.url));
    });
    futures_util::future::join_all(reads).await;
}

#[tokio::test]
async fn gstreamer_reads_and_decodes() {
    let running = guarded().await;
    let decoders = [
        "rtph264depay ! h264parse ! avdec_h264",
        "rtph265depay ! h265parse ! avdec_h265",
        "rtph264depay ! h264parse ! avdec_h264",
        "rtph264depay ! h264parse ! avdec_h264",
    ];
    // One transport after the other: eight decoders at once starve each other on a small machine.
    for transport in ["tcp", "udp"] {
        let reads = running.cameras().iter().zip(decoders).map(|(camera, decoder)| async move {
            let location = format!("location={}", with_account(&camera.url));
            let protocols = format!("protocols={transport}");
            let mut arguments = vec!["rtspsrc", &location, &protocols, "name=source", "source.", "!"];
            arguments.extend(["application/x-rtp,media=video", "!"]);
            arguments.extend(decoder.split(' '));
            arguments.extend(["!", "fakesink", "num-buffers=60"]);
            let output = run("gst-launch-1.0", &arguments).await;
            decoded(&output, &format!("{} over {transport}", camera.url));
        });
        futures_util::future::join_all(reads).await;
    }
}

#[tokio::test]
async fn gstreamer_reads_sound() {
    for (profile, decoder) in [
        ("aac_audio", "rtpmp4gdepay ! aacparse ! avdec_aac"),
        ("pcma_audio", "rtppcmadepay ! alawdec"),
        ("pcmu_audio", "rtppcmudepay ! mulawdec"),
        ("opus_audio", "rtpopusdepay ! opusparse ! opusdec"),
    ] {
        let running = one(profile).await;
        let location = format!("location={}", running.cameras()[0].url);
        let mut arguments = vec!["rtspsrc", &location, "protocols=tcp", "name=source", "source.", "!"];
        arguments.extend(["application/x-rtp,media=audio", "!"]);
        arguments.extend(decoder.split(' '));
        arguments.extend(["!", "fakesink", "num-buffers=40"]);
        decoded(&run("gst-launch-1.0", &arguments).await, decoder);
    }
}

#[tokio::test]
async fn retina_reads_and_loses_nothing() {
    let running = guarded().await;
    for camera in running.cameras() {
        for transport in [tcp(), udp()] {
            let ended = read(&camera.url, transport, Some(ACCOUNT), Duration::from_secs(20), |s| {
                s.pictures.len() > 60
            })
            .await;
            assert_eq!((ended.error, ended.seen.lost), (None, 0), "{}", camera.url);
            assert!(ended.seen.pictures[0].2, "the first picture of {} is no sync sample", camera.url);
            assert!(ended.seen.reports > 0, "no sender report came from {}", camera.url);
        }
    }
}

#[tokio::test]
async fn wrong_passwords_are_turned_away() {
    let running = guarded().await;
    let url = &running.cameras()[0].url;
    for account in [None, Some(("admin", "wrong")), Some(("nobody", ACCOUNT.1))] {
        let ended =
            read(url, tcp(), account, Duration::from_secs(10), |seen| !seen.pictures.is_empty()).await;
        assert!(ended.error.is_some() && ended.seen.pictures.is_empty(), "{account:?} {ended:?}");
    }
}

/// The file's own times, over more than two loops: nothing is missing, nothing comes twice, the seam does not show.
#[tokio::test]
async fn a_file_loops_without_a_seam() {
    let file = media_dir().join("short.mp4");
    std::fs::create_dir_all(media_dir()).unwrap();
    if !file.exists() {
        let input = "testsrc2=size=320x240:rate=25:duration=2";
        let partial = file.with_extension(format!("{}.mp4", std::process::id()));
        let target = partial.to_str().unwrap();
        let arguments = [
            "-v", "error", "-y", "-f", "lavfi", "-i", input, "-c:v", "libx264", "-g", "25", "-bf", "2",
            target,
        ];
        passed(&run("ffmpeg", &arguments).await, "encoding");
        std::fs::rename(partial, &file).unwrap();
    }
    let running = start(Options { video: Some(file), cameras: 3, ..options() }).await.unwrap();
    for camera in running.cameras() {
        let ended =
            read(&camera.url, tcp(), None, Duration::from_secs(30), |seen| seen.pictures.len() > 130).await;
        assert_eq!((ended.error, ended.seen.lost), (None, 0));
        let mut times: Vec<i64> = ended.seen.pictures.iter().map(|(time, ..)| *time).collect();
        times.sort_unstable();
        // B-frames of the last pictures may still be to come.
        let steps: Vec<i64> = times.windows(2).take(125).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|&step| step == 3600), "{steps:?}");
        let sync: Vec<usize> = (0..130).filter(|&index| ended.seen.pictures[index].2).collect();
        assert_eq!(sync, [0, 25, 50, 75, 100, 125]);
    }
}
