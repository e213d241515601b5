//! A viewer over WebRTC that counts pictures and keeps nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;

use super::super::http::Client;
use super::Notes;

/// Largest datagram.
const DATAGRAM: usize = 2_000;
/// A session that brings nothing for so long is over.
const PATIENCE: Duration = Duration::from_secs(15);

/// Watches until the server ends it.
pub(super) async fn watch(server: SocketAddr, camera: &str, mut notes: Notes) -> Result<(), String> {
    let fail = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(fail)?;
    let local = socket.local_addr().map_err(fail)?;
    let mut rtc = connect(server, camera, local).await?;
    let mut buffer = vec![0; DATAGRAM];
    let mut heard = Instant::now();
    loop {
        let due = match rtc.poll_output().map_err(|error| error.to_string())? {
            Output::Transmit(transmit) => {
                socket.send_to(&transmit.contents, transmit.destination).await.map_err(fail)?;
                continue;
            }
            Output::Event(Event::RtpPacket(packet)) => {
                heard = Instant::now();
                notes.seen.bytes(packet.payload.len());
                // The last packet of a picture is marked (RFC 6184 5.1).
                if packet.header.marker {
                    notes.picture();
                }
                continue;
            }
            Output::Event(_) => continue,
            Output::Timeout(due) => due,
        };
        if !rtc.is_alive() {
            return Ok(());
        }
        if heard.elapsed() > PATIENCE {
            return Err(format!("nothing for {} s", PATIENCE.as_secs()));
        }
        let input = tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (length, source) = received.map_err(fail)?;
                let contents = buffer[..length].try_into().map_err(|error: str0m::error::NetError| error.to_string())?;
                Input::Receive(Instant::now(), Receive { proto: Protocol::Udp, source, destination: local, contents })
            }
            () = tokio::time::sleep_until(due.into()) => Input::Timeout(Instant::now()),
        };
        rtc.handle_input(input).map_err(|error| error.to_string())?;
    }
}

/// Offers to receive pictures, and takes the answer.
async fn connect(server: SocketAddr, camera: &str, local: SocketAddr) -> Result<Rtc, String> {
    let mut rtc = Rtc::builder().set_rtp_mode(true).clear_codecs().enable_h264(true).build(Instant::now());
    let candidate = Candidate::host(local, "udp").map_err(|error| error.to_string())?;
    rtc.add_local_candidate(candidate);
    let mut api = rtc.sdp_api();
    api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, pending) = api.apply().ok_or("no offer")?;
    let answer =
        Client::new(server).post_sdp(&format!("/live/whep/cam_{camera}"), &offer.to_sdp_string()).await?;
    if answer.status != 201 {
        answer.success()?;
        return Err(format!("status {}", answer.status));
    }
    let text = String::from_utf8_lossy(&answer.body);
    let answer = SdpAnswer::from_sdp_string(&text).map_err(|error| error.to_string())?;
    rtc.sdp_api().accept_answer(pending, answer).map_err(|error| error.to_string())?;
    Ok(rtc)
}
