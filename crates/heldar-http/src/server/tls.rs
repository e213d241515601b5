//! A connection to a port that speaks TLS, until it is clear what it speaks.
//!
//! Owns: the handshake and its time. A client that speaks plain HTTP there is told so in plain HTTP, which its browser
//! shows.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::refusal::Refusal;
use super::{Limits, connection, http2};
use crate::app::AppSlot;
use crate::caller::Scheme;
use crate::metrics::Protocol;
use crate::sources::Place;

/// As much of a plain request as is read before the connection ends, so that its end is no reset.
const PLAIN_BYTES: u64 = 64 * 1024;

/// What a client turned out to speak.
enum Opened {
    Secured(Box<TlsStream<TcpStream>>),
    Plain(TcpStream),
}

/// Serves a connection from its handshake to its end.
pub(super) async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    slot: Arc<AppSlot>,
    limits: Limits,
    place: Place,
    mut stop: watch::Receiver<bool>,
) {
    let opened = tokio::select! {
        opened = timeout(limits.header_time, open(stream, &acceptor)) => opened,
        // A sender that is gone means the same.
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match opened {
        Ok(Ok(Opened::Secured(stream))) => {
            let from = (peer, Scheme::Https);
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let protocol = if is_h2 { Protocol::H2 } else { Protocol::H1 };
            let kept = (place, slot.get().metrics().connection(protocol));
            match protocol {
                Protocol::H1 => connection::run(stream, from, slot, limits, kept, stop).await,
                Protocol::H2 => http2::run(stream, from, slot, limits, kept, stop).await,
            }
        }
        Ok(Ok(Opened::Plain(stream))) => {
            let answer = Refusal::NotTls.answer(&slot.get());
            // Whoever does not take it in time does without.
            let _told = timeout(limits.header_time, refuse(stream, &answer)).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "handshake failed"),
        Err(_elapsed) => tracing::debug!("handshake took too long"),
    }
}

async fn open(stream: TcpStream, acceptor: &TlsAcceptor) -> io::Result<Opened> {
    let mut first = [0];
    // RFC 8446 5.1: a handshake begins with 22. RFC 9110 9.1: methods that browsers use are capital letters.
    if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
        return Ok(Opened::Plain(stream));
    }
    Ok(Opened::Secured(Box::new(acceptor.accept(stream).await?)))
}

async fn refuse(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    // RFC 9112 9.6.
    tokio::io::copy(&mut stream.take(PLAIN_BYTES), &mut tokio::io::sink()).await.map(drop)
}
