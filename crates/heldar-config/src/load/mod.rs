//! From sources to settings, in one pass that collects every error.

mod error;
mod posture;
mod values;

use crate::doctor::{DoctorEntry, Finding, Level};
use crate::kind::Kind;
use crate::mask::{MASK, shown};
use crate::not_in_build;
use crate::origin::CorsPolicy;
use crate::posture::AccessControl;
use crate::settings::Settings;
use crate::sources::{Input, Resolution, Resolver, Source};
use crate::table::all;
use crate::value::{Moved, Value, parse_text};
use crate::variable::{Effect, Preset, Secrecy, Variable};

pub use error::{StartError, StartErrors};
pub(crate) use values::Values;

/// What came of the sources.
#[derive(Debug)]
pub struct Loaded {
    /// The settings, unless something stops the start.
    pub settings: Result<Settings, StartErrors>,
    /// What an operator should know; those of [`Level::Warning`] are also said at every start.
    pub findings: Vec<Finding>,
    /// Every variable, in the order of the table; unknown ones behind.
    pub entries: Vec<DoctorEntry>,
}

/// Reads all settings. Never fails on the way: whatever is wrong is in the result, all of it.
pub fn load(input: &Input<'_>) -> Loaded {
    let mut load =
        Load { values: Values::default(), errors: Vec::new(), findings: Vec::new(), entries: Vec::new() };
    let resolver = Resolver::new(input, &mut load.errors);
    for variable in all() {
        match variable.effect {
            Effect::Ignored(why) | Effect::NotRead(why) => {
                load.pass_over(variable, why, resolver.peek(variable))
            }
            Effect::Read | Effect::Refused { .. } => {
                let resolution = resolver.resolve(variable, &mut load.errors, &mut load.findings);
                load.read(variable, resolution);
            }
        }
    }
    load.warn_of_weak_keys();
    load.pair_tls_files();
    load.check_bootstrap();
    load.check_workers();
    load.refuse_what_is_not_in_this_build();
    let posture = load.assess();
    let settings = Settings::from_values(&load.values, &posture);
    load.show_derived(&settings, &posture);
    load.show_settings_file(resolver.settings_file.as_deref());
    resolver.unknown(&mut load.entries, &mut load.findings);
    Loaded {
        settings: if load.errors.is_empty() { Ok(settings) } else { Err(StartErrors(load.errors)) },
        findings: load.findings,
        entries: load.entries,
    }
}

struct Load {
    values: Values,
    errors: Vec<StartError>,
    findings: Vec<Finding>,
    entries: Vec<DoctorEntry>,
}

impl Load {
    /// A variable whose value nobody looks at: listed when it is set.
    fn pass_over(&mut self, variable: &'static Variable, why: &str, set: Option<(Source, String)>) {
        let Some((source, value)) = set else { return };
        self.values.put(variable, Value::Unset, source.clone());
        let mut entry = entry(variable, Some(value), source);
        entry.ignored = true;
        entry.note = Some(why.to_owned());
        self.entries.push(entry);
    }

    /// A variable whose value must be one of its kind.
    fn read(&mut self, variable: &'static Variable, resolution: Resolution) {
        let (text, source) = match resolution {
            Resolution::Text(text, source) => (text, source),
            Resolution::Broken(source) => {
                self.entries.push(entry(variable, Some(MASK.to_owned()), source.clone()));
                return self.values.put_broken(variable, source);
            }
            Resolution::Unset => {
                let value = default_of(variable);
                self.values.put(variable, value, Source::Default);
                let shown = variable.preset.text().map(str::to_owned);
                return self.entries.push(entry(variable, shown, Source::Default));
            }
        };
        let mut entry = entry(variable, Some(shown(variable, text.expose())), source.clone());
        match parse_text(&variable.kind, text.expose()) {
            Err(problem) => {
                self.error(variable, &source, text.expose(), problem.0, variable.kind.accepted());
                self.values.put_broken(variable, source);
            }
            Ok(parsed) => {
                if let Some(moved) = parsed.moved {
                    self.warn_of_clamp(variable, &source, text.expose(), moved);
                }
                if let Effect::Refused { unless, why } = variable.effect
                    && asks_for_something(&parsed.value, text.expose(), unless)
                {
                    let accepted = if unless.is_empty() { "unset".to_owned() } else { unless.join(", ") };
                    self.error(
                        variable,
                        &source,
                        text.expose(),
                        format!("cannot be obeyed: {why}"),
                        accepted,
                    );
                } else if let Some(note) = not_in_build::note(variable.part) {
                    self.warn_of_absence(variable, &source, &parsed.value, &note);
                    entry.ignored = true;
                    entry.note = Some(note);
                }
                entry.value = Some(effective(variable, &parsed.value, text.expose()));
                self.values.put(variable, parsed.value, source);
            }
        }
        self.entries.push(entry);
    }

    fn error(&mut self, variable: &Variable, source: &Source, raw: &str, problem: String, accepted: String) {
        let error = StartError::about(variable.name, source.clone(), problem);
        self.errors.push(error.with_value(shown(variable, raw)).with_accepted(accepted));
    }

    fn warn(&mut self, code: &'static str, variable: &Variable, text: String) {
        let variable = Some(variable.name.to_owned());
        self.findings.push(Finding { level: Level::Warning, code, variable, text });
    }

    fn warn_of_clamp(&mut self, variable: &Variable, source: &Source, raw: &str, moved: Moved) {
        let (side, how, bound) = match moved {
            Moved::Raised(bound) => ("below", "raised", bound),
            Moved::Lowered(bound) => ("above", "lowered", bound),
        };
        let (name, shown) = (variable.name, shown(variable, raw));
        self.warn(
            "clamped",
            variable,
            format!("{name} ({source}): {shown} is {side} {bound} and was {how} to {bound}"),
        );
    }

    /// A value that asks for what holds anyway needs no warning.
    fn warn_of_absence(&mut self, variable: &Variable, source: &Source, value: &Value, note: &str) {
        let asks_for_the_default = *value == default_of(variable);
        if !asks_for_the_default {
            self.warn("no_effect", variable, format!("{} ({source}) has no effect: {note}", variable.name));
        }
    }

    /// A key of few different bytes was typed, not drawn.
    fn warn_of_weak_keys(&mut self) {
        for name in ["HELDAR_SECRET_KEY", "HELDAR_SECRET_KEY_OLD"] {
            let Some(key) = self.values.key(name) else { continue };
            let distinct: std::collections::BTreeSet<u8> = key.expose().iter().copied().collect();
            if distinct.len() < 16 {
                let variable = self.values.variable(name);
                let text = format!(
                    "{name}: the key has few different bytes; draw one with `openssl rand -base64 32`"
                );
                self.warn("weak_secret_key", variable, text);
            }
        }
    }

    /// Certificate and key come together, and together they ask for TLS; what asks for them has them.
    fn pair_tls_files(&mut self) {
        let (cert, key) = ("HELDAR_TLS_CERT", "HELDAR_TLS_KEY");
        let mode = self.values.word("HELDAR_TLS");
        match (self.values.is_set(cert), self.values.is_set(key)) {
            (true, true) if matches!(mode, "off" | "self-signed") => {
                let source = self.values.source(cert);
                self.values.put(self.values.variable("HELDAR_TLS"), Value::Word("files"), source.clone());
                if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == "HELDAR_TLS") {
                    entry.value = Some("files".to_owned());
                    entry.source = source;
                    entry.note = Some(format!("implied by {cert} and {key}"));
                }
            }
            (true, false) | (false, true) => {
                let (there, missing) = if self.values.is_set(cert) { (cert, key) } else { (key, cert) };
                let source = self.values.source(there);
                let error = StartError::about(there, source, format!("is set without {missing}"));
                self.errors.push(error.with_accepted("both or none".to_owned()));
            }
            (false, false) if mode == "files" => {
                let (variable, source) =
                    (self.values.variable("HELDAR_TLS"), self.values.source("HELDAR_TLS"));
                let problem = format!("needs {cert} and {key}");
                self.error(variable, &source, mode, problem, "both set, or another mode".to_owned());
            }
            _ => {}
        }
        let redirect = self.values.variable("HELDAR_HTTP_REDIRECT_PORT");
        if self.values.word("HELDAR_TLS") == "off" && self.values.maybe_port(redirect.name).is_some() {
            let source = self.values.source(redirect.name);
            let text = format!("{} ({source}) has no effect: HELDAR_TLS is off", redirect.name);
            self.warn("no_effect", redirect, text);
        }
    }

    /// The first administrator has a name and a password that anybody else could have as well.
    fn check_bootstrap(&mut self) {
        let (user, password) = ("HELDAR_BOOTSTRAP_ADMIN_USER", "HELDAR_BOOTSTRAP_ADMIN_PASSWORD");
        let mut refuse = |values: &Values, name: &str, problem: String, accepted: &str| {
            let error = StartError::about(name, values.source(name), problem);
            self.errors.push(error.with_accepted(accepted.to_owned()));
        };
        let values = &self.values;
        match (values.text(user), values.text(password)) {
            (None, None) => {}
            (Some(_), None) => refuse(values, user, format!("is set without {password}"), "both or none"),
            (None, Some(_)) => refuse(values, password, format!("is set without {user}"), "both or none"),
            (Some(_), Some(secret)) if secret.chars().count() < 8 => {
                refuse(values, password, "is too short".to_owned(), "at least 8 characters");
            }
            (Some(_), Some(secret)) if secret.len() > 1024 => {
                refuse(values, password, "is too long".to_owned(), "at most 1024 bytes");
            }
            (Some(_), Some(_)) => {}
        }
    }

    /// Workers and their key need each other while access control is on.
    fn check_workers(&mut self) {
        let (workers, key) = ("HELDAR_WORKERS", "HELDAR_WORKER_API_KEY");
        let (any, text) = (!self.values.commands(workers).is_empty(), self.values.text(key));
        let on = self.values.access_control() == AccessControl::On;
        if text.as_ref().is_some_and(|text| !text.trim().bytes().all(|byte| byte.is_ascii_graphic())) {
            let error = StartError::about(key, self.values.source(key), "holds a character that no key has");
            self.errors.push(error.with_value(MASK).with_accepted("a key as Heldar gave it".to_owned()));
        } else if any && on && text.is_none() {
            let text = format!(
                "{workers} is set and {key} is not: the server refuses its own workers. Make a key with ai:tasks, \
                 ai:frames and ai:ingest"
            );
            self.warn("workers_without_key", self.values.variable(workers), text);
        } else if text.is_some() && !(any && on) {
            let why = if any { "access control is off" } else { "HELDAR_WORKERS is not set" };
            let text = format!("{key} ({}) has no effect: {why}", self.values.source(key));
            self.warn("no_effect", self.values.variable(key), text);
        }
    }

    fn refuse_what_is_not_in_this_build(&mut self) {
        for refused in not_in_build::REFUSED {
            let variable = self.values.variable(refused.variable);
            if !self.values.is_broken(variable.name) && (refused.asks)(self.values.get(variable.name)) {
                let source = self.values.source(variable.name);
                let raw = effective(variable, self.values.get(variable.name), "");
                self.error(variable, &source, &raw, refused.why.to_owned(), refused.accepted.to_owned());
            }
        }
    }
}

fn entry(variable: &Variable, value: Option<String>, source: Source) -> DoctorEntry {
    DoctorEntry {
        name: variable.name.to_owned(),
        value,
        source,
        default: variable.preset.text().map(str::to_owned),
        secret: variable.secrecy == Secrecy::Secret,
        ignored: false,
        note: None,
    }
}

fn default_of(variable: &Variable) -> Value {
    match variable.preset {
        Preset::Is(text) => parse_text(&variable.kind, text).map_or(Value::Unset, |parsed| parsed.value),
        Preset::Unset | Preset::Derived(_) => Value::Unset,
    }
}

/// False for a value that is one of the harmless words, and for an empty list.
fn asks_for_something(value: &Value, raw: &str, unless: &[&str]) -> bool {
    match value {
        Value::List(items) => !items.is_empty(),
        Value::Addresses(items) => !items.is_empty(),
        _ => !unless.iter().any(|word| word.eq_ignore_ascii_case(raw.trim())),
    }
}

/// The value in force as text: after clamps, in the documented spelling.
fn effective(variable: &Variable, value: &Value, raw: &str) -> String {
    if variable.secrecy == Secrecy::Secret {
        return MASK.to_owned();
    }
    match (value, variable.kind) {
        (Value::Bool(yes), _) => yes.to_string(),
        (Value::Int(number), _) => number.to_string(),
        (Value::Float(number), _) => number.to_string(),
        (Value::Word(word), _) => (*word).to_owned(),
        (Value::Cors(CorsPolicy::SameOrigin), _) => "same origin only".to_owned(),
        (_, Kind::Text | Kind::Path) => shown(variable, raw),
        _ => shown(variable, raw.trim()),
    }
}
