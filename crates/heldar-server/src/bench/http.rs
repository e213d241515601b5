//! The little of an HTTP/1.1 client (RFC 9112) that measuring needs: one connection, one request at a time.
//!
//! Owns: the connection, which is kept between requests so that a figure holds no connecting. Every request has a limit
//! in time and every answer one in bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// Longest head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// Longest body of an answer.
const MAX_BODY: usize = 64 << 20;
/// Longest time for a request unless told otherwise.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Status code.
    pub(super) status: u16,
    /// Lines of its head behind the first.
    fields: Vec<String>,
    /// Body.
    pub(super) body: Vec<u8>,
    /// From sending the request to the last byte of the answer.
    pub(super) took: Duration,
}

impl Answer {
    /// A field of its head.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The JSON of a success.
    ///
    /// # Errors
    /// Any other status: with what the body says.
    pub(super) fn success(&self) -> Result<Value, String> {
        if (200..300).contains(&self.status) {
            return Ok(self.json());
        }
        let text = String::from_utf8_lossy(&self.body);
        Err(format!("status {}: {}", self.status, self.json()["error"].as_str().unwrap_or(&text)))
    }
}

/// How the body of an answer ends (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// The head of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    framing: Framing,
    close: bool,
    fields: Vec<String>,
}

/// A request; `fields` are further lines of its head.
#[derive(Clone, Copy)]
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    fields: &'a str,
    body: Body<'a>,
}

/// What is sent along.
#[derive(Clone, Copy, Debug)]
enum Body<'a> {
    None,
    Json(&'a Value),
    Sdp(&'a str),
}

/// A client of one server.
#[derive(Debug)]
pub(super) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    limit: Duration,
    /// Where it connects from, where that matters.
    local: Option<IpAddr>,
}

impl Client {
    /// A client that connects when it is first used.
    pub(super) fn new(address: SocketAddr) -> Self {
        Client { address, connection: None, limit: LIMIT, local: None }
    }

    /// The same with another limit for each request.
    pub(super) fn patient(self, limit: Duration) -> Self {
        Client { limit, ..self }
    }

    /// The same from an address of this machine.
    pub(super) fn at(self, local: IpAddr) -> Self {
        Client { local: Some(local), ..self }
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// No answer in time.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.request("GET", path, None).await
    }

    /// Sends a GET with further header fields, each a line with its end.
    ///
    /// # Errors
    /// No answer in time.
    pub(super) async fn get_with(&mut self, path: &str, fields: &str) -> Result<Answer, String> {
        self.exchange_in_time(Request { method: "GET", path, fields, body: Body::None }).await
    }

    /// Sends a GET for a range of bytes, `(offset, length)`.
    ///
    /// # Errors
    /// No answer in time.
    pub(super) async fn get_range(
        &mut self,
        path: &str,
        (offset, len): (u64, u64),
    ) -> Result<Answer, String> {
        let range = format!("Range: bytes={offset}-{}\r\n", (offset + len).saturating_sub(1));
        self.exchange_in_time(Request { method: "GET", path, fields: &range, body: Body::None }).await
    }

    /// Sends JSON by POST.
    ///
    /// # Errors
    /// No answer in time.
    pub(super) async fn post(&mut self, path: &str, body: &Value) -> Result<Answer, String> {
        self.request("POST", path, Some(body)).await
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// No answer in time.
    pub(super) async fn request(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, String> {
        let body = body.map_or(Body::None, Body::Json);
        self.exchange_in_time(Request { method, path, fields: "", body }).await
    }

    /// Sends a session description by POST.
    ///
    /// # Errors
    /// No answer in time.
    pub(super) async fn post_sdp(&mut self, path: &str, offer: &str) -> Result<Answer, String> {
        self.exchange_in_time(Request { method: "POST", path, fields: "", body: Body::Sdp(offer) }).await
    }

    async fn exchange_in_time(&mut self, request: Request<'_>) -> Result<Answer, String> {
        let limit = self.limit;
        let outcome = match tokio::time::timeout(limit, self.exchange(request)).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
        };
        if outcome.is_err() {
            self.connection = None;
        }
        outcome.map_err(|error| format!("{} {}: {error}", request.method, request.path))
    }

    /// Time from sending a GET to the first byte of its body. The rest is not read: the connection is closed.
    ///
    /// # Errors
    /// No success in time.
    pub(super) async fn first_byte(&mut self, path: &str) -> Result<Duration, String> {
        let fail = |error: std::io::Error| format!("GET {path}: {error}");
        let mut connection = self.connect().await.map_err(fail)?;
        let begun = Instant::now();
        let first = async {
            self.send(&mut connection, Request { method: "GET", path, fields: "", body: Body::None }).await?;
            let head = read_head(&mut connection).await?;
            connection.fill_buf().await.map(|bytes| (head, bytes.len()))
        };
        let (head, bytes) = match tokio::time::timeout(self.limit, first).await {
            Ok(outcome) => outcome.map_err(fail)?,
            Err(_) => return Err(format!("GET {path}: no answer within {} s", self.limit.as_secs())),
        };
        match (head.status, bytes) {
            (200..300, 1..) => Ok(begun.elapsed()),
            (status, _) => Err(format!("GET {path}: status {status}")),
        }
    }

    async fn connect(&self) -> std::io::Result<BufReader<TcpStream>> {
        let stream = match self.local {
            Some(local) => {
                let socket = if local.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.bind(SocketAddr::new(local, 0))?;
                socket.connect(self.address).await?
            }
            None => TcpStream::connect(self.address).await?,
        };
        stream.set_nodelay(true)?;
        Ok(BufReader::with_capacity(64 << 10, stream))
    }

    /// Reads the body of a GET no faster than so many bytes a second, and throws it away; the number of its bytes.
    ///
    /// # Errors
    /// No success, or nothing comes for the time that a request may take.
    pub(super) async fn drain(&mut self, path: &str, bytes_per_s: u64) -> Result<u64, String> {
        let fail = |error: std::io::Error| format!("GET {path}: {error}");
        let late = |_| format!("GET {path}: nothing within {} s", self.limit.as_secs());
        let mut connection = self.connect().await.map_err(fail)?;
        let head = async {
            self.send(&mut connection, Request { method: "GET", path, fields: "", body: Body::None }).await?;
            read_head(&mut connection).await
        };
        let head = tokio::time::timeout(self.limit, head).await.map_err(late)?.map_err(fail)?;
        let (200..300, Framing::Length(length)) = (head.status, head.framing) else {
            return Err(format!("GET {path}: status {}, {:?}", head.status, head.framing));
        };
        let (begun, length) = (Instant::now(), length as u64);
        let mut read = 0;
        while read < length {
            let part = tokio::time::timeout(self.limit, connection.fill_buf()).await;
            let part = part.map_err(late)?.map_err(fail)?.len();
            if part == 0 {
                return Err(format!("GET {path}: {read} of {length} bytes"));
            }
            connection.consume(part);
            read += part as u64;
            let due = Duration::from_secs_f64(read as f64 / bytes_per_s as f64);
            // The bytes of a moment at once, so that pacing costs little.
            if due > begun.elapsed() + Duration::from_millis(20) {
                tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            }
        }
        Ok(length)
    }

    async fn exchange(&mut self, request: Request<'_>) -> std::io::Result<Answer> {
        let (mut connection, kept) = match self.connection.take() {
            Some(connection) => (connection, true),
            None => (self.connect().await?, false),
        };
        let mut begun = Instant::now();
        let mut head = self.head_of(&mut connection, request).await;
        // A kept connection may have been closed meanwhile, before the request was seen.
        if kept && head.is_err() {
            connection = self.connect().await?;
            begun = Instant::now();
            head = self.head_of(&mut connection, request).await;
        }
        let head = head?;
        let body = read_body(&mut connection, head.framing).await?;
        let took = begun.elapsed();
        if !head.close && head.framing != Framing::UntilClose {
            self.connection = Some(connection);
        }
        Ok(Answer { status: head.status, fields: head.fields, body, took })
    }

    async fn head_of(
        &self,
        connection: &mut BufReader<TcpStream>,
        request: Request<'_>,
    ) -> std::io::Result<Head> {
        self.send(connection, request).await?;
        read_head(connection).await
    }

    async fn send(
        &self,
        connection: &mut BufReader<TcpStream>,
        Request { method, path, fields, body }: Request<'_>,
    ) -> std::io::Result<()> {
        let (content_type, body) = match body {
            Body::None => ("", String::new()),
            Body::Json(value) => ("application/json", value.to_string()),
            Body::Sdp(offer) => ("application/sdp", offer.to_owned()),
        };
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{fields}", self.address);
        if !body.is_empty() {
            let length = body.len();
            request.push_str(&format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        connection.get_mut().write_all(request.as_bytes()).await
    }
}

fn malformed(what: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what)
}

/// One line without its end.
async fn read_line(connection: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = Vec::new();
    let limit = MAX_HEAD as u64;
    (&mut *connection).take(limit).read_until(b'\n', &mut line).await?;
    match line.strip_suffix(b"\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).trim_end_matches('\r').to_owned()),
        None if line.is_empty() => Err(std::io::ErrorKind::UnexpectedEof.into()),
        None => Err(malformed("a line of the answer does not end")),
    }
}

async fn read_head(connection: &mut BufReader<TcpStream>) -> std::io::Result<Head> {
    let mut lines = vec![read_line(connection).await?];
    let mut length = 0;
    loop {
        let line = read_line(connection).await?;
        if line.is_empty() {
            return parse_head(lines).ok_or_else(|| malformed("the answer is not HTTP"));
        }
        length += line.len();
        if length > MAX_HEAD {
            return Err(malformed("the head of the answer does not end"));
        }
        lines.push(line);
    }
}

/// The value of the first field of a name.
fn field<'a>(fields: &'a [String], name: &str) -> Option<&'a str> {
    let mut found = fields.iter().filter_map(|line| line.split_once(':'));
    found.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

fn parse_head(mut lines: Vec<String>) -> Option<Head> {
    let status: u16 = lines.first()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let fields = lines.split_off(1);
    let field = |name: &str| field(&fields, name);
    let chunked = field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let framing = match field("content-length") {
        _ if chunked => Framing::Chunked,
        _ if matches!(status, 204 | 304) => Framing::Length(0),
        Some(length) => Framing::Length(length.parse().ok()?),
        None => Framing::UntilClose,
    };
    let close = field("connection").is_some_and(|word| word.eq_ignore_ascii_case("close"));
    Some(Head { status, framing, close, fields })
}

async fn read_body(connection: &mut BufReader<TcpStream>, framing: Framing) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match framing {
        Framing::Length(length) => read_part(connection, length, &mut body).await?,
        Framing::UntilClose => {
            connection.take(MAX_BODY as u64).read_to_end(&mut body).await?;
        }
        Framing::Chunked => loop {
            let line = read_line(connection).await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| malformed("a chunk has no size"))?;
            read_part(connection, size, &mut body).await?;
            // Behind the last chunk, fields that nobody needs and an empty line.
            while !read_line(connection).await?.is_empty() {}
            if size == 0 {
                break;
            }
        },
    }
    Ok(body)
}

async fn read_part(
    connection: &mut BufReader<TcpStream>,
    length: usize,
    body: &mut Vec<u8>,
) -> std::io::Result<()> {
    let at = body.len();
    if length > MAX_BODY - at.min(MAX_BODY) {
        return Err(malformed("the answer is too long"));
    }
    body.resize(at + length, 0);
    connection.read_exact(&mut body[at..]).await.map(|_read| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Serves these answers one after another on one connection, and tells how the client reads each.
    async fn answers(parts: &[&str]) -> Vec<Result<(u16, String), String>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::new(listener.local_addr().unwrap());
        let text: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            for answer in text {
                while !read_line(&mut stream).await.unwrap().is_empty() {}
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut read = Vec::new();
        for _ in parts {
            let answer = client.get("/x").await;
            read.push(answer.map(|a| (a.status, String::from_utf8(a.body).unwrap())));
        }
        server.await.unwrap();
        read
    }

    #[tokio::test]
    async fn answers_of_every_framing_on_one_connection() {
        let read = answers(&[
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\n\r\nthe end",
        ])
        .await;
        let expect = [(200, "hello"), (200, "abcde"), (204, ""), (404, "the end")];
        for (read, (status, body)) in read.into_iter().zip(expect) {
            assert_eq!(read, Ok((status, body.to_owned())));
        }
    }

    #[test]
    fn fields_by_name_whatever_the_case() {
        let lines = ["HTTP/1.1 204 No Content", "x-frame-seq: 7", "X-Other:a:b"].map(str::to_owned).to_vec();
        let head = parse_head(lines).unwrap();
        let field = |name| field(&head.fields, name);
        assert_eq!(
            (field("X-Frame-Seq"), field("x-other"), field("x-frame")),
            (Some("7"), Some("a:b"), None)
        );
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_error() {
        assert!(answers(&["SSH-2.0\r\n\r\n"]).await[0].is_err());
        assert!(answers(&["HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"]).await[0].is_err());
    }

    #[tokio::test]
    async fn only_a_first_byte_of_success_counts() {
        for (answer, good) in [
            ("HTTP/1.1 206 Partial Content\r\ncontent-length: 9\r\n\r\na", true),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 1\r\n\r\na", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = Client::new(listener.local_addr().unwrap());
            let server = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                while !read_line(&mut stream).await.unwrap().is_empty() {}
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
            });
            assert_eq!(client.first_byte("/x").await.is_ok(), good, "{answer}");
            server.await.unwrap();
        }
    }
}
