//! Which web pages may talk to the server: CORS and the same-site rule.
//!
//! Pure: the HTTP layer hands in headers and obeys the answer.

use std::fmt;

use url::Url;

/// Scheme, host and port of a page (RFC 6454 4), normalised: lowercase, without the port that the scheme implies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(String);

/// Text that is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is <scheme>://<host>[:<port>]")]
pub struct OriginError;

impl Origin {
    /// Parses an origin; a single `/` behind it is understood. `null` is none.
    ///
    /// # Errors
    /// A path, a query, userinfo, or no host.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        // The URL parser would drop these silently.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\' || c == '*') {
            return Err(OriginError);
        }
        let url = Url::parse(text).map_err(|_| OriginError)?;
        let bare = matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        match url.host_str() {
            Some(host) if bare && !host.is_empty() => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                Ok(Origin(format!("{}://{}{port}", url.scheme(), host.to_ascii_lowercase())))
            }
            _ => Err(OriginError),
        }
    }

    /// The origin of a server that is addressed by this `Host` over this scheme.
    ///
    /// # Errors
    /// A `Host` that is not a host with an optional port.
    pub fn of_host(scheme: &str, host: &str) -> Result<Self, OriginError> {
        if host.contains(['/', '?', '#', '@']) {
            return Err(OriginError);
        }
        Origin::parse(&format!("{scheme}://{host}"))
    }

    /// As in an `Origin` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for `localhost` and `127.0.0.1`, which on another machine name another server.
    pub fn is_localhost(&self) -> bool {
        let host = self.0.split_once("://").map_or("", |(_, authority)| authority);
        let name = host.split(':').next().unwrap_or_default();
        name == "localhost"
            || name.ends_with(".localhost")
            || name == "127.0.0.1"
            || host.starts_with("[::1]")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which foreign pages may read answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsPolicy {
    /// None; no CORS header is sent.
    SameOrigin,
    /// All.
    Any,
    /// These.
    List(Vec<Origin>),
}

impl CorsPolicy {
    /// The value of `Access-Control-Allow-Origin` for a request with this `Origin`; `None`: send no CORS header.
    pub fn allow_origin(&self, origin: Option<&str>) -> Option<String> {
        let origin = origin?;
        match self {
            CorsPolicy::SameOrigin => None,
            CorsPolicy::Any => Some("*".to_owned()),
            CorsPolicy::List(list) => {
                let parsed = Origin::parse(origin).ok()?;
                list.contains(&parsed).then(|| origin.to_owned())
            }
        }
    }

    fn lists(&self, origin: &Origin) -> bool {
        matches!(self, CorsPolicy::List(list) if list.contains(origin))
    }
}

/// Answer of [`origin_verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginVerdict {
    /// Go on.
    Allowed,
    /// 403 `forbidden`, reason `origin_not_allowed`.
    NotAllowed,
}

/// The same-site rule for a state-changing request, WebSocket upgrade or event stream that is authorised by cookie or by
/// open access. Requests with a Bearer token or `X-API-Key` are exempt and must not be asked about.
///
/// `own` are the origins under which this server is known: by the request's `Host` and by its public URLs. A policy of
/// [`CorsPolicy::Any`] lists no origin: it lets every page read what needs no credential, and act by none. A client
/// without `Origin` and `Sec-Fetch-Site` is no browser.
pub fn origin_verdict(
    own: &[Origin],
    cors: &CorsPolicy,
    origin: Option<&str>,
    sec_fetch_site: Option<&str>,
) -> OriginVerdict {
    let cross_site = sec_fetch_site.is_some_and(|site| site.trim().eq_ignore_ascii_case("cross-site"));
    let origin_known = origin.is_none_or(|text| {
        Origin::parse(text.trim()).is_ok_and(|origin| own.contains(&origin) || cors.lists(&origin))
    });
    if origin_known && !cross_site { OriginVerdict::Allowed } else { OriginVerdict::NotAllowed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    #[test]
    fn origins() {
        for (text, expect) in [
            ("http://localhost:5173", Some("http://localhost:5173")),
            ("HTTP://LocalHost:80", Some("http://localhost")),
            ("https://nvr.example:443/", Some("https://nvr.example")),
            ("https://[::1]:8443", Some("https://[::1]:8443")),
            ("capacitor://localhost", Some("capacitor://localhost")),
            ("null", None),
            ("", None),
            ("localhost:5173", None),
            ("https://a/b", None),
            ("https://u@a", None),
            ("https://a?b", None),
            ("https://a b", None),
            ("https://a\n", None),
            ("https://*.example", None),
            ("file:///", None),
        ] {
            assert_eq!(Origin::parse(text).ok().as_ref().map(Origin::as_str), expect, "{text}");
        }
        for (host, ok) in
            [("nvr:8000", true), ("[::1]:8000", true), ("a/b", false), ("u@a", false), ("", false)]
        {
            assert_eq!(Origin::of_host("http", host).is_ok(), ok, "{host}");
        }
        for (text, local) in [
            ("http://localhost:5173", true),
            ("http://127.0.0.1", true),
            ("http://app.localhost", true),
            ("http://[::1]:1", true),
            ("http://localhost.example", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(origin(text).is_localhost(), local, "{text}");
        }
    }

    #[test]
    fn cors_answers() {
        let list = CorsPolicy::List(vec![origin("https://a.example")]);
        for (policy, from, expect) in [
            (&CorsPolicy::SameOrigin, Some("https://a.example"), None),
            (&CorsPolicy::Any, Some("https://b.example"), Some("*")),
            (&CorsPolicy::Any, None, None),
            (&list, Some("https://a.example"), Some("https://a.example")),
            (&list, Some("https://b.example"), None),
            (&list, Some("null"), None),
            (&list, None, None),
        ] {
            assert_eq!(policy.allow_origin(from).as_deref(), expect, "{policy:?} {from:?}");
        }
    }

    #[test]
    fn same_site_rule() {
        let own = [origin("http://nvr:8000"), origin("https://nvr.example")];
        let list = CorsPolicy::List(vec![origin("http://localhost:5173")]);
        let (yes, no) = (OriginVerdict::Allowed, OriginVerdict::NotAllowed);
        for (cors, from, site, expect) in [
            (&list, None, None, yes),
            (&list, None, Some("same-origin"), yes),
            (&list, None, Some("none"), yes),
            (&list, None, Some("cross-site"), no),
            (&list, None, Some("Cross-Site"), no),
            (&list, Some("http://nvr:8000"), Some("same-origin"), yes),
            (&list, Some("https://nvr.example"), None, yes),
            (&list, Some("https://nvr:8000"), None, no),
            (&list, Some("http://nvr"), None, no),
            (&list, Some("http://localhost:5173"), Some("same-site"), yes),
            (&list, Some("http://localhost:5173"), Some("cross-site"), no),
            (&list, Some("http://evil.example"), None, no),
            (&list, Some("null"), None, no),
            (&list, Some(""), None, no),
            (&CorsPolicy::SameOrigin, Some("http://localhost:5173"), None, no),
            (&CorsPolicy::SameOrigin, Some("http://nvr:8000"), None, yes),
            (&CorsPolicy::Any, Some("http://evil.example"), None, no),
            (&CorsPolicy::Any, Some("http://nvr:8000"), None, yes),
        ] {
            assert_eq!(origin_verdict(&own, cors, from, site), expect, "{cors:?} {from:?} {site:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(text in "[a-z]{0,6}(://)?.{0,30}") {
            if let Ok(origin) = Origin::parse(&text) {
                prop_assert_eq!(Origin::parse(origin.as_str()), Ok(origin.clone()));
            }
            let _outcome = Origin::of_host("http", &text);
        }
    }
}
