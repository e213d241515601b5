//! The port of the API: free, or held by a Heldar that runs.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use heldar_config::{Finding, Level, Settings};

use super::finding;

const WAIT: Duration = Duration::from_secs(2);
/// Longest part of an answer that is read.
const LONGEST: u64 = 4096;

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let host = settings.api.bind.to_string();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match (bare, settings.api.port).to_socket_addrs() {
        Ok(addresses) => addresses.filter_map(address).collect(),
        Err(error) => {
            let text = format!("HELDAR_API_HOST: `{host}` names no address: {error}");
            vec![finding(Level::Warning, "host_unknown", "HELDAR_API_HOST", text)]
        }
    }
}

fn address(address: SocketAddr) -> Option<Finding> {
    let error = match TcpListener::bind(address) {
        Ok(_freed_at_once) => return None,
        Err(error) => error,
    };
    let (level, code, text) = match error.kind() {
        io::ErrorKind::AddrInUse if is_heldar(address) => {
            (Level::Notice, "server_running", format!("a Heldar server answers at {address}"))
        }
        io::ErrorKind::AddrInUse => (
            Level::Warning,
            "port_in_use",
            format!("{address} is used by another program: stop it or set HELDAR_API_PORT"),
        ),
        io::ErrorKind::PermissionDenied => (
            Level::Warning,
            "port_denied",
            format!("this user may not listen at {address}: set HELDAR_API_PORT to 1024 or above"),
        ),
        _ => (Level::Warning, "port_unusable", format!("{address} cannot be listened on: {error}")),
    };
    let variable =
        if error.kind() == io::ErrorKind::AddrNotAvailable { "HELDAR_API_HOST" } else { "HELDAR_API_PORT" };
    Some(finding(level, code, variable, text))
}

/// Whether the program at an address answers `/healthz` as Heldar does.
fn is_heldar(mut address: SocketAddr) -> bool {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, WAIT)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| {
        answer.starts_with("HTTP/1.1 200 ") && answer.replace(' ', "").contains(r#"{"status":"ok"}"#)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found while a program listens that says `answer` to whoever connects.
    fn found_beside(answer: &'static str) -> Option<&'static str> {
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
        let code = address(at).map(|finding| finding.code);
        drop(other.join().unwrap());
        assert_eq!(address(at), None, "free again");
        code
    }

    #[test]
    fn who_has_the_port() {
        assert_eq!(found_beside("SSH-2.0-OpenSSH\r\n"), Some("port_in_use"));
        assert_eq!(found_beside("HTTP/1.1 200 OK\r\n\r\nhello"), Some("port_in_use"));
        assert_eq!(found_beside("HTTP/1.1 200 OK\r\n\r\n{\"status\":\"ok\"}"), Some("server_running"));
    }

    #[test]
    fn an_address_of_another_machine() {
        // 192.0.2.0/24 is for documentation (RFC 5737 3).
        let found = address("192.0.2.1:8000".parse().unwrap()).unwrap();
        assert_eq!((found.code, found.variable.as_deref()), ("port_unusable", Some("HELDAR_API_HOST")));
    }
}
