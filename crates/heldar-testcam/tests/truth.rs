//! What HTTP tells must be what readers see: picture numbers that survive coding, when they were sent, what they show.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod common;

use std::time::{SystemTime, UNIX_EPOCH};

use common::{http, one, options, run};
use heldar_testcam::scene::strip::{Luma, read};
use heldar_testcam::{CameraInfo, start};

fn now_us() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Picture numbers of a URL as ffmpeg decodes them, scaled to a size.
async fn numbers(url: &str, size: (usize, usize), pictures: &str) -> Vec<Option<u16>> {
    let scale = format!("scale={}:{}", size.0, size.1);
    let arguments = [
        "-v",
        "error",
        "-rtsp_transport",
        "tcp",
        "-i",
        url,
        "-frames:v",
        pictures,
        "-vf",
        &scale,
        "-pix_fmt",
        "gray",
        "-vsync",
        "passthrough",
        "-f",
        "rawvideo",
        "-",
    ];
    let output = run("ffmpeg", &arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (width, height) = size;
    let planes = output.stdout.chunks_exact(width * height);
    planes.map(|data| read(Luma { data, width, height, stride: width })).collect()
}

async fn check(camera: &CameraInfo, url: &str, size: (usize, usize)) -> Vec<u16> {
    let got = numbers(url, size, "40").await;
    assert_eq!(got.len(), 40);
    let got: Vec<u16> = got.into_iter().map(|number| number.expect("every picture has a number")).collect();
    for pair in got.windows(2) {
        assert_eq!(usize::from(pair[1]), (usize::from(pair[0]) + 1) % camera.clip_pictures, "{url}: {got:?}");
    }
    got
}

#[tokio::test]
async fn numbers_survive_coding_and_were_sent_when_http_says() {
    let running = start(options()).await.unwrap();
    let camera = running.cameras()[0].clone();
    let started = now_us();
    let main = check(&camera, &camera.url, (1280, 720)).await;
    let sub = check(&camera, camera.sub_url.as_ref().unwrap(), (640, 360)).await;
    check(&camera, camera.sub_url.as_ref().unwrap(), (320, 180)).await;
    let ended = now_us();
    for (path, numbers) in [("cam1", &main), ("cam1_sub", &sub)] {
        let mut previous: Option<i64> = None;
        for number in numbers {
            let (status, sent) = http(&running, "GET", &format!("/sent/{path}?n={number}&limit=10")).await;
            assert_eq!(status, 200);
            let times: Vec<i64> =
                sent.as_array().unwrap().iter().map(|s| s["sent_at_us"].as_i64().unwrap()).collect();
            let at =
                times.into_iter().find(|at| (started - 3_000_000..ended).contains(at)).expect("it was sent");
            if let Some(previous) = previous {
                // 40 ms apart, give or take what the machine is busy with.
                assert!((at - previous - 40_000).abs() < 500_000, "{path}: {previous} {at}");
            }
            previous = Some(at);
        }
    }
}

#[tokio::test]
async fn numbers_survive_every_coding() {
    for name in ["h265", "b_frames", "smart_codec", "variable_frame_rate", "huge_idr", "anamorphic"] {
        let running = one(name).await;
        let camera = &running.cameras()[0];
        let got = numbers(&camera.url, (usize::from(camera.width), usize::from(camera.height)), "20").await;
        assert_eq!(got.len(), 20, "{name}");
        assert!(got.iter().all(Option::is_some), "{name}: {got:?}");
        for number in got.into_iter().flatten() {
            let (_, sent) = http(&running, "GET", &format!("/sent/cam1?n={number}")).await;
            assert_eq!(sent.as_array().unwrap().len(), 1, "{name}: {number} was not sent");
        }
    }
}

#[tokio::test]
async fn truth_goes_with_the_numbers() {
    let running = start(options()).await.unwrap();
    let started = now_us();
    numbers(&running.cameras()[0].url, (1280, 720), "30").await;
    let (status, truth) = http(&running, "GET", &format!("/truth/cam1?from={started}&to={}", now_us())).await;
    assert_eq!(status, 200);
    let pictures = truth.as_array().unwrap();
    assert!(pictures.len() >= 30);
    for picture in pictures {
        let sent_at = picture["sent_at_us"].as_i64().unwrap();
        assert!(sent_at >= started);
        let objects = picture["objects"].as_array().unwrap();
        assert!(objects.len() > 3, "{picture}");
        assert!(
            objects.iter().any(|o| o["label"] == "person")
                && objects.iter().all(|o| o["box"][2].as_f64() > Some(0.0))
        );
    }
    let (status, cameras) = http(&running, "GET", "/cameras").await;
    assert_eq!((status, cameras[0]["camera"].as_str()), (200, Some("cam1")));
    let (status, profiles) = http(&running, "GET", "/profiles").await;
    assert!(status == 200 && profiles.as_array().unwrap().len() >= 30);
    for (method, target, expect) in [
        ("GET", "/sent/cam9", 404),
        ("GET", "/sent/cam1?n=x", 400),
        ("GET", "/truth/cam1?from=yesterday", 400),
        ("GET", "/nothing", 404),
        ("POST", "/fault/cam1", 400),
        ("POST", "/fault/cam1?name=nothing", 400),
        ("POST", "/fault/cam9?name=stall", 404),
        ("DELETE", "/cameras", 405),
    ] {
        assert_eq!(http(&running, method, target).await.0, expect, "{method} {target}");
    }
}
