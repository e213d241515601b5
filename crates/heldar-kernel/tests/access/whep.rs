//! A viewer over WebRTC.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;

use crate::viewers::{End, fetch};

/// Watches until the server ends the session. Silence is no end: one who was merely cut off from the server waits on.
pub(crate) async fn watch(server: SocketAddr, path: &str, head: &str, seen: &AtomicUsize) -> End {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let local = socket.local_addr().unwrap();
    let mut rtc = Rtc::builder().set_rtp_mode(true).clear_codecs().enable_h264(true).build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
    let mut api = rtc.sdp_api();
    api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, pending) = api.apply().unwrap();
    let head = format!("{head}Content-Type: application/sdp\r\n");
    let answer = fetch(server, "POST", path, &head, &offer.to_sdp_string()).await;
    let Some((201, answer)) = answer else { return End::Refused(answer.map_or(0, |(status, _)| status)) };
    rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    let mut buffer = vec![0; 2_000];
    loop {
        let due = match rtc.poll_output().unwrap() {
            Output::Transmit(transmit) => {
                socket.send_to(&transmit.contents, transmit.destination).await.unwrap();
                continue;
            }
            Output::Event(Event::RtpPacket(_)) => {
                seen.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Output::Event(_) => continue,
            Output::Timeout(due) => due,
        };
        if !rtc.is_alive() {
            return End::Broken;
        }
        let input = tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (length, source) = received.unwrap();
                let contents = buffer[..length].try_into().unwrap();
                let received = Receive { proto: Protocol::Udp, source, destination: local, contents };
                Input::Receive(Instant::now(), received)
            }
            () = tokio::time::sleep_until(due.into()) => Input::Timeout(Instant::now()),
        };
        rtc.handle_input(input).unwrap();
    }
}
