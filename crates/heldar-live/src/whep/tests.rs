//! A viewer in the test's own process plays over loopback.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use heldar_base::{CameraId, MonoTime, PublicId, StreamId, StreamKind, WallTime};
use heldar_media::{AccessUnit, SyncKind, TrackKind, TrackParams, VideoCodec, VideoParams, nal};
use proptest::prelude::*;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{DatagramRecv, Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;

use super::offer::tests::BROWSER;
use super::*;
use crate::viewers::{Cut, Newcomer, Transport, Viewers, Watch};

mod sound;

const PATIENCE: Duration = Duration::from_secs(5);
const SPS: [u8; 4] = [0x67, 0x42, 0xc0, 0x1f];
const PPS: [u8; 2] = [0x68, 0xce];

#[derive(Debug, Default)]
struct Notes {
    shown: AtomicUsize,
    closed: AtomicUsize,
}

impl Watch for Notes {
    fn first_picture(&self, _transport: Transport, _seconds: f64) {
        self.shown.fetch_add(1, Ordering::SeqCst);
    }

    fn skipped(&self, _transport: Transport) {}

    fn closed(&self, _transport: Transport, _why: Option<Cut>) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// Everything but the viewer.
struct Stage {
    notes: Arc<Notes>,
    viewers: Viewers,
    web: WebRtc,
    main: Bus,
    params: Arc<TrackParams>,
}

fn video(codec: VideoCodec, width: u32, reorder_depth: u8) -> Arc<TrackParams> {
    let config: &[u8] = match codec {
        VideoCodec::H264 => {
            &[1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x1f, 1, 0, 2, 0x68, 0xce]
        }
        VideoCodec::H265 => &[1, 1],
    };
    Arc::new(TrackParams::Video(VideoParams {
        codec,
        codec_string: String::new(),
        width,
        height: width / 2,
        pixel_aspect: None,
        nominal_interval: None,
        reorder_depth,
        config: Bytes::copy_from_slice(config),
    }))
}

/// A NAL unit that tells which it is: its bytes rise from `mark`.
fn unit(header: u8, mark: u8, len: usize) -> Vec<u8> {
    let mut unit = vec![header];
    // No byte is zero, so that nothing looks like a start code.
    unit.extend((1..len).map(|at| (at as u8).wrapping_add(mark) | 1));
    unit
}

fn picture(params: &Arc<TrackParams>, ms: i64, units: &[Vec<u8>]) -> Arc<AccessUnit> {
    let mut payload = BytesMut::new();
    units.iter().for_each(|unit| nal::push(&mut payload, unit));
    let is_sync = units.iter().any(|unit| unit[0] & 0x1f == 5);
    Arc::new(AccessUnit {
        track: TrackKind::Video,
        captured_at: WallTime(1_700_000_000_000_000 + ms * 1000),
        received_at: MonoTime(0),
        rtp_time: 0,
        sync: if is_sync { SyncKind::Closed } else { SyncKind::None },
        params: params.clone(),
        payload: payload.freeze(),
        original: None,
    })
}

impl Stage {
    fn new() -> Stage {
        let notes = Arc::new(Notes::default());
        let web = WebRtc::bind(WebRtcConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
        let params = video(VideoCodec::H264, 1920, 0);
        Stage { viewers: Viewers::new(notes.clone()), notes, web, main: Bus::default(), params }
    }

    fn seat(&self) -> Seat {
        self.viewers.admit(Newcomer {
            id: PublicId::new("lvs", 1),
            stream: StreamId::new(CameraId::new("gate").unwrap(), StreamKind::Main),
            transport: Transport::Whep,
            principal: "system".to_owned(),
            credential: heldar_base::Credential::Nothing,
            remote: Ipv4Addr::LOCALHOST.into(),
            at: WallTime(0),
        })
    }

    fn feeds(&self) -> Feeds {
        Feeds { wanted: self.main.clone(), other: None }
    }

    fn sync(&self, ms: i64, mark: u8) -> Vec<Vec<u8>> {
        let units = vec![unit(0x06, mark, 20), unit(0x65, mark, 5000)];
        self.main.publish(picture(&self.params, ms, &units));
        units
    }

    fn delta(&self, ms: i64, mark: u8) -> Vec<Vec<u8>> {
        let units = vec![unit(0x41, mark, 300), unit(0x41, mark.wrapping_add(7), 1500)];
        self.main.publish(picture(&self.params, ms, &units));
        units
    }

    fn answer(&self, offer: &str, feeds: Feeds) -> Result<Answer, OfferError> {
        self.web.answer(offer, feeds, |_| self.seat())
    }

    async fn until(&self, what: impl Fn(&Stage) -> bool) {
        let wait = async {
            while !what(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

/// A picture or a frame of sound as the viewer gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    mid: Mid,
    ticks: i64,
    units: Vec<Vec<u8>>,
}

/// A viewer.
struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    video: Mid,
    frames: VecDeque<Frame>,
    is_closed: bool,
}

impl Client {
    async fn offer(
        codecs: impl FnOnce(&mut str0m::format::CodecConfig),
    ) -> (Client, String, SdpPendingOffer) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut config = Rtc::builder().clear_codecs().enable_opus(true, false);
        codecs(config.codec_config());
        let mut rtc = config.build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        let video = api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let client = Client { rtc, socket, video, frames: VecDeque::new(), is_closed: false };
        (client, offer.to_sdp_string(), pending)
    }

    /// Opens a session on a stage.
    async fn play(stage: &Stage, feeds: Feeds) -> (Client, Answer) {
        Client::play_with(stage, feeds, |codecs| codecs.enable_h264(true)).await
    }

    async fn play_with(
        stage: &Stage,
        feeds: Feeds,
        codecs: impl FnOnce(&mut str0m::format::CodecConfig),
    ) -> (Client, Answer) {
        let (mut client, offer, pending) = Client::offer(codecs).await;
        let answer = stage.answer(&offer, feeds).unwrap();
        client
            .rtc
            .sdp_api()
            .accept_answer(pending, SdpAnswer::from_sdp_string(&answer.sdp).unwrap())
            .unwrap();
        (client, answer)
    }

    /// Lets the viewer act until something comes of it.
    async fn act(&mut self) {
        let due = loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => break at,
                Output::Transmit(transmit) => {
                    self.socket.send_to(&transmit.contents, transmit.destination).await.unwrap();
                }
                Output::Event(Event::MediaData(data)) => {
                    let is_video = data.mid == self.video;
                    let units = nal::annex_b(&data.data).map(|range| data.data[range].to_vec()).collect();
                    let units = if is_video { units } else { vec![data.data.to_vec()] };
                    let ticks = i64::try_from(data.time.numer()).unwrap();
                    self.frames.push_back(Frame { mid: data.mid, ticks, units });
                }
                Output::Event(Event::Closed) => self.is_closed = true,
                Output::Event(_) => {}
            }
        };
        if !self.rtc.is_alive() {
            return;
        }
        let mut buffer = [0; 2000];
        let received = tokio::time::timeout_at(due.into(), self.socket.recv_from(&mut buffer)).await;
        let input = match received {
            Ok(Ok((len, source))) => {
                let destination = self.socket.local_addr().unwrap();
                let contents = DatagramRecv::try_from(&buffer[..len]).unwrap();
                Input::Receive(
                    Instant::now(),
                    Receive { proto: Protocol::Udp, source, destination, contents },
                )
            }
            _ => Input::Timeout(Instant::now()),
        };
        self.rtc.handle_input(input).unwrap();
    }

    async fn frame(&mut self) -> Frame {
        let wait = async {
            while self.frames.is_empty() {
                self.act().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("a picture comes");
        self.frames.pop_front().unwrap()
    }

    async fn closed(&mut self) {
        let wait = async {
            while !self.is_closed {
                self.act().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(2), wait).await.expect("the session is closed");
    }
}

fn with_sets(units: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [vec![SPS.to_vec(), PPS.to_vec()], units.to_vec()].concat()
}

#[tokio::test]
async fn the_group_that_is_held_is_played_at_once_and_then_what_comes() {
    let stage = Stage::new();
    let mut sent = vec![with_sets(&stage.sync(0, 1))];
    sent.extend((1..5).map(|number| stage.delta(number * 40, number as u8)));
    let (mut client, answer) = Client::play(&stage, stage.feeds()).await;
    assert_eq!((answer.video, answer.audio), ("h264", None));
    let mut last = None;
    for units in &sent {
        let frame = client.frame().await;
        assert_eq!(frame.units, *units);
        assert!(last.is_none_or(|last| frame.ticks == last + 180));
        last = Some(frame.ticks);
    }
    for number in 5..8 {
        let units = stage.delta(number * 40, number as u8);
        let frame = client.frame().await;
        assert_eq!((frame.units, frame.ticks), (units, last.unwrap() + 3600));
        last = Some(frame.ticks);
    }
    assert_eq!(stage.notes.shown.load(Ordering::SeqCst), 1);
    assert!(stage.viewers.list()[0].bytes_sent > 10_000);
}

#[tokio::test]
async fn a_long_group_is_not_played_again() {
    let stage = Stage::new();
    stage.sync(0, 1);
    stage.delta(3_500, 2);
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    let first = stage.sync(4_000, 3);
    assert_eq!(client.frame().await.units, with_sets(&first));
}

#[tokio::test]
async fn a_group_that_is_delivered_at_once_arrives_whole() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    let first = client.frame().await.ticks;
    // Two seconds of 1.7 Mbit/s in one go, twice.
    for group in 0..2 {
        let sent: Vec<(i64, Vec<Vec<u8>>)> = (1..=50)
            .map(|number| {
                let (ms, mark) = (group * 2_000 + number * 40, number as u8);
                let units =
                    if number == 1 { vec![unit(0x65, mark, 80_000)] } else { vec![unit(0x41, mark, 7_000)] };
                stage.main.publish(picture(&stage.params, ms, &units));
                (ms * 90, if number == 1 { with_sets(&units) } else { units })
            })
            .collect();
        for (ticks, units) in sent {
            let frame = client.frame().await;
            assert_eq!(frame.ticks - first, ticks);
            assert!(frame.units == units, "another picture comes at {ticks}");
        }
    }
    assert_eq!(stage.viewers.list()[0].dropped, 0);
}

#[tokio::test]
async fn a_viewer_too_far_behind_is_moved_to_the_newest_sync_sample() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    let first = client.frame().await.ticks;
    // More than is held for one who is behind, before the session can do anything.
    for number in 1..50 {
        stage.main.publish(picture(&stage.params, number * 40, &[unit(0x41, number as u8, 120_000)]));
    }
    let units = with_sets(&stage.sync(2_000, 9));
    let frame = loop {
        let frame = client.frame().await;
        if frame.units == units {
            break frame;
        }
    };
    assert_eq!(frame.ticks - first, 180_000);
    assert!(stage.viewers.list()[0].dropped > 40);
}

#[tokio::test]
async fn a_reconnect_of_the_camera_is_only_a_gap() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    let first = client.frame().await.ticks;
    stage.main.interrupt();
    stage.delta(5_000, 2);
    let units = stage.sync(6_000, 3);
    let frame = client.frame().await;
    assert_eq!((frame.units, frame.ticks - first), (with_sets(&units), 540_000));
    // The clock is set back by an hour between two sessions of the camera.
    stage.main.interrupt();
    for number in 1..4 {
        let ms = -3_600_000 + number * 40;
        let units = if number == 1 { with_sets(&stage.sync(ms, 4)) } else { stage.delta(ms, 5) };
        let frame = client.frame().await;
        assert_eq!((frame.units, frame.ticks - first), (units, 540_000 + number * 3600));
    }
    stage.main.close();
    client.closed().await;
    stage.until(|stage| stage.web.sessions() == 0).await;
}

#[tokio::test]
async fn a_request_for_a_sync_sample_is_answered_from_memory() {
    let stage = Stage::new();
    let sync = stage.sync(0, 1);
    let delta = stage.delta(40, 2);
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    let mut last = 0;
    for _ in 0..2 {
        last = client.frame().await.ticks;
    }
    // Answered once a second, so the first requests may come too early.
    let again = loop {
        let mut writer = client.rtc.writer(client.video).unwrap();
        writer.request_keyframe(None, KeyframeRequestKind::Pli).unwrap();
        if let Ok(frame) = tokio::time::timeout(Duration::from_millis(200), client.frame()).await {
            break frame;
        }
    };
    assert_eq!(again.units, with_sets(&sync));
    let newest = client.frame().await;
    assert_eq!(newest.units, delta);
    assert!(last < again.ticks && again.ticks < newest.ticks && newest.ticks < last + 3600);
    let live = stage.delta(80, 3);
    let frame = client.frame().await;
    assert_eq!((frame.units, frame.ticks), (live, last + 3600));
}

#[tokio::test]
async fn a_viewer_whose_address_was_claimed_by_another_session_is_heard_again() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    client.frame().await;
    let text = || "thief".to_owned();
    let names = Names { resource: text(), etag: text(), ufrag: text(), viewer: text() };
    let mut thief = stage.web.server.table.open(names).unwrap();
    thief.place.learn(client.socket.local_addr().unwrap());
    // Its requests are lost until it proves anew that it is there, as viewers do every few seconds.
    let asks = async {
        loop {
            let mut writer = client.rtc.writer(client.video).unwrap();
            writer.request_keyframe(None, KeyframeRequestKind::Pli).unwrap();
            if tokio::time::timeout(Duration::from_millis(200), client.frame()).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(2 * PATIENCE, asks).await.expect("it is heard");
}

#[tokio::test]
async fn h265_is_played_where_it_is_offered() {
    let stage = Stage::new();
    // An IDR picture of several packets.
    let units = vec![[vec![20 << 1, 1], unit(9, 1, 4000)].concat()];
    let unit = picture(&video(VideoCodec::H265, 1920, 0), 0, &units);
    stage.main.publish(Arc::new(AccessUnit { sync: SyncKind::Closed, ..AccessUnit::clone(&unit) }));
    let (mut client, answer) =
        Client::play_with(&stage, stage.feeds(), |codecs| codecs.enable_h265(true)).await;
    assert_eq!((answer.video, client.frame().await.units), ("hevc", units));
}

#[tokio::test]
async fn who_is_cut_off_is_told_and_forgotten() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let (mut client, answer) = Client::play(&stage, stage.feeds()).await;
    client.frame().await;
    stage.viewers.cut_all(Cut::CameraDisabled);
    client.closed().await;
    stage.until(|stage| stage.web.sessions() == 0 && stage.notes.closed.load(Ordering::SeqCst) == 1).await;
    assert!(!stage.web.end(&answer.resource));
    assert!(stage.viewers.list().is_empty());
}

#[tokio::test]
async fn a_viewer_that_leaves_is_forgotten() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    client.frame().await;
    client.rtc.close().unwrap();
    while client.rtc.is_alive() {
        client.act().await;
    }
    stage.until(|stage| stage.web.sessions() == 0).await;
}

#[tokio::test]
async fn the_name_of_a_session_suffices_to_trickle_and_to_end() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let (mut client, answer) = Client::play(&stage, stage.feeds()).await;
    let (web, name, tag) = (&stage.web, answer.resource.as_str(), answer.etag.as_str());
    assert!(name.len() == 32 && tag.starts_with('"') && tag.ends_with('"'));
    let candidate =
        "a=candidate:1 1 udp 2113929471 127.0.0.1 9 typ host\r\na=candidate:2 1 udp 1 x.local 9 typ host\r\n";
    assert_eq!(web.patch("nobody", Some(tag), candidate), Err(PatchError::Unknown));
    assert_eq!(web.patch(name, None, candidate), Err(PatchError::EtagMissing));
    assert_eq!(web.patch(name, Some("\"other\""), candidate), Err(PatchError::EtagDiffers));
    assert_eq!(web.patch(name, Some(tag), "candidate"), Err(PatchError::Malformed));
    assert_eq!(web.patch(name, Some("*"), "a=ice-ufrag:new1\r\n"), Err(PatchError::RestartUnsupported));
    assert_eq!(web.patch(name, Some(tag), candidate), Ok(()));
    assert_eq!(web.patch(name, Some(&format!("\"other\", {tag}")), ""), Ok(()));
    client.frame().await;
    assert!(web.end(name) && !web.end(name));
    assert_eq!(web.patch(name, Some(tag), candidate), Err(PatchError::Unknown));
    client.closed().await;
    stage.until(|stage| stage.web.sessions() == 0).await;
}

#[tokio::test]
async fn the_stream_that_can_be_played_is_chosen() {
    let stage = Stage::new();
    let offer = BROWSER.replace("H265", "AV1");
    let sub = Bus::default();
    let both = || Feeds { wanted: stage.main.clone(), other: Some(sub.clone()) };
    assert_eq!(stage.answer(&offer, both()).unwrap_err(), OfferError::NoPicture);
    let refused = |sends: &str| Err(OfferError::NotPlayable { sends: sends.to_owned() });
    let answered = |feeds| stage.answer(&offer, feeds).map(|answer| answer.video);
    stage.main.publish(picture(&video(VideoCodec::H265, 1920, 0), 0, &[unit(0x65, 0, 9)]));
    assert_eq!(answered(both()), refused("hevc"));
    stage.main.publish(picture(&video(VideoCodec::H264, 1920, 2), 0, &[unit(0x65, 0, 9)]));
    assert_eq!(answered(both()), refused("h264 with B-frames"));
    sub.publish(picture(&video(VideoCodec::H264, 640, 0), 0, &[unit(0x65, 0, 9)]));
    assert_eq!(answered(stage.feeds()), refused("h264 with B-frames"));
    assert_eq!(answered(both()), Ok("h264"));
    // A browser that plays H.265 gets the stream it wants.
    stage.main.publish(picture(&video(VideoCodec::H265, 1920, 0), 0, &[unit(0x65, 0, 9)]));
    assert_eq!(stage.answer(BROWSER, both()).map(|answer| answer.video), Ok("hevc"));
}

#[tokio::test]
async fn a_stream_that_becomes_unplayable_gives_way_to_the_other() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let sub = Bus::default();
    let (mut client, _) =
        Client::play(&stage, Feeds { wanted: stage.main.clone(), other: Some(sub.clone()) }).await;
    let first = client.frame().await;
    let small = video(VideoCodec::H264, 640, 0);
    sub.publish(picture(&small, 20, &[unit(0x65, 9, 200)]));
    stage.main.publish(picture(&video(VideoCodec::H264, 1920, 1), 40, &[unit(0x65, 2, 200)]));
    let frame = client.frame().await;
    assert_eq!((frame.units, frame.ticks - first.ticks), (with_sets(&[unit(0x65, 9, 200)]), 1800));
    sub.publish(picture(&small, 60, &[unit(0x41, 8, 200)]));
    assert_eq!(client.frame().await.ticks - first.ticks, 5400);
    // When that one cannot be played either, it is over.
    sub.publish(picture(&video(VideoCodec::H265, 640, 0), 80, &[unit(0x65, 2, 200)]));
    client.closed().await;
}

#[tokio::test]
async fn a_viewer_whose_path_is_too_narrow_gets_the_smaller_stream() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let sub = Bus::default();
    let feeds = Feeds { wanted: stage.main.clone(), other: Some(sub.clone()) };
    let (mut client, _) = Client::play(&stage, feeds).await;
    client.frame().await;
    let small = video(VideoCodec::H264, 640, 0);
    let first_of_small = with_sets(&[unit(0x65, 77, 200)]);
    let mut followers = sub.ring().followers();
    for number in 1..1_500 {
        // 4 Mbit/s, to a viewer that says that its path carries a quarter of that.
        let large = picture(&stage.params, number * 10, &[unit(0x41, number as u8, 5_000)]);
        stage.main.publish(large);
        let mut api = client.rtc.direct_api();
        if let Some(stream) = api.stream_rx_by_mid(client.video, None) {
            stream.request_remb(str0m::bwe::Bitrate::mbps(1));
        }
        // As a camera that is pulled because somebody follows its stream.
        if *followers.borrow_and_update() > 0 {
            sub.publish(picture(&small, number * 10, &[unit(0x65, 77, 200)]));
        }
        let _elapsed = tokio::time::timeout(Duration::from_millis(10), async {
            loop {
                client.act().await;
            }
        })
        .await;
        if client.frames.drain(..).any(|frame| frame.units == first_of_small) {
            return;
        }
    }
    panic!("the larger stream is still sent after 15 s");
}

#[tokio::test]
async fn sessions_are_bounded_and_end_with_the_last_handle() {
    let mut stage = Stage::new();
    let bind = SocketAddr::from(([0, 0, 0, 0], 0));
    stage.web = WebRtc::bind(WebRtcConfig { max_sessions: 1, ..WebRtcConfig::new(bind) }).unwrap();
    stage.sync(0, 1);
    let answer = stage.answer(BROWSER, stage.feeds()).unwrap();
    let port = stage.web.local_addr().port();
    assert!(answer.sdp.contains(&format!(" 127.0.0.1 {port} typ host")), "{}", answer.sdp);
    // A viewer that was never heard from gives way, one that is there does not.
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    assert!(!stage.web.end(&answer.resource));
    client.frame().await;
    stage.until(|stage| stage.notes.closed.load(Ordering::SeqCst) == 1).await;
    assert_eq!(stage.answer(BROWSER, stage.feeds()), Err(OfferError::Busy));
    stage.web = WebRtc::bind(WebRtcConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    stage.until(|stage| stage.notes.closed.load(Ordering::SeqCst) == 2).await;
}

#[tokio::test]
async fn an_unspecified_socket_answers_from_the_address_it_was_asked_at() {
    let mut stage = Stage::new();
    stage.web = WebRtc::bind(WebRtcConfig::new(SocketAddr::from(([0, 0, 0, 0], 0)))).unwrap();
    let units = stage.sync(0, 1);
    let (mut client, _) = Client::play(&stage, stage.feeds()).await;
    assert_eq!(client.frame().await.units, with_sets(&units));
}

#[tokio::test]
async fn offers_that_lack_something_are_refused() {
    let stage = Stage::new();
    stage.sync(0, 1);
    let broken = [
        BROWSER.replace("a=fingerprint", "a=nothing"),
        BROWSER.replace("sha-256", "sha-512"),
        BROWSER.replace("00:01", "zz"),
        BROWSER.replace("a=ice-pwd", "a=nothing"),
        BROWSER.replace("actpass", "holdconn"),
        BROWSER.replace("a=rtcp-mux", "a=nothing"),
        BROWSER.replacen("a=rtcp-mux", "a=nothing", 1),
        BROWSER.replace("a=mid:0", "a=mid:1"),
        BROWSER.replace("m=video", "m=movie"),
        BROWSER.replace("a=recvonly", "a=sendonly"),
        "v=0\r\n".to_owned(),
    ];
    for offer in broken {
        let refused = stage.answer(&offer, stage.feeds());
        assert!(matches!(refused, Err(OfferError::Malformed(_))), "{refused:?}");
    }
    assert_eq!(stage.web.sessions(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn mutated_offers_and_stray_datagrams_do_no_harm(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..4), 0..12),
        noise in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut lines: Vec<Vec<u8>> = BROWSER.lines().map(|line| line.as_bytes().to_vec()).collect();
        for (at, byte, kind) in edits {
            let line = at.index(lines.len());
            match kind {
                0 => { lines.remove(line); }
                1 => lines.insert(line, lines[line].clone()),
                2 => lines.swap(line, 0),
                _ => {
                    let len = lines[line].len().max(1);
                    if let Some(slot) = lines[line].get_mut(usize::from(byte) % len) {
                        *slot = byte & 0x7f;
                    }
                }
            }
            if lines.is_empty() {
                break;
            }
        }
        let text = String::from_utf8_lossy(&lines.join(&b"\r\n"[..])).into_owned();
        runtime.block_on(async {
            let stage = Stage::new();
            stage.sync(0, 1);
            if let Ok(answer) = stage.answer(&text, stage.feeds()) {
                let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                socket.send_to(&noise, stage.web.local_addr()).await.unwrap();
                let _ = stage.web.patch(&answer.resource, Some("*"), &text);
                tokio::task::yield_now().await;
                assert!(stage.web.end(&answer.resource));
                stage.until(|stage| stage.web.sessions() == 0).await;
            }
        });
    }
}
