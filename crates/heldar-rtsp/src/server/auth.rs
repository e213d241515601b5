//! Basic and Digest authentication (RFC 7617, RFC 2617, RFC 7616) of users with passwords.
//!
//! Owns: what a client presented ([`Credentials`]) and how it is checked against an account ([`Challenger`]). Who may see
//! what is the host's decision.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heldar_base::Secret;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::random;
use super::target;

/// What the `Authorization` header of a request holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// User and password as they are.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: Secret<String>,
    },
    /// Proof that a password is known.
    Digest(Box<Digest>),
}

/// Parameters of a Digest proof (RFC 2617 3.2.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    username: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    /// `qop`, `nc` and `cnonce` if the client answers in the manner of RFC 2617; older clients leave them out.
    qop: Option<(String, String, String)>,
}

/// Hash of a Digest challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// What every client and camera speaks.
    Md5,
    /// RFC 7616.
    Sha256,
}

impl Algorithm {
    fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn hex_of(self, text: &str) -> String {
        match self {
            Algorithm::Md5 => random::to_hex(&Md5::digest(text)),
            Algorithm::Sha256 => random::to_hex(&Sha256::digest(text)),
        }
    }
}

impl Digest {
    /// Whose password it is to prove.
    pub fn username(&self) -> &str {
        &self.username
    }
}

impl Credentials {
    /// Reads the header's value; `None` if it is of no scheme known here or malformed.
    pub fn parse(header: &str) -> Option<Credentials> {
        let (scheme, rest) = header.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("Basic") {
            let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
            let (user, password) = text.split_once(':')?;
            return Some(Credentials::Basic {
                user: user.to_owned(),
                password: Secret::new(password.to_owned()),
            });
        }
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let parameters = parameters(rest)?;
        let get = |name: &str| {
            parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
        };
        let algorithm = match get("algorithm") {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        let qop = match get("qop") {
            None => None,
            Some(qop) if qop == "auth" => Some((qop, get("nc")?, get("cnonce")?)),
            Some(_) => return None,
        };
        Some(Credentials::Digest(Box::new(Digest {
            username: get("username")?,
            realm: get("realm")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            response: get("response")?,
            algorithm,
            qop,
        })))
    }
}

/// `name=value` pairs with commas between; values are tokens or quoted strings.
fn parameters(text: &str) -> Option<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, tail) = rest.split_once('=')?;
        let (value, tail) = match tail.trim_start().strip_prefix('"') {
            Some(quoted) => quoted_string(quoted)?,
            None => {
                let end = tail.find(',').unwrap_or(tail.len());
                (tail[..end].trim().to_owned(), &tail[end..])
            }
        };
        pairs.push((name.trim().to_owned(), value));
        let tail = tail.trim_start();
        rest = match tail.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if tail.is_empty() => tail,
            None => return None,
        };
    }
    Some(pairs)
}

/// The value of a quoted string whose opening quote is gone, and what follows its closing one.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

/// A scheme that a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RFC 7617.
    Basic,
    /// MD5 without `qop`, as cameras do, or SHA-256 with it (RFC 7616).
    Digest(Algorithm),
}

/// A user who may enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// User name.
    pub user: String,
    /// Password.
    pub password: Secret<String>,
}

/// Outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is the account's user.
    Passed,
    /// It is the account's user, whose proof is too old: ask again.
    Stale,
    /// It is not.
    Failed,
}

/// Makes challenges and checks what is presented against them. Nonces carry their own age under a secret of this value,
/// so that nothing has to be kept per client.
#[derive(Debug)]
pub struct Challenger {
    realm: String,
    schemes: Vec<Scheme>,
    nonce_lifetime: Duration,
    key: Secret<Vec<u8>>,
    origin: Instant,
}

impl Challenger {
    /// Offers `schemes`, the most wanted first; nonces are good for `nonce_lifetime`.
    pub fn new(realm: &str, schemes: Vec<Scheme>, nonce_lifetime: Duration) -> Self {
        Challenger {
            realm: realm.to_owned(),
            schemes,
            nonce_lifetime,
            key: Secret::new(random::bytes::<16>().to_vec()),
            origin: Instant::now(),
        }
    }

    /// Values of the `WWW-Authenticate` headers of a 401 response after a check that was not passed.
    pub fn challenges(&self, after: Check) -> Vec<String> {
        let nonce = self.nonce(self.now_ms());
        self.schemes
            .iter()
            .map(|scheme| match scheme {
                Scheme::Basic => format!("Basic realm=\"{}\"", self.realm),
                Scheme::Digest(algorithm) => {
                    let stale = if after == Check::Stale { ", stale=TRUE" } else { "" };
                    let name = algorithm.name();
                    // RFC 7616 3.3 requires `qop`, cameras with MD5 leave it out.
                    let qop = if *algorithm == Algorithm::Md5 { "" } else { ", qop=\"auth\"" };
                    format!(
                        "Digest realm=\"{}\", nonce=\"{nonce}\", algorithm={name}{qop}{stale}",
                        self.realm
                    )
                }
            })
            .collect()
    }

    /// Checks what was presented with a request of `method` for `uri`.
    pub fn check(
        &self,
        account: &Account,
        credentials: Option<&Credentials>,
        method: &str,
        uri: &str,
    ) -> Check {
        let passed = match credentials {
            None => false,
            Some(Credentials::Basic { user, password }) => {
                self.schemes.contains(&Scheme::Basic)
                    & equal(user, &account.user)
                    & equal(password.expose(), account.password.expose())
            }
            Some(Credentials::Digest(digest)) => {
                self.schemes.contains(&Scheme::Digest(digest.algorithm))
                    && digest.realm == self.realm
                    && same_target(&digest.uri, uri)
                    && equal(&digest.username, &account.user)
                    && equal(&digest.response.to_ascii_lowercase(), &expected(digest, account, method))
            }
        };
        match credentials {
            Some(Credentials::Digest(digest)) if passed && !self.is_fresh(&digest.nonce) => Check::Stale,
            _ if passed => Check::Passed,
            _ => Check::Failed,
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A nonce made at `made_ms`: that time and a hash of it with the secret.
    fn nonce(&self, made_ms: u64) -> String {
        let mut hash = Sha256::new();
        hash.update(self.key.expose());
        hash.update(made_ms.to_be_bytes());
        let hash = hash.finalize();
        format!("{made_ms:016x}{}", random::to_hex(hash.get(..16).unwrap_or_default()))
    }

    fn is_fresh(&self, nonce: &str) -> bool {
        let Some(Ok(made_ms)) = nonce.get(..16).map(|text| u64::from_str_radix(text, 16)) else {
            return false;
        };
        let age = Duration::from_millis(self.now_ms().saturating_sub(made_ms));
        equal(nonce, &self.nonce(made_ms)) && age <= self.nonce_lifetime
    }
}

/// Clients put the URI of the request into the proof, some with other slashes at its end.
fn same_target(claimed: &str, actual: &str) -> bool {
    match (target::parse(claimed), target::parse(actual)) {
        (Some(claimed), Some(actual)) => claimed.path == actual.path,
        _ => false,
    }
}

/// RFC 2617 3.2.2.1; without `qop` the form of RFC 2069.
fn expected(digest: &Digest, account: &Account, method: &str) -> String {
    let Digest { realm, nonce, uri, algorithm, .. } = digest;
    let secret = Secret::new(format!("{}:{realm}:{}", account.user, account.password.expose()));
    let first = algorithm.hex_of(secret.expose());
    let second = algorithm.hex_of(&format!("{method}:{uri}"));
    match &digest.qop {
        Some((qop, count, client_nonce)) => {
            algorithm.hex_of(&format!("{first}:{nonce}:{count}:{client_nonce}:{qop}:{second}"))
        }
        None => algorithm.hex_of(&format!("{first}:{nonce}:{second}")),
    }
}

/// Compares in a time that depends on the lengths alone.
fn equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account() -> Account {
        Account { user: "admin".to_owned(), password: Secret::new("p:w,\"x".to_owned()) }
    }

    fn challenger(schemes: Vec<Scheme>, lifetime: Duration) -> Challenger {
        Challenger::new("cam", schemes, lifetime)
    }

    fn answer(challenge: &str, algorithm: Algorithm, password: &str, uri: &str, qop: bool) -> Credentials {
        let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
        let first = algorithm.hex_of(&format!("admin:cam:{password}"));
        let second = algorithm.hex_of(&format!("PLAY:{uri}"));
        let (response, extra) = if qop {
            (
                algorithm.hex_of(&format!("{first}:{nonce}:00000001:abc:auth:{second}")),
                ", qop=auth, nc=00000001, cnonce=\"abc\"",
            )
        } else {
            (algorithm.hex_of(&format!("{first}:{nonce}:{second}")), "")
        };
        let name = algorithm.name();
        Credentials::parse(&format!(
            "Digest username=\"admin\", realm=\"cam\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", algorithm={name}{extra}"
        ))
        .unwrap()
    }

    #[test]
    fn digest_answers() {
        let long = Duration::from_secs(60);
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let challenger = challenger(vec![Scheme::Digest(algorithm)], long);
            let challenge = challenger.challenges(Check::Failed).remove(0);
            let uri = "rtsp://h/cam1/";
            let check = |credentials: &Credentials, method: &str, uri: &str| {
                challenger.check(&account(), Some(credentials), method, uri)
            };
            for qop in [false, true] {
                let good = answer(&challenge, algorithm, "p:w,\"x", uri, qop);
                assert_eq!(check(&good, "PLAY", uri), Check::Passed);
                assert_eq!(check(&good, "PLAY", "rtsp://h/cam1"), Check::Passed);
                assert_eq!(check(&good, "SETUP", uri), Check::Failed);
                assert_eq!(check(&good, "PLAY", "rtsp://h/cam2"), Check::Failed);
                assert_eq!(
                    check(&answer(&challenge, algorithm, "bad", uri, qop), "PLAY", uri),
                    Check::Failed
                );
            }
        }
    }

    #[test]
    fn nonces_age_and_are_ours() {
        let uri = "rtsp://h/cam1";
        let strict = challenger(vec![Scheme::Digest(Algorithm::Md5)], Duration::ZERO);
        let old = format!("x nonce=\"{}\"", strict.nonce(strict.now_ms()));
        let credentials = answer(&old, Algorithm::Md5, "p:w,\"x", uri, false);
        while strict.now_ms() == 0 {
            std::hint::spin_loop();
        }
        assert_eq!(strict.check(&account(), Some(&credentials), "PLAY", uri), Check::Stale);
        assert!(strict.challenges(Check::Stale)[0].ends_with("stale=TRUE"));
        let other = challenger(vec![Scheme::Digest(Algorithm::Md5)], Duration::from_secs(60));
        let foreign = answer(&other.challenges(Check::Failed)[0], Algorithm::Md5, "p:w,\"x", uri, false);
        assert_eq!(strict.check(&account(), Some(&foreign), "PLAY", uri), Check::Stale);
    }

    #[test]
    fn basic_only_where_offered() {
        let header = format!("Basic {}", STANDARD.encode("admin:p:w,\"x"));
        let good = Credentials::parse(&header).unwrap();
        let bad = Credentials::parse(&format!("Basic {}", STANDARD.encode("admin:p:w"))).unwrap();
        let basic = challenger(vec![Scheme::Basic], Duration::from_secs(1));
        assert_eq!(basic.check(&account(), Some(&good), "PLAY", "*"), Check::Passed);
        assert_eq!(basic.check(&account(), Some(&bad), "PLAY", "*"), Check::Failed);
        assert_eq!(basic.check(&account(), None, "PLAY", "*"), Check::Failed);
        let digest = challenger(vec![Scheme::Digest(Algorithm::Md5)], Duration::from_secs(1));
        assert_eq!(digest.check(&account(), Some(&good), "PLAY", "*"), Check::Failed);
    }

    #[test]
    fn headers_that_are_nothing() {
        for header in
            ["", "Basic", "Basic !!", "Bearer x", "Digest username", "Digest username=\"x", "Digest a=b"]
        {
            assert_eq!(Credentials::parse(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_survived(text in "(Digest|Basic)? ?[ -~]{0,60}") {
            let _outcome = Credentials::parse(&text);
        }

        #[test]
        fn quoted_values_are_read_as_meant(value in "[ -~]{0,20}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            let expect = vec![("a".to_owned(), value), ("b".to_owned(), "c".to_owned())];
            prop_assert_eq!(parameters(&format!("a=\"{quoted}\", b=c")), Some(expect));
        }
    }
}
