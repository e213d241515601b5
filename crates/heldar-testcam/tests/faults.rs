//! Each fault must be seen by a reader, and be over when it is cleared.
#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

mod common;

use std::time::Duration;

use common::{Ended, Seen, http, one, read, tcp};
use heldar_testcam::Running;

async fn fault(running: &Running, query: &str) {
    let (status, answer) = http(running, "POST", &format!("/fault/all?{query}")).await;
    assert_eq!(status, 200, "{answer}");
}

async fn pictures(running: &Running, patience_s: u64, enough: impl Fn(&Seen) -> bool) -> Ended {
    read(&running.cameras()[0].url, tcp(), None, Duration::from_secs(patience_s), enough).await
}

/// A reader that sets off `query` once it has seen a few pictures.
async fn while_reading(
    running: &Running,
    query: &str,
    patience_s: u64,
    enough: impl Fn(&Seen) -> bool,
) -> Ended {
    let (mid, told) = tokio::sync::oneshot::channel();
    let mid = std::cell::Cell::new(Some(mid));
    let reading = pictures(running, patience_s, |seen| {
        if seen.pictures.len() == 10 {
            mid.take().map(|mid| mid.send(()));
        }
        enough(seen)
    });
    let setting_off = async {
        told.await.unwrap();
        fault(running, query).await;
    };
    tokio::join!(reading, setting_off).0
}

async fn is_healthy(running: &Running) {
    let ended = pictures(running, 20, |seen| seen.pictures.len() > 20).await;
    assert_eq!(ended.error, None);
}

fn largest_step(seen: &Seen) -> i64 {
    seen.pictures.windows(2).map(|pair| (pair[1].0 - pair[0].0).abs()).max().unwrap_or(0)
}

#[tokio::test]
async fn drop_closes_and_lets_in_again() {
    let running = one("plain").await;
    let ended = while_reading(&running, "name=drop", 20, |seen| seen.pictures.len() > 400).await;
    assert!(ended.seen.pictures.len() < 100, "{}", ended.seen.pictures.len());
    assert_ne!(ended.error.as_deref(), Some("patience is over"));
    is_healthy(&running).await;
}

#[tokio::test]
async fn stall_sends_nothing_and_keeps_the_connection() {
    let running = one("plain").await;
    let ended = while_reading(&running, "name=stall", 6, |seen| seen.pictures.len() > 400).await;
    assert_eq!(ended.error.as_deref(), Some("patience is over"));
    assert!(ended.seen.pictures.len() < 60, "{}", ended.seen.pictures.len());
    fault(&running, "name=none").await;
    is_healthy(&running).await;
}

#[tokio::test]
async fn stall_ends_by_itself_and_time_went_on() {
    let running = one("plain").await;
    let ended = while_reading(&running, "name=stall&for=2", 20, |seen| seen.pictures.len() > 40).await;
    assert_eq!(ended.error, None);
    assert!((150_000..400_000).contains(&largest_step(&ended.seen)), "{}", largest_step(&ended.seen));
}

#[tokio::test]
async fn refuse_turns_away() {
    let running = one("plain").await;
    fault(&running, "name=refuse").await;
    let ended = pictures(&running, 10, |seen| !seen.pictures.is_empty()).await;
    assert!(ended.error.is_some() && ended.seen.pictures.is_empty(), "{ended:?}");
    fault(&running, "name=none").await;
    is_healthy(&running).await;
}

#[tokio::test]
async fn bad_auth_answers_401() {
    let running = one("plain").await;
    fault(&running, "name=bad_auth").await;
    for account in [None, Some(common::ACCOUNT)] {
        let ended = read(&running.cameras()[0].url, tcp(), account, Duration::from_secs(10), |_| false).await;
        assert!(ended.error.as_ref().is_some_and(|error| error.contains("401")), "{ended:?}");
    }
    fault(&running, "name=none").await;
    is_healthy(&running).await;
}

#[tokio::test]
async fn times_jump() {
    for (value, step) in [(7000, 630_000i64), (-3000, 270_000)] {
        let running = one("plain").await;
        let query = format!("name=ts_jump&value={value}");
        let ended = while_reading(&running, &query, 20, |seen| seen.pictures.len() > 40).await;
        assert_eq!(ended.error, None);
        assert!((largest_step(&ended.seen) - step).abs() <= 3600, "{} {value}", largest_step(&ended.seen));
    }
}

#[tokio::test]
async fn times_drift() {
    let running = one("plain").await;
    // A hundred times what a bad oscillator does, so that seconds show it.
    fault(&running, "name=ts_drift&value=20000").await;
    let ended = pictures(&running, 20, |seen| seen.pictures.len() > 100).await;
    let seen = ended.seen.pictures;
    let measured = (seen[100].0 - seen[0].0) as f64 / (100.0 * 3600.0);
    assert!((measured - 1.02).abs() < 0.004, "{measured}");
}

#[tokio::test]
async fn parameters_change_and_time_goes_on() {
    let running = one("plain").await;
    let ended = while_reading(&running, "name=param_change&every=4", 40, |seen| {
        seen.parameter_changes > 1 && seen.pictures.len() > 150
    })
    .await;
    assert_eq!(ended.error, None, "{:?}", ended.seen.parameter_changes);
    assert_eq!(largest_step(&ended.seen), 3600);
}

#[tokio::test]
async fn descriptions_without_parameter_sets() {
    let running = one("plain").await;
    fault(&running, "name=no_params").await;
    let url = url::Url::parse(&running.cameras()[0].url).unwrap();
    let described =
        |url: url::Url| retina::client::Session::describe(url, retina::client::SessionOptions::default());
    let session = described(url.clone()).await.unwrap();
    assert!(session.streams()[0].parameters().is_none());
    is_healthy(&running).await;
    fault(&running, "name=none").await;
    // Undone with the next picture.
    is_healthy(&running).await;
    assert!(described(url).await.unwrap().streams()[0].parameters().is_some());
}

#[tokio::test]
async fn corrupt_pictures_do_not_decode() {
    let running = one("plain").await;
    let url = &running.cameras()[0].url;
    let arguments = [
        "-v",
        "error",
        "-xerror",
        "-err_detect",
        "explode",
        "-rtsp_transport",
        "tcp",
        "-i",
        url,
        "-t",
        "3",
        "-f",
        "null",
        "-",
    ];
    assert!(common::run("ffmpeg", &arguments).await.status.success());
    fault(&running, "name=corrupt&value=500").await;
    assert!(!common::run("ffmpeg", &arguments).await.status.success());
    let ended = pictures(&running, 10, |seen| seen.pictures.len() > 50).await;
    assert_eq!(ended.error, None);
}

#[tokio::test]
async fn slow_start_delays_the_first_picture() {
    let running = one("all_intra").await;
    for (query, at_least, at_most) in [("name=slow_start&value=2500", 2400, 20_000), ("name=none", 0, 2000)] {
        fault(&running, query).await;
        // Manners change with the next picture.
        is_healthy(&running).await;
        let before = std::time::Instant::now();
        pictures(&running, 20, |seen| !seen.pictures.is_empty()).await;
        let took = before.elapsed().as_millis();
        assert!((at_least..at_most).contains(&took), "{query}: {took} ms");
    }
}

#[tokio::test]
async fn bursts_come_together() {
    let running = one("plain").await;
    fault(&running, "name=burst&value=1000").await;
    let arrived = std::cell::RefCell::new(Vec::new());
    let ended = pictures(&running, 30, |seen| {
        if seen.pictures.len() > arrived.borrow().len() {
            arrived.borrow_mut().push(std::time::Instant::now());
        }
        seen.pictures.len() > 150
    })
    .await;
    assert_eq!((ended.error, ended.seen.lost), (None, 0));
    let arrived = arrived.into_inner();
    let pauses = arrived.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(300)).count();
    assert!((2..=12).contains(&pauses), "{pauses}");
    assert_eq!(largest_step(&ended.seen), 3600);
}
