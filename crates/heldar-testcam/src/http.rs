//! A small HTTP/1.1 server on the loopback address for [`Truth`]: one request per connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::truth::{Answer, Query, Truth};

/// Longest request head.
const MAX_HEAD: usize = 8 * 1024;
/// Longest time for a request to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, truth: Arc<Truth>) {
    loop {
        match listener.accept().await {
            Ok((socket, _peer)) => {
                let truth = Arc::clone(&truth);
                tokio::spawn(async move {
                    // A client that is gone has nothing to be told.
                    let _gone = answer(socket, truth).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting an HTTP connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(mut socket: TcpStream, truth: Arc<Truth>) -> std::io::Result<()> {
    let Ok(head) = tokio::time::timeout(REQUEST_TIMEOUT, read_head(&mut socket)).await else { return Ok(()) };
    // Faults may have to encode something first.
    let (status, body) = tokio::task::spawn_blocking(move || dispatch(&head?, &truth))
        .await
        .unwrap_or(None)
        .unwrap_or((400, serde_json::json!({ "error": "malformed request" })));
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        405 => "Method Not Allowed",
        500 => "Internal Server Error",
        _ => "Bad Request",
    };
    let body = body.to_string();
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(response.as_bytes()).await?;
    socket.shutdown().await
}

/// The request line and headers; `None` if they do not end in time.
async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = socket.read(&mut buffer).await.ok().filter(|&read| read > 0)?;
        head.extend_from_slice(buffer.get(..read)?);
        if head.len() > MAX_HEAD {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

fn dispatch(head: &str, truth: &Truth) -> Option<Answer> {
    let mut words = head.lines().next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.strip_prefix('/')?, Query::parse(query));
    Some(match method {
        "GET" => truth.get(path, &query),
        "POST" => truth.post(path, &query),
        _ => (405, serde_json::json!({ "error": "GET and POST only" })),
    })
}
