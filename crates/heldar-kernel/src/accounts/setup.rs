//! The first administrator (auth-system.md 11.6).
//!
//! Owns: the one-time set-up link, whose token lies sealed in the store while there is nobody who could sign in.

use std::net::IpAddr;
use std::sync::Arc;

use heldar_access::{TokenHash, fold_username};
use heldar_base::{Clock as _, Micros, Scope, Secret, WallTime};
use heldar_store::op::{AppendAudit, CreateAccount, DeleteSetting, PutSetting};
use heldar_store::{Account, AccountFields, ErrorKind};
use serde_json::json;

use super::hashing::Standing;
use super::{AccountError, Accounts, NewPerson, SignedIn, new_id, random, to_its_end};
use crate::registry::{Author, Target};
use crate::secrets::Sealer;

/// Key of the setting that holds the token and its end.
pub(crate) const KEY: &str = "setup_token";
/// How long a link holds.
const LIFE: Micros = Micros::from_secs(3600);

/// A one-time link.
#[derive(Clone, Debug)]
pub struct SetupLink {
    /// Its token.
    pub token: Secret<String>,
    /// When it ends.
    pub expires_at: WallTime,
}

impl Accounts {
    /// The link that holds, made or renewed if there is none. `None`: there is somebody who can sign in.
    ///
    /// # Errors
    /// The store, the sealing.
    pub async fn setup_link(&self, sealer: &Sealer) -> Result<Option<SetupLink>, AccountError> {
        if !self.nobody() {
            return Ok(None);
        }
        let _turn = self.turn.lock().await;
        let now = self.clock.wall();
        if let Some(link) = self.stored_link(sealer).await?.filter(|link| link.expires_at > now) {
            return Ok(Some(link));
        }
        let hex: String = random()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let link = SetupLink { token: Secret::new(format!("vst_{hex}")), expires_at: now + LIFE };
        let text = Secret::new(format!("{} {}", link.expires_at.0, link.token.expose()));
        let value = sealer.seal_value("setting", KEY, KEY, &text)?.expose().clone();
        self.store.write(PutSetting { key: KEY.to_owned(), value, now }).await?;
        Ok(Some(link))
    }

    async fn stored_link(&self, sealer: &Sealer) -> Result<Option<SetupLink>, AccountError> {
        let settings = self.store.settings(&Scope::All).await?;
        let Some(stored) = settings.into_iter().find(|setting| setting.key == KEY) else { return Ok(None) };
        // One that no key opens is replaced.
        let opened = sealer.open_value("setting", KEY, KEY, &Secret::new(stored.value)).ok();
        let parts = opened.as_ref().and_then(|text| text.expose().split_once(' '));
        let link = parts.and_then(|(end, token)| {
            Some(SetupLink { token: Secret::new(token.to_owned()), expires_at: WallTime(end.parse().ok()?) })
        });
        Ok(link)
    }

    /// Makes the first administrator and signs it in.
    ///
    /// # Errors
    /// [`AccountError::SetUp`] when somebody is there; a token that does not hold; fields; the store.
    pub async fn set_up(
        self: &Arc<Self>,
        sealer: &Sealer,
        author: Author,
        address: IpAddr,
        token: &str,
        new: NewPerson,
    ) -> Result<SignedIn, AccountError> {
        self.attempt(address).map_err(AccountError::TooMany)?;
        if !self.nobody() {
            return Err(AccountError::SetUp);
        }
        let link = self.stored_link(sealer).await?.filter(|link| link.expires_at > self.clock.wall());
        // Compared by their hashes, which tell nothing of how much was right.
        if link.is_none_or(|link| TokenHash::of(link.token.expose()) != TokenHash::of(token)) {
            return Err(AccountError::SetUpToken);
        }
        let accounts = self.clone();
        to_its_end(async move {
            let id = accounts.first(&author, new).await?;
            accounts.begin_first(&id, &author, address).await
        })
        .await
    }

    /// Makes the administrator that the configuration names, if there is nobody.
    ///
    /// # Errors
    /// Fields, the store.
    pub async fn bootstrap(self: &Arc<Self>) -> Result<bool, AccountError> {
        let Some(bootstrap) = self.settings.bootstrap.clone().filter(|_| self.nobody()) else {
            return Ok(false);
        };
        let new = NewPerson {
            username: bootstrap.username.clone(),
            password: bootstrap.password,
            display_name: Some(bootstrap.username),
            ..NewPerson::default()
        };
        self.first(&Author::server(), new).await?;
        Ok(true)
    }

    async fn first(&self, author: &Author, new: NewPerson) -> Result<String, AccountError> {
        let username = self.checked_username(&new.username)?;
        self.check_password("password", &new.password, &username)?;
        let password_hash = self.hashing.make(new.password, Standing::Known).await?;
        let fields = AccountFields {
            username_key: fold_username(&username),
            display_name: new.display_name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
            password_hash,
            role: AccountFields::ADMINISTRATOR.to_owned(),
            active: true,
            must_change_password: false,
            grant: super::people::everywhere(),
            username,
        };
        let _turn = self.turn.lock().await;
        let (id, now) = (new_id(Account::PREFIX), self.clock.wall());
        let row =
            author.did(now, "setup_admin", Target { kind: "user", id: &id }, json!({ "role": "admin" }));
        let ops = vec![
            CreateAccount { id: id.clone(), fields, first: true, now }.into(),
            DeleteSetting { key: KEY.to_owned() }.into(),
            AppendAudit { entry: row }.into(),
        ];
        self.store.write_all(ops).await.map_err(|error| match error.kind() {
            ErrorKind::Conflict => AccountError::SetUp,
            _ => error.into(),
        })?;
        self.refresh(&id).await?;
        Ok(id)
    }
}
