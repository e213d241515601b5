//! The ports of the API and of restream: free, or held by a Heldar that runs.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use heldar_config::{Finding, Level, Settings, TlsMode};

use super::finding;

const WAIT: Duration = Duration::from_secs(2);
/// Longest part of an answer that is read.
const LONGEST: usize = 4096;

/// A port that the server listens on.
#[derive(Clone, Copy, Debug)]
struct Port {
    variable: &'static str,
    /// Asks whoever listens there; only Heldar gives an answer with `marks` in it.
    question: &'static str,
    marks: [&'static str; 2],
    /// What else can be done when it is taken.
    or_else: &'static str,
}

const API: Port = Port {
    variable: "HELDAR_API_PORT",
    question: "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    marks: ["HTTP/1.1200", r#"{"status":"ok"}"#],
    or_else: "",
};
/// What is asked is plain HTTP; a port that speaks TLS says so.
const API_OVER_TLS: Port = Port { marks: ["HTTP/1.1400", "thisportspeaksTLS"], ..API };
const REDIRECT: Port = Port {
    variable: "HELDAR_HTTP_REDIRECT_PORT",
    question: "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    marks: ["HTTP/1.1308", "ThisserverspeaksTLS"],
    or_else: " or leave it unset",
};
const RESTREAM: Port = Port {
    variable: "HELDAR_RTSP_PORT",
    question: "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
    marks: ["RTSP/1.0200", "Server:Heldar\r\n"],
    or_else: " (0 switches restream off)",
};

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let host = settings.api.bind.to_string();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let tls = settings.tls.mode() != TlsMode::Off;
    match (bare, settings.api.port).to_socket_addrs() {
        Ok(addresses) => {
            let both = |at: SocketAddr| {
                let rtsp = settings.live.rtsp_port.map(|port| SocketAddr::new(at.ip(), port));
                let redirect =
                    settings.tls.redirect_port.filter(|_| tls).map(|port| SocketAddr::new(at.ip(), port));
                [
                    address(at, if tls { API_OVER_TLS } else { API }),
                    rtsp.and_then(|at| address(at, RESTREAM)),
                    redirect.and_then(|at| address(at, REDIRECT)),
                ]
            };
            addresses.flat_map(both).flatten().collect()
        }
        Err(error) => {
            let text = format!("HELDAR_API_HOST: `{host}` names no address: {error}");
            vec![finding(Level::Warning, "host_unknown", "HELDAR_API_HOST", text)]
        }
    }
}

fn address(address: SocketAddr, port: Port) -> Option<Finding> {
    let Port { variable, or_else, .. } = port;
    let error = match TcpListener::bind(address) {
        Ok(_freed_at_once) => return None,
        Err(error) => error,
    };
    let (level, code, text) = match error.kind() {
        io::ErrorKind::AddrInUse if is_heldar(address, port) => {
            (Level::Notice, "server_running", format!("a Heldar server answers at {address}"))
        }
        io::ErrorKind::AddrInUse => (
            Level::Warning,
            "port_in_use",
            format!("{address} is used by another program: stop it or set {variable}{or_else}"),
        ),
        io::ErrorKind::PermissionDenied => (
            Level::Warning,
            "port_denied",
            format!("this user may not listen at {address}: set {variable} to 1024 or above"),
        ),
        _ => (Level::Warning, "port_unusable", format!("{address} cannot be listened on: {error}")),
    };
    let variable = if error.kind() == io::ErrorKind::AddrNotAvailable { "HELDAR_API_HOST" } else { variable };
    Some(finding(level, code, variable, text))
}

/// Whether the program at an address answers as Heldar does.
fn is_heldar(mut address: SocketAddr, port: Port) -> bool {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let [begins, holds] = port.marks;
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        stream.write_all(port.question.as_bytes())?;
        let (mut answer, mut part) = (Vec::new(), [0; 512]);
        // An RTSP server keeps the connection open after its answer.
        while answer.len() < LONGEST {
            let read = stream.read(&mut part)?;
            answer.extend_from_slice(part.get(..read).unwrap_or_default());
            let text = String::from_utf8_lossy(&answer).replace(' ', "");
            if text.starts_with(begins) && text.contains(holds) {
                return Ok(true);
            }
            if read == 0 {
                break;
            }
        }
        Ok(false)
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found while a program listens that says `answer` to whoever connects.
    fn found_beside(port: Port, answer: &'static str) -> Option<&'static str> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _peer) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            drop(stream);
            listener
        });
        let code = address(at, port).map(|finding| finding.code);
        drop(other.join().unwrap());
        assert_eq!(address(at, port), None, "free again");
        code
    }

    #[test]
    fn who_has_the_port() {
        let heldar = "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ok\"}";
        assert_eq!(found_beside(API, "SSH-2.0-OpenSSH\r\n"), Some("port_in_use"));
        assert_eq!(found_beside(API, "HTTP/1.1 200 OK\r\n\r\nhello"), Some("port_in_use"));
        assert_eq!(found_beside(API, heldar), Some("server_running"));
        let ours = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nServer: Heldar\r\n\r\n";
        assert_eq!(found_beside(RESTREAM, heldar), Some("port_in_use"));
        assert_eq!(
            found_beside(RESTREAM, "RTSP/1.0 200 OK\r\nServer: gortsplib\r\n\r\n"),
            Some("port_in_use")
        );
        assert_eq!(found_beside(RESTREAM, ours), Some("server_running"));
        assert_eq!(found_beside(API_OVER_TLS, heldar), Some("port_in_use"));
        let over_tls =
            "HTTP/1.1 400 Bad Request\r\n\r\n{\"error\":\"this port speaks TLS: the address begins with\"}";
        assert_eq!(found_beside(API_OVER_TLS, over_tls), Some("server_running"));
        let redirect = "HTTP/1.1 308 Permanent Redirect\r\n\r\nThis server speaks TLS.\n";
        assert_eq!(found_beside(REDIRECT, redirect), Some("server_running"));
    }

    #[test]
    fn an_address_of_another_machine() {
        // 192.0.2.0/24 is for documentation (RFC 5737 3).
        let found = address("192.0.2.1:8000".parse().unwrap(), API).unwrap();
        assert_eq!((found.code, found.variable.as_deref()), ("port_unusable", Some("HELDAR_API_HOST")));
    }
}
