//! Whatever stands in headers, cookies and stored grants: it is read or refused, and what was read reads back the same.
#![no_main]

use heldar_access::{KeyGrant, Networks, ScopeSpec, SiteCameras, TokenHash, bearer, cookies, live_token, read_live_token};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for cookie in cookies(text, "heldar_session") {
        assert!(!cookie.is_empty() && !cookie.contains(';'));
    }
    let _kind = TokenHash::kind_of(bearer(text));
    if let Some(hash) = TokenHash::from_hex(text) {
        assert_eq!(hash.to_hex(), text);
    }
    if let Some((expires, credential)) = read_live_token(text) {
        assert_eq!(read_live_token(&live_token(expires, &credential)), Some((expires, credential)));
    }
    let grant = KeyGrant::stored(Some(text));
    if let KeyGrant::Explicit { .. } = &grant {
        assert_eq!(KeyGrant::stored(grant.to_stored().as_deref()), grant);
    }
    let networks = Networks::stored(text);
    // What cannot be read lets nobody in.
    let is_json = text.parse::<serde_json::Value>().is_ok();
    assert!(is_json || !networks.allow(std::net::Ipv4Addr::LOCALHOST.into()));
    let parts: Vec<&str> = text.splitn(3, '\n').collect();
    if let [kind, cameras, sites] = parts[..] {
        let spec = ScopeSpec::stored(kind, cameras, sites);
        assert_eq!(spec.resolve(&SiteCameras::default()).is_all(), kind == ScopeSpec::KIND_ALL);
    }
});
