//! Every profile of the zoo must be readable by ffmpeg and by retina.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{ACCOUNT, options, read, run, tcp, with_account};
use heldar_testcam::{CameraInfo, Options, profile, start};
use tokio::sync::Semaphore;

/// What is known to be beyond a reader: name of the profile and why.
const BEYOND_RETINA: [(&str, &str); 1] =
    [("empty_packets", "retina 0.4 ends the session at a packet without payload")];

async fn check(camera: CameraInfo) {
    let name = camera.profile.unwrap();
    let url = if camera.user.is_some() { with_account(&camera.url) } else { camera.url.clone() };
    // Some open GOPs decode with complaints about missing references until the first full one; what is judged here is that
    // the packets arrive and make sense, so nothing is decoded.
    let arguments = [
        "-v",
        "error",
        "-xerror",
        "-rtsp_transport",
        "tcp",
        "-i",
        &url,
        "-t",
        "3",
        "-map",
        "0:v",
        "-c",
        "copy",
        "-f",
        "null",
        "-",
    ];
    if name != "single_session" {
        let output = run("ffmpeg", &arguments).await;
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let account = camera.user.as_ref().map(|_| ACCOUNT);
    let pictures = (camera.frame_rate * 3.0) as usize;
    let ended =
        read(&camera.url, tcp(), account, Duration::from_secs(45), |seen| seen.pictures.len() > pictures)
            .await;
    match BEYOND_RETINA.iter().find(|(beyond, _)| *beyond == name) {
        Some((_, why)) => assert!(ended.error.is_some(), "{name} is read now; it was not because {why}"),
        None => assert_eq!(ended.error, None, "{name} after {} pictures", ended.seen.pictures.len()),
    }
    assert_eq!(ended.seen.lost, 0, "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ffmpeg_and_retina_read_every_profile() {
    let profiles = profile::all().iter().collect();
    let running =
        start(Options { cameras: profile::all().len() as u32, profiles, ..options() }).await.unwrap();
    let at_once = Arc::new(Semaphore::new(12));
    let checks: Vec<_> = running
        .cameras()
        .iter()
        .cloned()
        .map(|camera| {
            let at_once = Arc::clone(&at_once);
            let name = camera.profile.unwrap();
            let task = tokio::spawn(async move {
                let _permit = at_once.acquire().await.unwrap();
                check(camera).await;
            });
            (name, task)
        })
        .collect();
    let mut failed = Vec::new();
    for (name, task) in checks {
        if task.await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
