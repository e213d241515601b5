//! An RTSP client of a few lines, for what players do not show: statuses, challenges, reports.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// No single step takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    socket: TcpStream,
    read: Vec<u8>,
    number: u32,
}

/// An answer's status and its head.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Values of all headers of a name.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        let values = self.head.lines().filter_map(|line| line.split_once(": "));
        values.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

impl Client {
    pub(crate) async fn connect(port: u16) -> Client {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        Client { socket, read: Vec::new(), number: 0 }
    }

    async fn fill(&mut self) -> bool {
        let mut part = vec![0; 16_384];
        let read =
            tokio::time::timeout(PATIENCE, self.socket.read(&mut part)).await.expect("something in time");
        let count = read.unwrap_or(0);
        self.read.extend_from_slice(&part[..count]);
        count > 0
    }

    /// Asks and reads the answer; packets before it are dropped.
    pub(crate) async fn ask(&mut self, method: &str, url: &str, headers: &str) -> Answer {
        self.number += 1;
        let request = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{headers}\r\n", self.number);
        self.socket.write_all(request.as_bytes()).await.unwrap();
        loop {
            while self.read.first() == Some(&b'$') {
                self.packet().await.unwrap();
            }
            let end = self.read.windows(4).position(|part| part == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8(self.read.drain(..end + 4).collect()).unwrap();
                let status = head[9..12].parse().unwrap();
                let mut answer = Answer { status, head, body: String::new() };
                let len =
                    answer.headers("Content-Length").first().map_or(0, |text| text.trim().parse().unwrap());
                while self.read.len() < len {
                    assert!(self.fill().await);
                }
                answer.body = String::from_utf8(self.read.drain(..len).collect()).unwrap();
                return answer;
            }
            assert!(self.fill().await, "an answer");
        }
    }

    /// Sets the pictures up, interleaved, and plays.
    pub(crate) async fn play(&mut self, url: &str) {
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        assert_eq!(self.ask("SETUP", &format!("{url}/trackID=0"), transport).await.status, 200);
        assert_eq!(self.ask("PLAY", url, "User-Agent: few lines\r\n").await.status, 200);
    }

    /// The next interleaved packet and its channel; `None` once the server has closed.
    pub(crate) async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [b'$', channel, high, low, ..] = self.read[..] {
                let len = 4 + usize::from(u16::from_be_bytes([high, low]));
                if self.read.len() >= len {
                    let packet = self.read.drain(..len).skip(4).collect();
                    return Some((channel, packet));
                }
            }
            if !self.fill().await {
                return None;
            }
        }
    }
}
