//! Tokens that open a live view (auth-system.md 14): `v2.<expiry>.<kind>.<subject>.<HMAC-SHA256>`.
//!
//! Owns: their form and the key they are signed with, which lies in the store, sealed like every secret there, so that a
//! token survives a restart. A token is bound to one name of a live view by its signature, and names the credential whose
//! end ends it. Never: decides what that credential may see.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use heldar_access::{live_token, read_live_token};
use heldar_base::{Clock as _, Credential, Micros, Scope, Secret, WallTime};
use heldar_ingest::SystemClock;
use heldar_store::Store;
use heldar_store::op::PutSetting;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::name::LiveName;
use crate::secrets::{Sealer, SecretError};

/// Key of the setting that holds the signing key.
pub(crate) const KEY: &str = "live_token_key";
/// Makes and checks tokens.
pub struct LiveTokens {
    key: Secret<Vec<u8>>,
    ttl: Micros,
    clock: SystemClock,
}

impl std::fmt::Debug for LiveTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LiveTokens").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// What is wrong with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// It is none of ours, or of another name.
    Invalid,
    /// Its time is over; it stood for this credential. What it has opened goes on.
    Expired(Credential),
}

impl LiveTokens {
    /// With the store's key; a store without one gets one.
    ///
    /// # Errors
    /// The key cannot be opened, made or stored.
    pub async fn open(
        ttl: Micros,
        store: &Store,
        sealer: &Sealer,
        clock: SystemClock,
    ) -> Result<Self, SecretError> {
        let stored = store.settings(&Scope::All).await?.into_iter().find(|setting| setting.key == KEY);
        let key = match stored {
            Some(setting) => {
                let text = sealer.open_value("setting", KEY, KEY, &Secret::new(setting.value))?;
                URL_SAFE_NO_PAD.decode(text.expose()).map_err(|_| SecretError::Unreadable)?
            }
            None => {
                let mut key = vec![0u8; 32];
                getrandom::fill(&mut key).map_err(|_| SecretError::Random)?;
                let sealed =
                    sealer.seal_value("setting", KEY, KEY, &Secret::new(URL_SAFE_NO_PAD.encode(&key)))?;
                let value = sealed.expose().clone();
                store.write(PutSetting { key: KEY.to_owned(), value, now: clock.wall() }).await?;
                key
            }
        };
        Ok(LiveTokens { key: Secret::new(key), ttl, clock })
    }

    /// A token for a name, whose end is that of this credential at the latest; and when it expires.
    pub fn issue(&self, name: &LiveName, credential: &Credential) -> (String, WallTime) {
        // In whole seconds, as it stands in the token.
        let expires = WallTime((self.clock.wall() + self.ttl).0 / 1_000_000 * 1_000_000);
        let said = live_token(expires, credential);
        let signature = URL_SAFE_NO_PAD.encode(self.signed(&said, name).finalize().into_bytes());
        (format!("{said}.{signature}"), expires)
    }

    /// Checks a token for a name; tells the credential that it stands for, which may have ended since.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn check(&self, token: &str, name: &LiveName) -> Result<Credential, TokenFault> {
        let (said, signature) = token.rsplit_once('.').ok_or(TokenFault::Invalid)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenFault::Invalid)?;
        self.signed(said, name).verify_slice(&signature).map_err(|_| TokenFault::Invalid)?;
        let (expires, credential) = read_live_token(said).ok_or(TokenFault::Invalid)?;
        if self.clock.wall() < expires { Ok(credential) } else { Err(TokenFault::Expired(credential)) }
    }

    /// The whole token of which `said` is what stands before its signature, for a protocol that shows a proof of a password
    /// and never the password itself. Nothing that holds yet: to be [checked](Self::check) once the proof fits. `None` for
    /// what no token says. Must not leave the process.
    pub fn completed(&self, said: &str, name: &LiveName) -> Option<Secret<String>> {
        read_live_token(said)?;
        let signature = URL_SAFE_NO_PAD.encode(self.signed(said, name).finalize().into_bytes());
        Some(Secret::new(format!("{said}.{signature}")))
    }

    fn signed(&self, said: &str, name: &LiveName) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(self.key.expose())
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length (RFC 2104 2)"));
        mac.update(said.as_bytes());
        mac.update(b"\n");
        mac.update(name.to_string().as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ttl: i64) -> LiveTokens {
        LiveTokens { key: Secret::new(vec![7; 32]), ttl: Micros::from_secs(ttl), clock: SystemClock::new() }
    }

    fn name(text: &str) -> LiveName {
        LiveName::parse(text).unwrap()
    }

    #[test]
    fn a_token_opens_one_name_until_it_expires() {
        let (gate, main) = (name("cam_gate"), name("cam_gate.main"));
        let (token, expires) = tokens(60).issue(&gate, &Credential::Nothing);
        assert!(token.starts_with(&format!("v2.{}.s.", expires.0 / 1_000_000)), "{token}");
        assert_eq!(tokens(60).check(&token, &gate), Ok(Credential::Nothing));
        for credential in [
            Credential::Session("ses_1".to_owned()),
            Credential::Key(heldar_base::KeySecret { key: "key_1".to_owned(), generation: "0f".to_owned() }),
        ] {
            let (token, _) = tokens(60).issue(&gate, &credential);
            assert_eq!(tokens(60).check(&token, &gate), Ok(credential));
        }
        assert_eq!(tokens(60).check(&token, &main), Err(TokenFault::Invalid));
        let other = LiveTokens { key: Secret::new(vec![8; 32]), ..tokens(60) };
        assert_eq!(other.check(&token, &gate), Err(TokenFault::Invalid));
        let (expired, _) = tokens(-1).issue(&gate, &Credential::Nothing);
        assert_eq!(tokens(60).check(&expired, &gate), Err(TokenFault::Expired(Credential::Nothing)));
    }

    #[test]
    fn a_token_follows_from_what_it_says_and_its_name() {
        let (gate, main) = (name("cam_gate"), name("cam_gate.main"));
        let (token, _) = tokens(60).issue(&gate, &Credential::Nothing);
        let (said, _) = token.rsplit_once('.').unwrap();
        assert_eq!(tokens(60).completed(said, &gate).unwrap().expose(), &token);
        assert_ne!(tokens(60).completed(said, &main).unwrap().expose(), &token);
        for text in ["", "admin", "v2.1.s", "v2.x.s.y", "v1.1.s.y", "v2.1.x.eA", "v2.1.s.", "v2.1.s.y.z"] {
            assert!(tokens(60).completed(text, &gate).is_none(), "{text}");
        }
    }

    #[test]
    fn nothing_made_up_is_taken() {
        let (gate, tokens) = (name("cam_gate"), tokens(60));
        let (token, _) = tokens.issue(&gate, &Credential::Nothing);
        let later = token.replacen("v2.", "v2.9", 1);
        for text in ["", ".", "v2", "v2.1.s.x.y", &later, &token[..token.len() - 1], &format!("{token}A")] {
            assert_eq!(tokens.check(text, &gate), Err(TokenFault::Invalid), "{text}");
        }
    }
}
