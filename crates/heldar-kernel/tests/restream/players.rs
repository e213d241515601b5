//! ffmpeg and GStreamer at the same time, and what others learn of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{H264, H265, Scene, decoded, file, follow_each_other, frames};

const SECONDS: &str = "6";
/// Of each kind of player at least, of the 150 pictures in that time.
const ENOUGH: usize = 130;

/// A pipeline that decodes so many pictures and so many frames of sound into files.
/// Plays until enough came. The filters are elements of their own: a link with a filter is tried by several threads at
/// once when two tracks appear together, and then none may succeed.
fn gstreamer(
    url: &str,
    transport: &str,
    depay: [&str; 3],
    sound: &str,
    pictures: &std::path::Path,
) -> Command {
    let [depay, parse, decode] = depay;
    let text = format!(
        "rtspsrc location={url} protocols={transport} latency=200 name=s \
         s. ! capsfilter caps=application/x-rtp,media=video ! {depay} ! {parse} ! {decode} ! video/x-raw,format=I420 ! identity \
         eos-after={count} ! filesink location={video} \
         s. ! capsfilter caps=application/x-rtp,media=audio ! {sound} ! audioconvert ! identity eos-after=260 ! filesink location={audio}",
        count = ENOUGH + 5,
        video = pictures.display(),
        audio = pictures.with_extension("sound").display(),
    );
    let mut command = Command::new("timeout");
    command.args(["60", "gst-launch-1.0", "-q"]).args(text.split_whitespace());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// What GStreamer wrote of pictures, hashed, and how many bytes of sound; checks that it came to its end. Its own stop
/// may cancel the request with which it pauses, which it calls an error.
fn played(out: &std::process::Output, pictures: &std::path::Path) -> (Vec<String>, u64) {
    let said = String::from_utf8_lossy(&out.stderr);
    let cancelled = said.contains("gst_rtspsrc_pause");
    assert!(out.status.success() || (out.status.code() == Some(1) && cancelled), "{}: {said}", out.status);
    let mut hashing = Command::new("ffmpeg");
    hashing.args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "640x360", "-i"]);
    let hashes = frames(&decoded(hashing.arg(pictures))).into_iter().map(|(_, hash)| hash).collect();
    (hashes, std::fs::metadata(pictures.with_extension("sound")).unwrap().len())
}

fn ffmpeg(url: &str, transport: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([
        "60",
        "ffmpeg",
        "-v",
        "error",
        "-nostdin",
        "-xerror",
        "-rtsp_transport",
        transport,
        "-i",
        url,
        "-t",
        SECONDS,
    ]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn all_kinds_of_players_share_the_one_session_of_a_camera() {
    // The camera takes no second client, whoever that is.
    let scene = Scene::start(H264, &["-c:a", "aac"], "single_session", &[]).await;
    let numbers = scene.numbers();
    let entry = scene.world.get("/api/v1/cameras/gate/liveview").await.ok();
    let url = entry["rtsp_url"].as_str().unwrap().replace("localhost", "127.0.0.1");
    assert!(url.starts_with(&format!("rtsp://127.0.0.1:{}/cam_gate?token=v2.", scene.port)), "{url}");

    let transports = ["tcp", "udp"];
    let by_ffmpeg = transports.map(|transport| {
        let url = url.clone();
        tokio::task::spawn_blocking(move || decoded(&mut ffmpeg(&url, transport)))
    });
    let by_gstreamer = transports.map(|transport| {
        let pictures = file(scene.folder.path(), &format!("{transport}.yuv"));
        let depay = ["rtph264depay", "h264parse", "avdec_h264"];
        let sound = "rtpmp4gdepay ! aacparse ! avdec_aac";
        let mut command = gstreamer(&url, transport, depay, sound, &pictures);
        tokio::task::spawn_blocking(move || (command.output().unwrap(), pictures))
    });
    let all_play = |list: &[serde_json::Value]| {
        list.len() == 4 && list.iter().all(|s| s["bytes_sent"].as_u64() > Some(10_000))
    };
    let list = scene.sessions_that(all_play).await;
    for session in &list {
        assert_eq!(
            (
                &session["transport"],
                &session["camera_id"],
                &session["stream"],
                &session["audio"],
                &session["principal"]
            ),
            (&json!("rtsp"), &json!("gate"), &json!("main"), &json!("aac"), &json!("system")),
        );
        assert_eq!((&session["remote_addr"], &session["dropped"]), (&json!("127.0.0.1"), &json!(0)));
    }
    // One task hands on what all of them play.
    assert_eq!(scene.followers(), 1);

    for (transport, player) in transports.into_iter().zip(by_ffmpeg) {
        let list = player.await.unwrap();
        let pictures = frames(&list);
        assert!(pictures.len() > ENOUGH, "ffmpeg over {transport}: {}", pictures.len());
        assert!(pictures.windows(2).all(|pair| pair[1].0 > pair[0].0), "times rise");
        let hashes: Vec<String> = pictures.into_iter().map(|(_, hash)| hash).collect();
        follow_each_other(&format!("ffmpeg over {transport}"), &hashes, &numbers);
        let sounds = list.lines().filter(|line| line.starts_with("1,")).count();
        assert!(sounds > 250, "ffmpeg over {transport}: {sounds} frames of sound");
    }
    for (transport, player) in transports.into_iter().zip(by_gstreamer) {
        let (out, pictures) = player.await.unwrap();
        let (hashes, sound) = played(&out, &pictures);
        assert!(hashes.len() >= ENOUGH, "GStreamer over {transport}: {}", hashes.len());
        follow_each_other(&format!("GStreamer over {transport}"), &hashes, &numbers);
        assert!(sound > 500_000, "GStreamer over {transport}: {sound} bytes of sound");
    }

    scene.sessions(0).await;
    let health = scene.world.get("/api/v1/cameras/gate/health").await.ok();
    assert_eq!(health["reconnect_count"], 0, "{health}");
    let audit = scene.world.get("/api/v1/audit?limit=100").await.ok();
    let row = audit.as_array().unwrap().iter().find(|row| row["action"] == "open_live").cloned();
    let row = row.unwrap_or_else(|| panic!("{audit}"));
    assert_eq!((&row["target_id"], &row["ip"]), (&json!("gate"), &json!("127.0.0.1")), "{row}");
    // Nothing is handed on to nobody.
    let deadline = Instant::now() + Duration::from_secs(20);
    while scene.followers() > 0 {
        assert!(Instant::now() < deadline, "somebody still follows");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hevc_and_telephone_sound_which_goes_out_as_it_came() {
    let scene = Scene::start(H265, &["-an"], "pcma_audio", &[]).await;
    let numbers = scene.numbers();
    let url = scene.url("cam_gate.main");
    let pictures = file(scene.folder.path(), "hevc.yuv");
    let depay = ["rtph265depay", "h265parse", "avdec_h265"];
    let mut by_gstreamer = gstreamer(&url, "udp", depay, "rtppcmadepay ! alawdec", &pictures);
    let by_gstreamer = tokio::task::spawn_blocking(move || by_gstreamer.output().unwrap());
    let list = tokio::task::spawn_blocking(move || decoded(&mut ffmpeg(&url, "tcp"))).await.unwrap();
    let hashes: Vec<String> = frames(&list).into_iter().map(|(_, hash)| hash).collect();
    assert!(hashes.len() > ENOUGH, "{}", hashes.len());
    follow_each_other("ffmpeg", &hashes, &numbers);
    assert!(
        list.contains("#codec_id 1: pcm_s16le") && list.contains("#sample_rate 1: 8000"),
        "{}",
        &list[..600]
    );
    assert!(list.lines().filter(|line| line.starts_with("1,")).count() > 250);
    let (hashes, sound) = played(&by_gstreamer.await.unwrap(), &pictures);
    assert!(hashes.len() >= ENOUGH, "GStreamer: {}", hashes.len());
    follow_each_other("GStreamer", &hashes, &numbers);
    // 260 buffers of at least 10 ms at 8000 samples of two bytes.
    assert!(sound >= 260 * 160, "GStreamer: {sound} bytes of sound");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_picture_size_comes_with_the_next_sync_sample() {
    let scene = Scene::start(H264, &["-an"], "plain", &["param_change:after=6"]).await;
    let url = scene.url("cam_gate");
    let sizes = tokio::task::spawn_blocking(move || {
        let mut command = Command::new("timeout");
        command.args(["60", "ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-read_intervals", "%+10"]);
        command.args(["-show_entries", "frame=width,height", "-of", "csv=p=0", "-i", &url]);
        let out = command.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    });
    let sizes = sizes.await.unwrap();
    // Pictures with messages beside them have empty fields for those.
    let mut lines: Vec<&str> =
        sizes.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 200, "{}", lines.len());
    lines.dedup();
    assert_eq!((lines.len(), lines[0]), (2, "640,360"), "{lines:?}");
}
