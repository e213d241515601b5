//! The one UDP socket of all sessions.
//!
//! Owns: receiving with the address a datagram was sent to, sending from that address (IP_PKTINFO), many datagrams per
//! system call. Never: what is in them.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use quinn_udp::{RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What the kernel may hold; a burst of every session at once fits.
const BUFFER: usize = 4 << 20;
/// Longest datagram of several that are sent by one call.
const MAX_BATCH: usize = 60_000;
/// A full send buffer is waited for so long; then the datagrams are lost, as the network loses them.
const PATIENCE: Duration = Duration::from_millis(100);
/// Most addresses that are told to viewers.
const MAX_ADDRESSES: usize = 16;

/// A bound socket.
#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// Where a datagram came from, and where it was sent to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// The viewer.
    pub(super) remote: SocketAddr,
    /// This side as the kernel names it, for answers that must come from there.
    pub(super) local: Option<IpAddr>,
}

/// What became of datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The kernel has them.
    Yes,
    /// They were dropped, since the kernel would not take them.
    Blocked,
}

impl Socket {
    /// Binds it; to be called on a runtime.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Socket> {
        let socket = std::net::UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        let io = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&io).into())?;
        // reason: the kernel gives what it may; less only means more loss under load.
        let _ = state.set_send_buffer_size((&io).into(), BUFFER);
        // reason: as above.
        let _ = state.set_recv_buffer_size((&io).into(), BUFFER);
        let local = io.local_addr()?;
        Ok(Socket { io, state, local })
    }

    /// What it is bound to.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Most datagrams that may be sent by one call.
    pub(super) fn batch(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Receives; tells of each datagram.
    pub(super) async fn receive(
        &self,
        buffer: &mut [u8],
        mut tell: impl FnMut(Route, &[u8]),
    ) -> io::Result<()> {
        let mut meta = [RecvMeta::default()];
        loop {
            self.io.readable().await?;
            let received = self.io.try_io(Interest::READABLE, || {
                self.state.recv((&self.io).into(), &mut [IoSliceMut::new(buffer)], &mut meta)
            });
            match received {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let RecvMeta { addr, len, stride, dst_ip, .. } = meta[0];
        let remote = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let bound = Some(self.local.ip()).filter(|ip| !ip.is_unspecified());
        for datagram in buffer[..len.min(buffer.len())].chunks(stride.max(1)) {
            tell(Route { remote, local: dst_ip.or(bound) }, datagram);
        }
        Ok(())
    }

    /// Sends datagrams of `size` bytes each, the last of which may be shorter.
    pub(super) async fn send(&self, to: Route, datagrams: &[u8], size: usize) -> Sent {
        let ip = match to.remote.ip() {
            IpAddr::V4(ip) if self.local.is_ipv6() => ip.to_ipv6_mapped().into(),
            ip => ip,
        };
        let transmit = quinn_udp::Transmit {
            destination: SocketAddr::new(ip, to.remote.port()),
            ecn: None,
            contents: datagrams,
            segment_size: (datagrams.len() > size).then_some(size),
            src_ip: to.local.filter(|_| self.local.ip().is_unspecified()),
        };
        let send = || self.state.try_send((&self.io).into(), &transmit);
        loop {
            match self.io.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if tokio::time::timeout(PATIENCE, self.io.writable()).await.is_err() {
                        return Sent::Blocked;
                    }
                }
                // Anything else is lost as on the network: a route that is gone ends the session by silence.
                _ => return Sent::Yes,
            }
        }
    }
}

/// Datagrams on their way to one place, gathered for one call.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    size: usize,
    to: Option<SocketAddr>,
    count: usize,
    is_closed: bool,
}

impl Batch {
    /// Takes a datagram, unless what was gathered must go first.
    pub(super) fn push(&mut self, to: SocketAddr, datagram: &[u8], most: usize) -> bool {
        let fits = self.bytes.is_empty()
            || (self.to == Some(to)
                && !self.is_closed
                && self.count < most
                && datagram.len() <= self.size
                && self.bytes.len() + datagram.len() <= MAX_BATCH);
        if fits {
            if self.bytes.is_empty() {
                (self.to, self.size) = (Some(to), datagram.len());
            }
            self.bytes.extend_from_slice(datagram);
            self.count += 1;
            // Only the last may be shorter.
            self.is_closed = datagram.len() < self.size;
        }
        fits
    }

    /// What was gathered: where to, bytes, and how long each is.
    pub(super) fn gathered(&self) -> Option<(SocketAddr, &[u8], usize)> {
        self.to.filter(|_| !self.bytes.is_empty()).map(|to| (to, self.bytes.as_slice(), self.size))
    }

    /// Forgets it.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
        self.is_closed = false;
    }
}

/// The addresses under which viewers reach a socket: those given, else the one it is bound to, else this machine's.
pub(super) fn host_addresses(bound: SocketAddr, public: &[IpAddr]) -> Vec<SocketAddr> {
    let with_port = |ip: IpAddr| SocketAddr::new(ip, bound.port());
    if !public.is_empty() {
        return public.iter().copied().map(with_port).take(MAX_ADDRESSES).collect();
    }
    if !bound.ip().is_unspecified() {
        return vec![with_port(bound.ip().to_canonical())];
    }
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut ips: Vec<IpAddr> =
        interfaces.iter().map(|interface| interface.ip()).filter(|ip| is_usable(*ip)).collect();
    ips.retain(|ip| ip.is_ipv4() || bound.is_ipv6());
    ips.push(Ipv4Addr::LOCALHOST.into());
    // Loopback serves viewers on this machine only, so it comes last.
    ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6(), *ip));
    ips.dedup();
    ips.into_iter().map(with_port).take(MAX_ADDRESSES).collect()
}

/// Link-local addresses mean nothing without their interface, which a candidate cannot name.
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_unicast_link_local() && !ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_given_or_those_found() {
        let any: SocketAddr = "0.0.0.0:8189".parse().unwrap();
        let public: IpAddr = "203.0.113.9".parse().unwrap();
        assert_eq!(host_addresses(any, &[public]), ["203.0.113.9:8189".parse().unwrap()]);
        let one = "127.0.0.1:8189".parse().unwrap();
        assert_eq!(host_addresses(one, &[]), [one]);
        let found = host_addresses(any, &[]);
        assert!(found.contains(&one) && found.iter().all(SocketAddr::is_ipv4));
    }

    #[test]
    fn datagrams_of_one_length_go_together() {
        let (a, b) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let mut batch = Batch::default();
        assert!(batch.push(a, &[1; 10], 64) && batch.push(a, &[2; 10], 64));
        assert!(!batch.push(a, &[3; 11], 64) && !batch.push(b, &[3; 10], 64) && !batch.push(a, &[3; 10], 2));
        assert!(batch.push(a, &[4; 3], 64) && !batch.push(a, &[5; 3], 64));
        assert_eq!(batch.gathered().map(|(to, bytes, size)| (to, bytes.len(), size)), Some((a, 23, 10)));
        batch.clear();
        assert!(batch.gathered().is_none() && batch.push(b, &[6; 30], 64));
    }

    #[tokio::test]
    async fn an_answer_leaves_from_where_it_was_asked() {
        let server = Socket::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let to = SocketAddr::new("127.0.0.1".parse().unwrap(), server.local().port());
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(to).await.unwrap();
        client.send(b"hello").await.unwrap();
        let (mut buffer, mut route) = (vec![0; 65_535], None);
        server
            .receive(&mut buffer, |from, datagram| {
                assert_eq!(datagram, b"hello");
                route = Some(from);
            })
            .await
            .unwrap();
        let route = route.unwrap();
        assert_eq!(route.local, Some(to.ip()));
        assert_eq!(server.send(route, b"aabbc", 2).await, Sent::Yes);
        for expect in [&b"aa"[..], b"bb", b"c"] {
            let len = client.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..len], expect);
        }
    }
}
