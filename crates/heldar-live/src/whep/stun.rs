//! For whom a STUN message is: as much of RFC 8489 as routing needs.
//!
//! Owns: reading the user name of a binding request. Never: trusts it. Whether the message is genuine is for the session
//! that is named, which knows the password.

/// Type of a binding request (RFC 8489 5).
const BINDING_REQUEST: [u8; 2] = [0, 1];
/// Magic cookie (RFC 8489 5).
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Attribute type of USERNAME (RFC 8489 14.3).
const USERNAME: u16 = 6;

/// The fragment of the user name that this side gave out: USERNAME is `receiver:sender` (RFC 8445 7.2.2).
pub(super) fn addressee(datagram: &[u8]) -> Option<&str> {
    let (header, mut rest) = datagram.split_first_chunk::<20>()?;
    if header[..2] != BINDING_REQUEST || header[4..8] != COOKIE {
        return None;
    }
    loop {
        let (head, body) = rest.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if u16::from_be_bytes([head[0], head[1]]) == USERNAME {
            let name = std::str::from_utf8(body.get(..len)?).ok()?;
            return name.split_once(':').map(|(receiver, _)| receiver);
        }
        // Attributes are padded to four bytes (RFC 8489 14).
        rest = body.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut out = vec![0, 1];
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(COOKIE);
        out.extend([9; 12]);
        out.extend(body);
        out
    }

    #[test]
    fn the_receiver_of_a_binding_request_is_found() {
        let message = request(&[(0x24, &[1, 2, 3, 4]), (0x8022, b"odd"), (USERNAME, b"here:there")]);
        assert_eq!(addressee(&message), Some("here"));
        assert_eq!(addressee(&request(&[(0x24, &[1, 2, 3, 4])])), None);
        assert_eq!(addressee(&request(&[(USERNAME, b"nocolon")])), None);
        let mut answer = message.clone();
        answer[0] = 1;
        assert_eq!(addressee(&answer), None);
        for cut in 0..message.len() - 1 {
            let _ = addressee(&message[..cut]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(tail in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut message = request(&[]);
            message.extend(tail);
            let _ = addressee(&message);
        }
    }
}
