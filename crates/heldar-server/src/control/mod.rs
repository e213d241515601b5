//! Commands that change accounts and secrets: `user`, `setup-link`, `rekey-secrets` (auth-system.md 11.6, 17, 19.4).
//!
//! Owns: what each does, wherever it runs. While a server has the data folder they go through its control socket and run
//! in its process, so that rights change at once; else they take the folder themselves. Passwords come from standard input,
//! never from arguments. Never: a rule about accounts, which is the kernel's.

mod arguments;
mod socket;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use heldar_base::{Clock as _, Secret};
use heldar_config::{DatabaseTarget, Flags, Input, Settings, TlsMode, load};
use heldar_kernel::accounts::{Accounts, NewPerson, PersonChanges, ScopeChanges};
use heldar_kernel::kernel::{Kernel, StartFailure};
use heldar_kernel::offline::Offline;
use heldar_kernel::registry::{self, Author};
use heldar_kernel::secrets::Sealer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{USAGE_ERROR, complain, say, with_causes};

pub(crate) use socket::serve;

/// What is to be done.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Order {
    UserAdd { username: String, password: Password, role: String, display_name: Option<String> },
    UserPasswd { username: String, password: Password },
    UserList,
    UserUnlock { username: String },
    UserDisable { username: String },
    UserEnable { username: String },
    SetupLink,
    RekeySecrets,
}

impl Order {
    /// Whether it is of use where there is no server yet.
    fn makes_a_store(&self) -> bool {
        matches!(self, Order::UserAdd { .. } | Order::SetupLink)
    }
}

/// A password on its way through the socket, which nobody but the owner of the folder can open.
#[derive(Clone, Debug)]
struct Password(Secret<String>);

impl Serialize for Password {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Password(Secret::new(text)))
    }
}

/// `heldar user …`.
pub(crate) fn user(arguments: Vec<OsString>) -> ExitCode {
    run("user", arguments, arguments::user)
}

/// `heldar setup-link`.
pub(crate) fn setup_link(arguments: Vec<OsString>) -> ExitCode {
    run("setup-link", arguments, |rest| arguments::nothing(rest).map(|()| Order::SetupLink))
}

/// `heldar rekey-secrets`.
pub(crate) fn rekey_secrets(arguments: Vec<OsString>) -> ExitCode {
    run("rekey-secrets", arguments, |rest| arguments::nothing(rest).map(|()| Order::RekeySecrets))
}

fn run(
    command: &'static str,
    arguments: Vec<OsString>,
    read: impl Fn(&[String]) -> Result<Order, arguments::Wrong>,
) -> ExitCode {
    let mut flags = Flags::take(arguments);
    let rest: Vec<String> = std::mem::take(&mut flags.rest)
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let as_json = rest.iter().any(|argument| argument == "--json");
    let rest: Vec<String> = rest.into_iter().filter(|argument| argument != "--json").collect();
    if rest.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h")) {
        say(arguments::HELP);
        return ExitCode::SUCCESS;
    }
    let order = match read(&rest) {
        Ok(order) => order,
        Err(wrong) => {
            complain(&format!("heldar {command}: {wrong}\n"));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    let settings = match load(&Input::from_process(flags)).settings {
        Ok(settings) => settings,
        Err(errors) => {
            complain(&format!("{errors}\n"));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    if !order.makes_a_store()
        && let DatabaseTarget::Sqlite(path) = &settings.database.target
        && !path.exists()
    {
        let path = path.display();
        complain(&format!(
            "heldar {command}: there is no database at {path}; run it in the folder of the server, or set HELDAR_DATA_DIR\n"
        ));
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("heldar {command}: no runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(carry_out(&settings, order)) {
        Ok(done) => {
            let text = if as_json { done.to_string() } else { for_people(&done) };
            say(&format!("{}\n", text.trim_end()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("heldar {command}: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Has the server do it that works on the folder, or does it here.
async fn carry_out(settings: &Settings, order: Order) -> Result<Value, String> {
    match Offline::open(settings).await {
        Ok(offline) => {
            let place = Place {
                accounts: &offline.accounts,
                sealer: &offline.sealer,
                base: base(settings, settings.api.port),
                rekey: None,
            };
            let done = match order {
                Order::RekeySecrets => {
                    let now = offline.clock.wall();
                    let rekeyed = offline.sealer.rekey(&offline.store, &Author::server(), now).await;
                    rekeyed
                        .map(|(key_id, values)| rekeyed_as(&key_id, values))
                        .map_err(|error| with_causes(&error))
                }
                order => place.execute(order).await,
            };
            offline.close().await;
            done
        }
        Err(StartFailure::Locked) => socket::ask(&settings.storage.data_dir, &order).await,
        Err(error) => Err(with_causes(&error)),
    }
}

/// Where people find the server. A listener on every address is found under this machine's name for itself.
pub(crate) fn base(settings: &Settings, port: u16) -> String {
    if let Some(url) = &settings.api.public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    let scheme = if settings.tls.mode() == TlsMode::Off { "http" } else { "https" };
    let host = match settings.api.bind.to_string().as_str() {
        "0.0.0.0" | "::" => "localhost".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{scheme}://{host}:{port}")
}

/// Names the keys whose rights follow from their role; a stricter tier limits them (auth-system.md 2.4).
pub(crate) fn tell_legacy_keys(kernel: &Kernel) {
    let directory = kernel.accounts.directory();
    let keys = directory.legacy_keys();
    if keys.is_empty() {
        return;
    }
    let listed: Vec<String> = keys.iter().take(20).map(|(name, id)| format!("{name} ({id})")).collect();
    tracing::info!(
        count = keys.len(),
        "keys without explicit capabilities have those of their role: {}",
        listed.join(", ")
    );
}

/// Says how to make the first administrator, as long as there is none.
pub(crate) async fn tell_setup_link(kernel: &Kernel, port: u16) {
    if !kernel.accounts.required() || !kernel.accounts.nobody() {
        return;
    }
    match kernel.accounts.setup_link(&kernel.sealer).await {
        Ok(Some(link)) => tracing::warn!(
            target: "heldar::security",
            "nobody can sign in yet: make the first administrator within the hour at {}",
            address(&base(&kernel.settings, port), link.token.expose())
        ),
        Ok(None) => {}
        Err(error) => tracing::error!(error = %with_causes(&error), "no set-up link can be made"),
    }
}

/// The token stands behind a `#`, which browsers send to nobody.
fn address(base: &str, token: &str) -> String {
    format!("{base}/#setup={token}")
}

fn rekeyed_as(key_id: &str, values: usize) -> Value {
    json!({ "key_id": key_id, "values": values })
}

/// Where an order is carried out.
struct Place<'a> {
    accounts: &'a Arc<Accounts>,
    sealer: &'a Sealer,
    base: String,
    /// The running system, which exchanges secrets under its own turn.
    rekey: Option<&'a Arc<Kernel>>,
}

impl<'a> Place<'a> {
    fn of(kernel: &'a Arc<Kernel>, port: u16) -> Self {
        let base = base(&kernel.settings, port);
        Place { accounts: &kernel.accounts, sealer: &kernel.sealer, base, rekey: Some(kernel) }
    }

    async fn execute(&self, order: Order) -> Result<Value, String> {
        let author = Author::server();
        let accounts = self.accounts;
        let find = |username: &str| {
            accounts.id_of(username).ok_or_else(|| format!("there is no user `{}`", username.trim()))
        };
        let said = |error: heldar_kernel::accounts::AccountError| with_causes(&error);
        match order {
            Order::UserAdd { role, .. } if accounts.nobody() && role != "admin" => {
                Err("the first user administers: add it with --role admin".to_owned())
            }
            Order::UserAdd { username, password, role, display_name } => {
                let new =
                    NewPerson { username, password: password.0, role, display_name, ..NewPerson::default() };
                let view = accounts.create_person(author, new).await.map_err(said)?;
                Ok(shown(&view))
            }
            Order::UserPasswd { username, password } => {
                let changes = PersonChanges { password: Some(password.0), ..PersonChanges::default() };
                let view = accounts.change_person(author, find(&username)?, changes).await.map_err(said)?;
                Ok(shown(&view))
            }
            Order::UserList => {
                let people = accounts.people().await.map_err(said)?;
                Ok(Value::Array(people.iter().map(shown).collect()))
            }
            Order::UserUnlock { username } => {
                let view = accounts.unlock_person(author, find(&username)?).await.map_err(said)?;
                Ok(shown(&view))
            }
            Order::UserDisable { username } => {
                let changes = PersonChanges { active: Some(false), ..PersonChanges::default() };
                let view = accounts.change_person(author, find(&username)?, changes).await.map_err(said)?;
                Ok(shown(&view))
            }
            // Somebody at the machine lets an account in again from wherever it comes.
            Order::UserEnable { username } => {
                let scope = ScopeChanges { networks: Some(Vec::new()), ..ScopeChanges::default() };
                let changes = PersonChanges { active: Some(true), scope, ..PersonChanges::default() };
                let view = accounts.change_person(author, find(&username)?, changes).await.map_err(said)?;
                Ok(shown(&view))
            }
            Order::SetupLink => match accounts.setup_link(self.sealer).await.map_err(said)? {
                Some(link) => Ok(json!({
                    "url": address(&self.base, link.token.expose()),
                    "expires_at": link.expires_at,
                })),
                None => {
                    Err("set-up is over: there is an account; `heldar user add` makes another".to_owned())
                }
            },
            Order::RekeySecrets => match self.rekey {
                Some(kernel) => {
                    let rekeyed = registry::rekey(kernel, author).await;
                    rekeyed.map(|(id, values)| rekeyed_as(&id, values)).map_err(|error| with_causes(&error))
                }
                None => Err("secrets are exchanged by their owner".to_owned()),
            },
        }
    }
}

fn shown(view: &heldar_kernel::accounts::PersonView) -> Value {
    let fields = &view.account.fields;
    json!({
        "id": view.account.id,
        "username": fields.username,
        "display_name": fields.display_name,
        "role": fields.role,
        "active": fields.active,
        "last_login_at": view.account.last_login_at,
        "locked_until": view.locked_until,
    })
}

/// The same for people: a line for each person, or what was made.
fn for_people(done: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(url) = done.get("url") {
        return format!("{}\nholds until {}", text(url), text(&done["expires_at"]));
    }
    if let Some(key_id) = done.get("key_id") {
        return format!("{} secrets are sealed with key {}", done["values"], text(key_id));
    }
    let line = |person: &Value| {
        let state = match (person["active"].as_bool(), person["locked_until"].as_str()) {
            (Some(false), _) => "inactive".to_owned(),
            (_, Some(until)) => format!("a client is locked out until {until}"),
            _ => "active".to_owned(),
        };
        let seen = person["last_login_at"].as_str().unwrap_or("never signed in");
        format!("{:<24} {:<12} {state}, {seen}", text(&person["username"]), text(&person["role"]))
    };
    match done {
        Value::Array(people) => people.iter().map(line).collect::<Vec<_>>().join("\n"),
        person => line(person),
    }
}
