//! The `Transport` header (RFC 2326 12.39).

/// How a client wants the packets of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Interleaved with the requests, on these channels; `None` leaves the choice to the server.
    Interleaved(Option<(u8, u8)>),
    /// As datagrams to these ports of the client's address.
    Udp {
        /// Port for RTP.
        rtp: u16,
        /// Port for RTCP.
        rtcp: u16,
    },
}

/// The alternatives a header offers that the server can serve, in the client's order of preference.
///
/// A `destination` is ignored: packets go to no address but that of the requester, so that the server can't be turned on
/// others.
pub(super) fn parse(header: &str) -> Vec<Wanted> {
    header.split(',').filter_map(parse_one).collect()
}

fn parse_one(spec: &str) -> Option<Wanted> {
    let mut fields = spec.split(';').map(str::trim);
    let profile = fields.next()?;
    let tcp = profile.eq_ignore_ascii_case("RTP/AVP/TCP");
    if !tcp && !profile.eq_ignore_ascii_case("RTP/AVP") && !profile.eq_ignore_ascii_case("RTP/AVP/UDP") {
        return None;
    }
    let (mut interleaved, mut client_port) = (None, None);
    for field in fields {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        match name.to_ascii_lowercase().as_str() {
            "multicast" => return None,
            "interleaved" => interleaved = Some(pair::<u8>(value)?),
            "client_port" => client_port = Some(pair::<u16>(value)?),
            "mode" if !value.trim_matches('"').eq_ignore_ascii_case("play") => return None,
            _ => {}
        }
    }
    if tcp {
        return Some(Wanted::Interleaved(interleaved));
    }
    let (rtp, rtcp) = client_port?;
    (rtp != 0 && rtcp != 0).then_some(Wanted::Udp { rtp, rtcp })
}

/// `a-b`, or `a` alone for `a` and its successor; both differ.
fn pair<T>(text: &str) -> Option<(T, T)>
where
    T: Copy + PartialEq + std::str::FromStr + TryFrom<u32> + Into<u32>,
{
    let (first, second) = match text.split_once('-') {
        Some((first, second)) => (first.trim().parse::<T>().ok()?, second.trim().parse::<T>().ok()?),
        None => {
            let first = text.trim().parse::<T>().ok()?;
            let next: u32 = first.into();
            (first, T::try_from(next + 1).ok()?)
        }
    };
    (first != second).then_some((first, second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(header: &str, expect: &[Wanted]) {
        assert_eq!(parse(header), expect, "{header}");
    }

    #[test]
    fn headers() {
        use Wanted::*;
        check("RTP/AVP/TCP;unicast;interleaved=0-1", &[Interleaved(Some((0, 1)))]);
        check("RTP/AVP/TCP;interleaved=4", &[Interleaved(Some((4, 5)))]);
        check("RTP/AVP/TCP", &[Interleaved(None)]);
        check("RTP/AVP;unicast;client_port=5000-5001", &[Udp { rtp: 5000, rtcp: 5001 }]);
        check("RTP/AVP/UDP;unicast;client_port=5000", &[Udp { rtp: 5000, rtcp: 5001 }]);
        check(
            "RTP/AVP;multicast, RTP/AVP;unicast;client_port=1-2, RTP/AVP/TCP;interleaved=2-3",
            &[Udp { rtp: 1, rtcp: 2 }, Interleaved(Some((2, 3)))],
        );
        check("RTP/AVP/TCP;unicast;interleaved=0-1;mode=\"PLAY\"", &[Interleaved(Some((0, 1)))]);
        check("RTP/AVP/TCP;interleaved=0-1;mode=record", &[]);
        check("RTP/AVP;unicast", &[]);
        check("RTP/AVP;client_port=0-1", &[]);
        check("RTP/AVP;client_port=65535", &[]);
        check("RTP/AVP/TCP;interleaved=255", &[]);
        check("RTP/AVP/TCP;interleaved=3-3", &[]);
        check("RTP/AVP/TCP;interleaved=256-257", &[]);
        check("RTP/SAVP;unicast;client_port=5000-5001", &[]);
        check("", &[]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(RTP/AVP[/TCPUD;a-z=0-9-]{0,40},?){0,3}.{0,10}") {
            let _outcome = parse(&text);
        }
    }
}
