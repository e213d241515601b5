//! The pair of sockets that all datagrams of the server leave from and come to.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::packetize::datagrams;
use super::session::Activity;

/// Datagrams sent in a row before the receiver is given time to empty its socket buffer.
const BURST: usize = 32;
/// That time. 32 packets per millisecond are some 45 MB/s, far above any camera.
const BURST_PAUSE: Duration = Duration::from_millis(1);
/// Attempts to find an even port whose successor is free too (RFC 3550 11).
const PAIR_ATTEMPTS: usize = 64;

#[derive(Debug)]
pub(super) struct Udp {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// Where clients send RTCP from, so that it keeps their sessions alive.
    clients: Mutex<HashMap<SocketAddr, Arc<Activity>>>,
}

impl Udp {
    /// Binds the pair at `at`, whose port is even; port 0 finds one.
    pub(super) async fn bind(at: SocketAddr) -> io::Result<Udp> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _attempt in 0..PAIR_ATTEMPTS {
            let rtp = UdpSocket::bind(at).await?;
            let port = rtp.local_addr()?.port();
            let Some(next) = port.checked_add(1).filter(|next| next % 2 == 1) else { continue };
            match UdpSocket::bind(SocketAddr::new(at.ip(), next)).await {
                Ok(rtcp) => return Ok(Udp { rtp, rtcp, clients: Mutex::default() }),
                Err(error) if at.port() != 0 => return Err(error),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Ports for RTP and RTCP.
    pub(super) fn ports(&self) -> io::Result<(u16, u16)> {
        Ok((self.rtp.local_addr()?.port(), self.rtcp.local_addr()?.port()))
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Activity>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn register(&self, client: SocketAddr, activity: Arc<Activity>) {
        self.clients().insert(client, activity);
    }

    pub(super) fn forget(&self, client: SocketAddr) {
        self.clients().remove(&client);
    }

    /// Reads what clients send until an error ends it: RTCP is a sign of life, RTP only opens their firewalls.
    pub(super) async fn drain(&self) {
        let (mut rtp, mut rtcp) = ([0; 64], [0; 64]);
        loop {
            let heard = tokio::select! {
                heard = self.rtp.recv_from(&mut rtp) => heard.map(|_| None),
                heard = self.rtcp.recv_from(&mut rtcp) => heard.map(|(_, from)| Some(from)),
            };
            match heard {
                Ok(Some(from)) => {
                    if let Some(activity) = self.clients().get(&from) {
                        activity.touch();
                    }
                }
                Ok(None) => {}
                // The port of a client that is gone answers with ICMP, which ends nothing. A pause keeps an error that
                // stays from spinning.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Sends the packets of a block.
    pub(super) async fn send_media(&self, wire: &[u8], to: SocketAddr) {
        for (index, packet) in datagrams(wire).enumerate() {
            if index % BURST == BURST - 1 {
                tokio::time::sleep(BURST_PAUSE).await;
            }
            // A datagram that can't be sent is lost, as datagrams are.
            let _lost = self.rtp.send_to(packet, to).await;
        }
    }

    /// Sends a report.
    pub(super) async fn send_report(&self, wire: &[u8], to: SocketAddr) {
        for packet in datagrams(wire) {
            let _lost = self.rtcp.send_to(packet, to).await;
        }
    }
}
