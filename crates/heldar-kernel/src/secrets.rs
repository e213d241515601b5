//! Secrets at rest.
//!
//! Owns: the sealed form `enc:v2:<key id>:` + base64(nonce, AES-256-GCM ciphertext, tag), with table, column and row id as
//! associated data, so that a value moved to another row does not open. All are sealed with the key that the store has
//! recorded; a start seals what is not. Without a key secrets are kept in clear. Never: shows a value or a key.

use std::sync::{PoisonError, RwLock};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heldar_base::{Scope, Secret, WallTime};
use heldar_config::SecretKeys;
use heldar_store::op::{AppendAudit, PutSetting, SealWebhook, UpdateCamera, WriteOp};
use heldar_store::{Camera, CameraFields, CameraQuery, Setting, Store, StoreError};
use hkdf::Hkdf;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::registry::{Author, Target};

/// Key of the setting that holds the id of the key in use.
pub const KEY_ID: &str = "secret_key_id";
const V1: &str = "enc:v1:";
const V2: &str = "enc:v2:";
/// Table of cameras, as associated data names it.
const CAMERA: &str = "camera";
/// Table of webhooks, likewise; its sealed columns are `url` and `secret`.
pub(crate) const WEBHOOK: &str = "webhook";
/// Cameras per page.
const PAGE: u32 = 500;

/// The secrets of a camera: the name of each as associated data has it, and its place.
type SecretColumn = (&'static str, fn(&mut CameraFields) -> &mut Option<Secret<String>>);
const CAMERA_SECRETS: [SecretColumn; 4] = [
    ("password", |fields| &mut fields.password),
    ("main_stream_url", |fields| &mut fields.main_stream_url),
    ("sub_stream_url", |fields| &mut fields.sub_stream_url),
    ("anr_replay_url_template", |fields| &mut fields.anr_replay_url_template),
];

/// A secret cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The store holds secrets of a key that was not given.
    #[error(
        "the store's secrets are sealed with key {0}: set HELDAR_SECRET_KEY or HELDAR_SECRET_KEY_OLD to it"
    )]
    WrongKey(String),
    /// A value cannot be opened with the keys given.
    #[error("a stored secret cannot be opened with the keys given")]
    Unreadable,
    /// The system gives no randomness.
    #[error("no random bytes for sealing")]
    Random,
    /// There is no key to seal with.
    #[error("HELDAR_SECRET_KEY is not set: there is nothing to seal with")]
    NoKey,
    /// Values cannot be sealed anew, because none of the keys opens one.
    #[error("{table}.{column} of {row} opens with neither key; nothing was changed")]
    Stuck {
        /// Its table.
        table: &'static str,
        /// Its column.
        column: &'static str,
        /// Its row.
        row: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The id of a key: the first eight hex digits of its SHA-256.
pub fn key_id(key: &Secret<[u8; 32]>) -> String {
    Sha256::digest(key.expose()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

struct Key {
    id: String,
    cipher: Aes256Gcm,
    /// For values of the first version, which were sealed with the key itself.
    raw: Aes256Gcm,
}

impl Key {
    fn new(key: &Secret<[u8; 32]>) -> Self {
        let id = key_id(key);
        let mut subkey = [0u8; 32];
        let expanded = Hkdf::<Sha256>::new(None, key.expose()).expand(b"heldar secrets at rest", &mut subkey);
        debug_assert!(expanded.is_ok(), "32 bytes are a valid length of HKDF output");
        let cipher = Aes256Gcm::new(&subkey.into());
        zeroize::Zeroize::zeroize(&mut subkey);
        Key { id, cipher, raw: Aes256Gcm::new(key.expose().into()) }
    }
}

/// Seals and opens secrets.
pub struct Sealer {
    current: Option<Key>,
    old: Option<Key>,
    /// Id of the key that the store has recorded: new values are sealed with that one.
    recorded: RwLock<Option<String>>,
}

/// Settings that are secrets.
pub(crate) const SECRET_SETTINGS: [&str; 2] = [crate::live::TOKEN_KEY, crate::accounts::SETUP_TOKEN];
/// Table of settings, as associated data names it.
const SETTING: &str = "setting";

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("key", &self.recorded()).finish_non_exhaustive()
    }
}

impl Sealer {
    /// Takes the keys of the configuration and checks them against the key that the store has recorded.
    ///
    /// # Errors
    /// [`SecretError::WrongKey`] when the recorded key is not among them.
    pub async fn open(keys: &SecretKeys, store: &Store, now: WallTime) -> Result<Self, SecretError> {
        let settings = store.settings(&Scope::All).await?;
        let recorded = settings.iter().find(|setting| setting.key == KEY_ID).map(|s| s.value.clone());
        let sealer = Sealer {
            current: keys.current.as_ref().map(Key::new),
            old: keys.old.as_ref().map(Key::new),
            recorded: RwLock::new(recorded.clone()),
        };
        let mut ops = Vec::new();
        match (recorded, &sealer.current) {
            (Some(recorded), _) if sealer.keys().all(|key| key.id != recorded) => {
                return Err(SecretError::WrongKey(recorded));
            }
            (None, Some(current)) => {
                let value = current.id.clone();
                ops.push(PutSetting { key: KEY_ID.to_owned(), value: value.clone(), now }.into());
                sealer.record(value);
            }
            _ => {}
        }
        ops.extend(sealer.unsealed(store).await?);
        ops.extend(sealer.unsealed_webhooks(store).await?);
        ops.extend(sealer.unsealed_settings(settings, now)?);
        if !ops.is_empty() {
            store.write_all(ops).await?;
        }
        Ok(sealer)
    }

    fn recorded(&self) -> Option<String> {
        self.recorded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record(&self, id: String) {
        *self.recorded.write().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }

    /// Seals every secret of the store with the current key, in one commit with its audit row, and has new ones sealed with
    /// it. Answers with the id of the key and how many values it seals. Nothing else may change secrets meanwhile.
    ///
    /// # Errors
    /// No current key; a value that no key opens, and then nothing is changed; the store.
    pub async fn rekey(
        &self,
        store: &Store,
        author: &Author,
        now: WallTime,
    ) -> Result<(String, usize), SecretError> {
        let current = self.current.as_ref().ok_or(SecretError::NoKey)?;
        let mut ops: Vec<WriteOp> = Vec::new();
        let mut sealed = 0;
        let query = CameraQuery { include_removed: true, ..CameraQuery::default() };
        let (mut after, mut more) = (None, true);
        while more {
            let page = store.cameras(&Scope::All, &query, after.as_ref(), PAGE).await?;
            for camera in page.rows {
                let Camera { id, mut fields, revision, updated_at, .. } = camera;
                let row = id.as_str().to_owned();
                let mut holds_any = false;
                for (column, place) in CAMERA_SECRETS {
                    let value = place(&mut fields);
                    if let Some(stored) = value.take() {
                        *value = Some(self.sealed_anew(current, (CAMERA, column, &row), &stored)?);
                        (holds_any, sealed) = (true, sealed + 1);
                    }
                }
                if holds_any {
                    ops.push(UpdateCamera { id, fields, revision, now: updated_at }.into());
                }
            }
            (more, after) = (page.next.is_some(), page.next);
        }
        for webhook in store.webhooks(&Scope::All).await? {
            let row = webhook.id.to_string();
            let url = self.sealed_anew(current, (WEBHOOK, "url", &row), &webhook.fields.url)?;
            let secret = webhook.fields.secret.as_ref();
            let secret = secret.map(|secret| self.sealed_anew(current, (WEBHOOK, "secret", &row), secret));
            let secret = secret.transpose()?;
            sealed += 1 + usize::from(secret.is_some());
            ops.push(SealWebhook { id: webhook.id, url, secret, revision: webhook.revision }.into());
        }
        let settings = store.settings(&Scope::All).await?;
        for setting in settings.into_iter().filter(|setting| SECRET_SETTINGS.contains(&setting.key.as_str()))
        {
            let key = SECRET_SETTINGS.into_iter().find(|key| *key == setting.key).unwrap_or_default();
            let value = self.sealed_anew(current, (SETTING, key, key), &Secret::new(setting.value))?;
            ops.push(PutSetting { key: setting.key, value: value.expose().clone(), now }.into());
            sealed += 1;
        }
        ops.push(PutSetting { key: KEY_ID.to_owned(), value: current.id.clone(), now }.into());
        let detail = json!({ "key_id": current.id, "values": sealed });
        let target = Target { kind: "database", id: "secrets" };
        ops.push(AppendAudit { entry: author.did(now, "rekey_secrets", target, detail) }.into());
        store.write_all(ops).await?;
        self.record(current.id.clone());
        Ok((current.id.clone(), sealed))
    }

    fn sealed_anew(
        &self,
        key: &Key,
        (table, column, row): (&'static str, &'static str, &str),
        stored: &Secret<String>,
    ) -> Result<Secret<String>, SecretError> {
        let opened = self.open_value(table, column, row, stored);
        let opened = opened.map_err(|_| SecretError::Stuck { table, column, row: row.to_owned() })?;
        sealed_with(key, (table, column, row), &opened)
    }

    /// What seals everything that is not sealed with the recorded key.
    async fn unsealed(&self, store: &Store) -> Result<Vec<WriteOp>, SecretError> {
        let mut ops = Vec::new();
        let query = CameraQuery { include_removed: true, ..CameraQuery::default() };
        let mut after = None;
        loop {
            let page = store.cameras(&Scope::All, &query, after.as_ref(), PAGE).await?;
            for camera in page.rows {
                ops.extend(self.resealed(camera)?.map(WriteOp::from));
            }
            after = page.next;
            if after.is_none() {
                return Ok(ops);
            }
        }
    }

    /// The same for webhooks. What no key opens stays as it is.
    async fn unsealed_webhooks(&self, store: &Store) -> Result<Vec<WriteOp>, SecretError> {
        let Some(key) = self.sealing() else { return Ok(Vec::new()) };
        let sealed = format!("{V2}{}:", key.id);
        let mut ops = Vec::new();
        for webhook in store.webhooks(&Scope::All).await? {
            let row = webhook.id.to_string();
            let anew = |column, stored: &Secret<String>| -> Result<Option<Secret<String>>, SecretError> {
                if stored.expose().starts_with(&sealed) {
                    return Ok(None);
                }
                let opened = self.open_value(WEBHOOK, column, &row, stored).ok();
                opened.map(|opened| self.seal_value(WEBHOOK, column, &row, &opened)).transpose()
            };
            let (url, stored) = (anew("url", &webhook.fields.url)?, webhook.fields.secret.as_ref());
            let secret = stored.map(|secret| anew("secret", secret)).transpose()?.flatten();
            if url.is_some() || secret.is_some() {
                let url = url.unwrap_or(webhook.fields.url);
                let secret = secret.or(webhook.fields.secret);
                ops.push(SealWebhook { id: webhook.id, url, secret, revision: webhook.revision }.into());
            }
        }
        Ok(ops)
    }

    /// The same for settings.
    fn unsealed_settings(&self, settings: Vec<Setting>, now: WallTime) -> Result<Vec<WriteOp>, SecretError> {
        let Some(current) = self.sealing() else { return Ok(Vec::new()) };
        let sealed = format!("{V2}{}:", current.id);
        let mut ops = Vec::new();
        for Setting { key, value, .. } in settings {
            if !SECRET_SETTINGS.contains(&key.as_str()) || value.starts_with(&sealed) {
                continue;
            }
            if let Ok(opened) = self.open_value(SETTING, &key, &key, &Secret::new(value)) {
                let value = sealed_with(current, (SETTING, &key, &key), &opened)?.expose().clone();
                ops.push(PutSetting { key, value, now }.into());
            }
        }
        Ok(ops)
    }

    /// The camera with all of its secrets sealed, if any was not. What no key opens stays as it is.
    fn resealed(&self, camera: Camera) -> Result<Option<UpdateCamera>, SecretError> {
        let Some(key) = self.sealing() else { return Ok(None) };
        let sealed = format!("{V2}{}:", key.id);
        let Camera { id, mut fields, revision, updated_at, .. } = camera;
        let mut changed = false;
        for (column, place) in CAMERA_SECRETS {
            let value = place(&mut fields);
            let Some(stored) = value.as_ref().filter(|value| !value.expose().starts_with(&sealed)) else {
                continue;
            };
            if let Ok(opened) = self.open_value(CAMERA, column, id.as_str(), stored) {
                *value = Some(self.seal_value(CAMERA, column, id.as_str(), &opened)?);
                changed = true;
            }
        }
        Ok(changed.then_some(UpdateCamera { id, fields, revision, now: updated_at }))
    }

    /// The key for new values.
    fn sealing(&self) -> Option<&Key> {
        let recorded = self.recorded()?;
        self.keys().find(|key| key.id == recorded)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.current.iter().chain(&self.old)
    }

    /// True when secrets are sealed.
    pub fn seals(&self) -> bool {
        self.sealing().is_some()
    }

    /// The form in which a secret is stored.
    ///
    /// # Errors
    /// [`SecretError::Random`].
    pub fn seal_value(
        &self,
        table: &str,
        column: &str,
        row: &str,
        value: &Secret<String>,
    ) -> Result<Secret<String>, SecretError> {
        match self.sealing() {
            Some(key) => sealed_with(key, (table, column, row), value),
            None => Ok(value.clone()),
        }
    }

    /// Opens a stored secret.
    ///
    /// # Errors
    /// [`SecretError::Unreadable`]: no key opens it, or it belongs to another row.
    pub fn open_value(
        &self,
        table: &str,
        column: &str,
        row: &str,
        stored: &Secret<String>,
    ) -> Result<Secret<String>, SecretError> {
        let text = stored.expose();
        if let Some(rest) = text.strip_prefix(V2) {
            let (id, coded) = rest.split_once(':').ok_or(SecretError::Unreadable)?;
            let aad = associated(table, column, row);
            let key = self.keys().find(|key| key.id == id).ok_or(SecretError::Unreadable)?;
            return decrypt(&key.cipher, coded, aad.as_bytes());
        }
        if let Some(coded) = text.strip_prefix(V1) {
            return self
                .keys()
                .find_map(|key| decrypt(&key.raw, coded, b"").ok())
                .ok_or(SecretError::Unreadable);
        }
        Ok(stored.clone())
    }
}

fn sealed_with(
    key: &Key,
    (table, column, row): (&str, &str, &str),
    value: &Secret<String>,
) -> Result<Secret<String>, SecretError> {
    let mut nonce = [0u8; 12];
    getrandom::fill(&mut nonce).map_err(|_| SecretError::Random)?;
    let aad = associated(table, column, row);
    let payload = Payload { msg: value.expose().as_bytes(), aad: aad.as_bytes() };
    let sealed = key.cipher.encrypt(&Nonce::from(nonce), payload).map_err(|_| SecretError::Random)?;
    let mut bytes = nonce.to_vec();
    bytes.extend_from_slice(&sealed);
    Ok(Secret::new(format!("{V2}{}:{}", key.id, STANDARD.encode(bytes))))
}

fn associated(table: &str, column: &str, row: &str) -> String {
    format!("{table}/{column}/{row}")
}

fn decrypt(cipher: &Aes256Gcm, coded: &str, aad: &[u8]) -> Result<Secret<String>, SecretError> {
    let bytes = STANDARD.decode(coded).map_err(|_| SecretError::Unreadable)?;
    let (nonce, sealed) = bytes.split_first_chunk::<12>().ok_or(SecretError::Unreadable)?;
    let opened = cipher
        .decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad })
        .map_err(|_| SecretError::Unreadable)?;
    String::from_utf8(opened).map(Secret::new).map_err(|_| SecretError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(current: Option<u8>, old: Option<u8>) -> Sealer {
        let key = |seed: u8| Key::new(&Secret::new([seed; 32]));
        let (current, old) = (current.map(key), old.map(key));
        let recorded = current.as_ref().map(|key: &Key| key.id.clone());
        Sealer { current, old, recorded: RwLock::new(recorded) }
    }

    #[test]
    fn a_secret_opens_in_its_own_place_only() {
        let sealer = sealer(Some(1), None);
        let value = Secret::new("p@ss".to_owned());
        let sealed = sealer.seal_value("camera", "password", "gate", &value).unwrap();
        assert!(sealed.expose().starts_with(V2) && !sealed.expose().contains("p@ss"));
        assert_eq!(sealer.open_value("camera", "password", "gate", &sealed).unwrap(), value);
        assert!(sealer.open_value("camera", "password", "door", &sealed).is_err());
        assert!(sealer.open_value("camera", "main_stream_url", "gate", &sealed).is_err());
    }

    #[test]
    fn an_old_key_opens_and_a_foreign_one_does_not() {
        let value = Secret::new("x".to_owned());
        let sealed = sealer(Some(1), None).seal_value("camera", "password", "gate", &value).unwrap();
        assert_eq!(
            sealer(Some(2), Some(1)).open_value("camera", "password", "gate", &sealed).unwrap(),
            value
        );
        assert!(sealer(Some(2), None).open_value("camera", "password", "gate", &sealed).is_err());
        assert!(sealer(None, None).open_value("camera", "password", "gate", &sealed).is_err());
    }

    #[test]
    fn without_a_key_secrets_stay_as_they_are() {
        let value = Secret::new("x".to_owned());
        let sealer = sealer(None, None);
        let stored = sealer.seal_value("camera", "password", "gate", &value).unwrap();
        assert_eq!((stored.expose(), sealer.seals()), (value.expose(), false));
        assert_eq!(sealer.open_value("camera", "password", "gate", &stored).unwrap(), value);
    }
}
