//! A viewer over a WebSocket (RFC 6455) that counts pictures and keeps nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::Notes;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// Watches until the server ends it; one that gets `stuck` reads no further than its first picture.
pub(super) async fn watch(
    server: SocketAddr,
    camera: &str,
    mut notes: Notes,
    stuck: bool,
) -> Result<(), String> {
    let fail = |error: std::io::Error| error.to_string();
    let stream = TcpStream::connect(server).await.map_err(fail)?;
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    let request = format!(
        "GET /live/ws/cam_{camera} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.get_mut().write_all(request.as_bytes()).await.map_err(fail)?;
    let mut line = String::new();
    stream.read_line(&mut line).await.map_err(fail)?;
    if !line.starts_with("HTTP/1.1 101") {
        return Err(line);
    }
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await.map_err(fail)?;
    }
    // The message behind an announcement is an init segment, all others hold a picture.
    let mut is_init = false;
    loop {
        let (opcode, length) = head(&mut stream).await.map_err(fail)?;
        match opcode {
            BINARY => {
                skip(&mut stream, length).await.map_err(fail)?;
                notes.seen.bytes(length);
                if !std::mem::take(&mut is_init) {
                    notes.picture();
                    if stuck {
                        tokio::time::sleep(Duration::MAX).await;
                    }
                }
            }
            TEXT => {
                let mut text = vec![0; length];
                stream.read_exact(&mut text).await.map_err(fail)?;
                is_init |= String::from_utf8_lossy(&text).contains("\"init\"");
            }
            CLOSE => return Ok(()),
            PING => {
                let mut payload = vec![0; length];
                stream.read_exact(&mut payload).await.map_err(fail)?;
                // A client masks what it sends; a mask of zeros changes nothing (RFC 6455 5.3).
                let mut pong = vec![0x8a, 0x80 | u8::try_from(length).unwrap_or(125), 0, 0, 0, 0];
                pong.extend(payload);
                stream.get_mut().write_all(&pong).await.map_err(fail)?;
            }
            _ => return Err(format!("a WebSocket frame of kind {opcode}")),
        }
    }
}

/// Kind and length of the next frame; a server sends messages whole here.
async fn head(stream: &mut BufReader<TcpStream>) -> std::io::Result<(u8, usize)> {
    let opcode = stream.read_u8().await? & 0x0f;
    let length = match stream.read_u8().await? & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    Ok((opcode, usize::try_from(length).unwrap_or(usize::MAX)))
}

async fn skip(stream: &mut BufReader<TcpStream>, mut length: usize) -> std::io::Result<()> {
    while length > 0 {
        let there = stream.fill_buf().await?.len().min(length);
        if there == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        stream.consume(there);
        length -= there;
    }
    Ok(())
}
