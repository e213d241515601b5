//! What the tests against judges share: a folder of clips, cameras, and readers that we did not write.
#![allow(unreachable_pub, dead_code, reason = "part of several tests, none of which uses all of it")]

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use heldar_testcam::{Options, Running, profile, start};
use retina::client::{
    Credentials, InitialSequenceNumberPolicy, InitialTimestampPolicy, PlayOptions, Session, SessionOptions,
    SetupOptions, TcpTransportOptions, Transport, UdpTransportOptions,
};
use retina::codec::CodecItem;
use tokio::process::Command;

/// User and password of the cameras that have any.
pub const ACCOUNT: (&str, &str) = ("admin", "testcam");

/// Clips are encoded once per target folder.
pub fn media_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("testcam-media")
}

pub fn options() -> Options {
    Options { media_dir: media_dir(), http_port: Some(0), ..Options::default() }
}

/// One camera of a profile.
pub async fn one(name: &str) -> Running {
    let profile = profile::find(name).unwrap_or_else(|| panic!("no profile {name}"));
    start(Options { profiles: vec![profile], ..options() }).await.unwrap()
}

/// Runs a reader to its end; the test fails when it takes longer than a minute.
pub async fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
    output.unwrap_or_else(|_| panic!("{program} {arguments:?} does not end")).unwrap()
}

/// The URL with user and password.
pub fn with_account(url: &str) -> String {
    url.replacen("rtsp://", &format!("rtsp://{}:{}@", ACCOUNT.0, ACCOUNT.1), 1)
}

/// What retina read.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// RTP time of each picture since PLAY's, its size, and whether retina takes it for a sync sample.
    pub pictures: Vec<(i64, usize, bool)>,
    pub audio_frames: usize,
    pub messages: usize,
    pub reports: usize,
    pub parameter_changes: usize,
    /// Packets lost, as retina counts.
    pub lost: u64,
}

/// How a retina session ended.
#[derive(Debug)]
pub struct Ended {
    pub seen: Seen,
    pub error: Option<String>,
}

pub fn tcp() -> Transport {
    Transport::Tcp(TcpTransportOptions::default())
}

pub fn udp() -> Transport {
    Transport::Udp(UdpTransportOptions::default())
}

/// Sets up all tracks that retina knows and reads until `enough` says so, the stream ends, or `patience` is over.
pub async fn read(
    url: &str,
    transport: Transport,
    account: Option<(&str, &str)>,
    patience: Duration,
    enough: impl Fn(&Seen) -> bool,
) -> Ended {
    let mut seen = Seen::default();
    let reading = read_into(&mut seen, url, transport, account, enough);
    let error = match tokio::time::timeout(patience, reading).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("patience is over".to_owned()),
    };
    Ended { seen, error }
}

async fn read_into(
    seen: &mut Seen,
    url: &str,
    transport: Transport,
    account: Option<(&str, &str)>,
    enough: impl Fn(&Seen) -> bool,
) -> Result<(), retina::Error> {
    let credentials = account
        .map(|(user, password)| Credentials { username: user.to_owned(), password: password.to_owned() });
    let options = SessionOptions::default().creds(credentials);
    let mut session = Session::describe(url::Url::parse(url).unwrap(), options).await?;
    for index in 0..session.streams().len() {
        if matches!(session.streams()[index].encoding_name(), "g726-32" | "opus") {
            continue;
        }
        session.setup(index, SetupOptions::default().transport(transport.clone())).await?;
    }
    let play = PlayOptions::default()
        .initial_timestamp(InitialTimestampPolicy::Permissive)
        .initial_seq(InitialSequenceNumberPolicy::Ignore);
    let mut demuxed = Box::pin(session.play(play).await?.demuxed()?);
    while let Some(item) = demuxed.next().await {
        match item? {
            CodecItem::VideoFrame(frame) => {
                seen.lost += u64::from(frame.loss());
                seen.parameter_changes += usize::from(frame.has_new_parameters());
                let picture =
                    (frame.timestamp().elapsed(), frame.data().len(), frame.is_random_access_point());
                seen.pictures.push(picture);
            }
            CodecItem::AudioFrame(frame) => {
                seen.lost += u64::from(frame.loss());
                seen.audio_frames += 1;
            }
            CodecItem::MessageFrame(_) => seen.messages += 1,
            CodecItem::Rtcp(_) => seen.reports += 1,
            _ => {}
        }
        if enough(seen) {
            return Ok(());
        }
    }
    Ok(())
}

/// One HTTP request to the cameras; the JSON of the answer.
pub async fn http(running: &Running, method: &str, target: &str) -> (u16, serde_json::Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(running.http_address().unwrap()).await.unwrap();
    socket.write_all(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}
