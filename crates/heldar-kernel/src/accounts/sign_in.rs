//! Sign-in by name and password, and its protection (auth-system.md 11, 12).

use std::net::IpAddr;
use std::sync::Arc;

use heldar_access::{Person, Source, Token, TokenHash, TokenKind};
use heldar_base::{Clock as _, Micros, Principal, Scope, Secret, WallTime};
use heldar_store::op::{AppendAudit, CountFailure, EndSessionsOf, SignIn, UpdateAccount, WriteOp};
use heldar_store::{AccountFields, AuditEntry, AuditOutcome, Condition, ErrorKind, SignInSession};
use serde_json::{Value, json};

use super::hashing::Standing;
use super::{AccountError, Accounts, PersonView, load, lock, new_id, random, to_its_end, with};
use crate::registry::{Author, FieldError, Target};

/// Clients of an account that are known at the same time.
const KNOWN_CLIENTS: usize = 32;
/// How long a device is known.
const DEVICE_DAYS: i64 = 180;

/// Somebody tries to sign in.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Name, in any case.
    pub username: String,
    /// Password.
    pub password: Secret<String>,
    /// From where.
    pub address: IpAddr,
    /// Token of the device, when the browser holds one.
    pub device: Option<String>,
    /// Whether the browser wants to be known.
    pub remember_device: bool,
    /// Address, program and request, for the audit.
    pub author: Author,
}

/// Somebody has signed in.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Shown once.
    pub token: Token,
    /// When it ends.
    pub expires_at: WallTime,
    /// Token of the device that is known from now on.
    pub device: Option<Token>,
    /// Who.
    pub person: PersonView,
}

/// Result of an attempt, as the metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    Failed,
    Locked,
    Limited,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Locked => "locked",
            Outcome::Limited => "limited",
        }
    }
}

/// What a client counts as.
struct Client {
    /// Its device, if the account knows it.
    device: Option<TokenHash>,
    source: Source,
    standing: Standing,
}

impl Client {
    /// What its failures are counted under: a known device has a count of its own, so that nobody else locks it out.
    fn counted(&self) -> String {
        self.device.map_or_else(|| source_name(&self.source), |device| device_name(&device))
    }
}

fn source_name(source: &Source) -> String {
    format!("source:{source}")
}

fn device_name(device: &TokenHash) -> String {
    format!("device:{}", device.to_hex())
}

/// The audit row of failed sign-ins. Unknown accounts have no name in it: people type passwords there.
pub(super) fn failure_row(author: &Author, now: WallTime, person: Option<&str>, detail: Value) -> AuditEntry {
    let row =
        author.did(now, "login_failed", Target { kind: "user", id: person.unwrap_or_default() }, detail);
    let target_id = person.map(str::to_owned);
    AuditEntry { target_id, outcome: AuditOutcome::Failed, ..row }
}

impl Accounts {
    /// Tries to sign somebody in.
    ///
    /// # Errors
    /// [`AccountError::SignIn`] for whatever is wrong with name, password, account or client; too many attempts; the store.
    pub async fn sign_in(self: &Arc<Self>, attempt: Attempt) -> Result<SignedIn, AccountError> {
        let accounts = self.clone();
        let result = to_its_end(async move { accounts.try_sign_in(attempt).await }).await;
        let outcome = match &result {
            Ok(_) => Outcome::Ok,
            Err(AccountError::Locked) => Outcome::Locked,
            Err(AccountError::SignIn) => Outcome::Failed,
            Err(AccountError::TooMany(_)) => Outcome::Limited,
            Err(_) => return result,
        };
        self.meters.logins.with([outcome.as_str()]).inc();
        result.map_err(|error| match error {
            AccountError::Locked => AccountError::SignIn,
            error => error,
        })
    }

    async fn try_sign_in(self: Arc<Self>, attempt: Attempt) -> Result<SignedIn, AccountError> {
        // Nobody learns from a lost store whether a password was right.
        if self.store.health().borrow().condition != Condition::Up {
            return Err(AccountError::StoreLost);
        }
        let person = self.directory().person_named(&attempt.username).cloned();
        let client = self.client(person.as_ref(), &attempt)?;
        let hash = person.as_ref().map(|person| person.password_hash.clone());
        let verdict = self.hashing.verify(attempt.password.clone(), hash, client.standing).await?;
        let welcome = person
            .as_ref()
            .filter(|person| person.active && verdict.right && person.networks.allow(attempt.address));
        // Asked after the hash and whatever came of it: who is locked out learns nothing of the password.
        let locked = person
            .as_ref()
            .is_some_and(|person| self.is_locked(&person.id, &client.counted(), self.clock.wall()));
        let Some(person) = welcome.filter(|_| !locked) else {
            self.fail(person.as_ref(), &client, &attempt).await;
            return Err(if locked { AccountError::Locked } else { AccountError::SignIn });
        };
        if verdict.outdated {
            self.rehash(person, &attempt.password).await;
        }
        let device = match (client.device, attempt.remember_device) {
            (None, true) => Some(Token::new(TokenKind::Session, random()?)),
            _ => None,
        };
        let signed_in = self.begin(person, &attempt.author, &client, device).await;
        // Locked, or another password, since it was looked at.
        if matches!(signed_in, Err(AccountError::Changed | AccountError::NotFound(_))) {
            self.fail(Some(person), &client, &attempt).await;
            return Err(AccountError::SignIn);
        }
        signed_in
    }

    /// What an attempt counts as; spends one of its allowance.
    fn client(&self, person: Option<&Person>, attempt: &Attempt) -> Result<Client, AccountError> {
        let now = self.clock.wall();
        let (source, device) = (Source::of(attempt.address), attempt.device.as_deref().map(TokenHash::of));
        let known = lock(&self.known);
        let clients = person.and_then(|person| known.get(&person.id));
        let holds = |name: &str| {
            let known = clients.and_then(|clients| clients.get(name));
            known.is_some_and(|(_, until)| until.is_none_or(|until| until > now))
        };
        let device = device.filter(|device| holds(&device_name(device)));
        let is_known = device.is_some() || holds(&source_name(&source));
        drop(known);
        let (mono, standing) =
            (self.clock.mono(), if is_known { Standing::Known } else { Standing::Stranger });
        let spent = match &device {
            Some(device) => lock(&self.by_device).take(device, mono),
            None => lock(&self.by_source).take(&source, mono),
        };
        spent.map_err(AccountError::TooMany)?;
        Ok(Client { device, source, standing })
    }

    /// Counts a failure and writes it down. The answer does not wait for that, whoever it was; but it stands in the store's
    /// queue before the answer goes out, so that no later attempt overtakes it.
    async fn fail(self: &Arc<Self>, person: Option<&Person>, client: &Client, attempt: &Attempt) {
        let now = self.clock.wall();
        let id = person.map(|person| person.id.clone());
        if let Some(attack) = lock(&self.attacks).failed(now, client.source, id.as_deref()) {
            *lock(&self.attack) = Some(attack);
        }
        let is_first = lock(&self.failed).note(now, (client.source, id.clone()), || attempt.author.clone());
        let row = is_first.then(|| failure_row(&attempt.author, now, id.as_deref(), json!({ "count": 1 })));
        let counted = id.map(|id| self.counting(&id, client, &attempt.author));
        let accounts = self.clone();
        let mut write = Box::pin(async move { accounts.note_failure(counted, row).await });
        if futures_util::poll!(&mut write).is_pending() {
            tokio::spawn(write);
        }
    }

    fn counting(&self, person: &str, client: &Client, author: &Author) -> CountFailure {
        let (now, lockout) = (self.clock.wall(), self.settings.lockout);
        let on_lock = author.did(now, "login_locked", Target { kind: "user", id: person }, Value::Null);
        let on_lock = Box::new(AuditEntry { outcome: AuditOutcome::Failed, ..on_lock });
        CountFailure {
            client: client.counted(),
            max_failures: lockout.map_or(0, |lockout| lockout.failures),
            lock: lockout.map_or(Micros(0), |lockout| lockout.time),
            on_lock: Some(on_lock),
            account: person.to_owned(),
            now,
        }
    }

    async fn note_failure(&self, counted: Option<CountFailure>, row: Option<AuditEntry>) {
        let ops: Vec<WriteOp> = row.map(|entry| AppendAudit { entry }.into()).into_iter().collect();
        let noted = match counted {
            Some(counted) => {
                let key = (counted.account.clone(), counted.client.clone());
                let mut all = vec![WriteOp::from(counted)];
                all.extend(ops);
                self.store.write_all(all).await.and_then(|outcomes| {
                    let first = outcomes.into_iter().next().map(|outcome| outcome.of::<CountFailure>());
                    if let Some(until) = first.transpose()?.and_then(|failure| failure.locked_until) {
                        lock(&self.locks).insert(key, until);
                    }
                    Ok(())
                })
            }
            None if ops.is_empty() => Ok(()),
            None => self.store.write_all(ops).await.map(|_| ()),
        };
        match noted {
            Ok(()) => {}
            // The account went away meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "a failed sign-in was not counted"),
        }
    }

    /// Begins a session.
    async fn begin(
        &self,
        person: &Person,
        author: &Author,
        client: &Client,
        device: Option<Token>,
    ) -> Result<SignedIn, AccountError> {
        let token = Token::new(TokenKind::Session, random()?);
        let _turn = self.turn.lock().await;
        let now = self.clock.wall();
        let session = SignInSession {
            id: new_id(SignInSession::PREFIX),
            token_hash: Secret::new(token.hash().to_hex()),
            account: person.id.clone(),
            created_at: now,
            last_used_at: now,
            expires_at: now + self.settings.session_ttl,
            ip: author.address().map(str::to_owned),
            user_agent: author.user_agent().map(str::to_owned),
        };
        let mut known = vec![(source_name(&client.source), None)];
        if let Some(device) = client.device.or(device.as_ref().map(Token::hash)) {
            known.push((device_name(&device), Some(now + Micros::from_hours(24 * DEVICE_DAYS))));
        }
        let op = SignIn {
            session: session.clone(),
            password_hash: person.password_hash.clone(),
            clients: vec![client.counted()],
            known: known.clone(),
            now,
        };
        let target = Target { kind: "user", id: &person.id };
        let row =
            author.as_person(person, &session.id).did(now, "login", target, json!({ "method": "password" }));
        self.store.manage(op, with(row)).await.map_err(AccountError::of("account"))?;
        let expires_at = session.expires_at;
        if let Some(sign_in) = load::sign_in(&session) {
            self.change(|directory| directory.put_session(sign_in));
        }
        self.remember(&person.id, known, now);
        self.forget_locks(&person.id);
        let person = self.view(&person.id).await?;
        Ok(SignedIn { token, expires_at, device, person })
    }

    /// Knows clients of an account from now on; like the store, the newest only.
    fn remember(&self, person: &str, clients: Vec<(String, Option<WallTime>)>, now: WallTime) {
        let mut known = lock(&self.known);
        let known = known.entry(person.to_owned()).or_default();
        known.extend(clients.into_iter().map(|(client, until)| (client, (now, until))));
        while known.len() > KNOWN_CLIENTS {
            let oldest = known.iter().min_by_key(|(_, (at, _))| *at).map(|(client, _)| client.clone());
            let Some(oldest) = oldest else { break };
            known.remove(&oldest);
        }
    }

    /// A session right after set-up.
    pub(super) async fn begin_first(
        &self,
        id: &str,
        author: &Author,
        address: IpAddr,
    ) -> Result<SignedIn, AccountError> {
        let person = self.directory().person(id).cloned().ok_or(AccountError::NotFound("account"))?;
        let client = Client { device: None, source: Source::of(address), standing: Standing::Known };
        self.begin(&person, author, &client, None).await
    }

    /// Parameters of hashes have risen since this one was made.
    async fn rehash(&self, person: &Person, password: &Secret<String>) {
        let Ok(password_hash) = self.hashing.make(password.clone(), Standing::Known).await else { return };
        let _turn = self.turn.lock().await;
        let stored = self.store.account(&Scope::All, &person.id).await;
        let Ok(Some(account)) = stored else { return };
        if account.fields.password_hash != person.password_hash {
            return;
        }
        let fields = AccountFields { password_hash, ..account.fields.clone() };
        let op = UpdateAccount {
            id: account.id.clone(),
            fields,
            revision: account.revision,
            now: account.updated_at,
        };
        if self.store.write(op).await.is_ok()
            && let Err(error) = self.refresh(&account.id).await
        {
            tracing::warn!(%error, "a password hash was renewed and is not known yet");
        }
    }

    /// Somebody chooses a new password; other sign-ins end.
    ///
    /// # Errors
    /// Either password, too many attempts, the store.
    pub async fn change_password(
        self: &Arc<Self>,
        author: Author,
        principal: &Principal,
        address: IpAddr,
        (current, new): (Secret<String>, Secret<String>),
    ) -> Result<(), AccountError> {
        let spent = lock(&self.by_person).take(&principal.id, self.clock.mono());
        spent.map_err(AccountError::TooMany)?;
        let (accounts, id) = (self.clone(), principal.id.clone());
        let session = principal.credential.id().map(str::to_owned);
        to_its_end(async move {
            let person =
                accounts.directory().person(&id).cloned().ok_or(AccountError::NotFound("account"))?;
            let hash = Some(person.password_hash.clone());
            let verdict = accounts.hashing.verify(current, hash, Standing::Known).await?;
            if !verdict.right {
                // A session that was stolen is no place to guess unseen.
                let source = Source::of(address);
                let client = Client { device: None, source, standing: Standing::Known };
                let detail = json!({ "reason": "current_password" });
                let row = author.did(
                    accounts.clock.wall(),
                    "change_password",
                    Target { kind: "user", id: &id },
                    detail,
                );
                let row = AuditEntry { outcome: AuditOutcome::Failed, ..row };
                let counted = accounts.counting(&id, &client, &author);
                accounts.note_failure(Some(counted), Some(row)).await;
                return Err(FieldError::value("current_password", "this is not the current password").into());
            }
            accounts
                .password_rules()
                .check(new.expose(), &person.username)
                .map_err(|fault| FieldError::value("new_password", fault.to_string()))?;
            let password_hash = accounts.hashing.make(new, Standing::Known).await?;
            let _turn = accounts.turn.lock().await;
            let account = accounts.stored(&id).await?;
            if account.fields.password_hash != person.password_hash {
                return Err(AccountError::Changed);
            }
            let now = accounts.clock.wall();
            let fields = AccountFields { password_hash, must_change_password: false, ..account.fields };
            let row = author.did(now, "change_password", Target { kind: "user", id: &id }, json!({}));
            let ops = vec![
                UpdateAccount { id: id.clone(), fields, revision: account.revision, now }.into(),
                EndSessionsOf { account: id.clone(), except: session.clone() }.into(),
                AppendAudit { entry: row }.into(),
            ];
            accounts.store.write_all(ops).await.map_err(AccountError::of("account"))?;
            accounts.change(|directory| directory.end_sessions_of(&id, session.as_deref()));
            accounts.refresh(&id).await
        })
        .await
    }
}
