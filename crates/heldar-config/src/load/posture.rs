//! The posture within the load: its facts, its refusals as start errors, and what it makes of derived defaults.

use super::{Load, StartError};
use crate::doctor::{Finding, Level};
use crate::mask::shown;
use crate::origin::CorsPolicy;
use crate::posture::{AccessControl, Posture, PostureFacts, SessionFacts, TlsMode, assess};
use crate::settings::Settings;
use crate::sources::Source;
use crate::variable::Preset;

/// The variables that the posture follows from: while one of them is broken, a refusal could be a mere consequence.
const READ: [&str; 17] = [
    "HELDAR_AUTH_ENABLED",
    "HELDAR_API_HOST",
    "HELDAR_ALLOW_OPEN",
    "HELDAR_TRUSTED_PROXIES",
    "HELDAR_DEPLOYMENT_MODE",
    "HELDAR_INTERNET_EXPOSED",
    "HELDAR_OVERLAY_ENABLED",
    "HELDAR_CP_URL",
    "HELDAR_CP_TOKEN",
    "HELDAR_PUBLIC_BASE_URL",
    "HELDAR_TLS",
    "HELDAR_STRICT_PROD",
    "HELDAR_AUTH_COOKIE_SECURE",
    "HELDAR_SESSION_TTL_HOURS",
    "HELDAR_SESSION_IDLE_TIMEOUT_MIN",
    "HELDAR_CORS_ORIGINS",
    "HELDAR_SECRET_KEY",
];

impl Load {
    pub(super) fn assess(&mut self) -> Posture {
        let posture = assess(&self.facts());
        if READ.iter().any(|name| self.values.is_broken(name)) {
            return posture;
        }
        for refusal in &posture.refusals {
            let variable = self.values.variable(refusal.variable());
            let value = self.entries.iter().find(|entry| entry.name == variable.name);
            let value = value.and_then(|entry| entry.value.clone()).unwrap_or_default();
            let source = self.values.source(variable.name);
            let error = StartError::about(variable.name, source, refusal.problem());
            self.errors
                .push(error.with_value(shown(variable, &value)).with_accepted(refusal.way_out().to_owned()));
        }
        self.findings.extend(posture.findings.iter().cloned());
        if self.values.cidrs("HELDAR_TRUSTED_PROXIES").iter().any(|range| range.is_everything()) {
            self.findings.push(Finding {
                level: Level::Warning,
                code: "trusts_everybody",
                variable: Some("HELDAR_TRUSTED_PROXIES".to_owned()),
                text: "HELDAR_TRUSTED_PROXIES: a range of length 0 lets every client choose its own address"
                    .to_owned(),
            });
        }
        posture
    }

    fn facts(&self) -> PostureFacts {
        let values = &self.values;
        PostureFacts {
            access_control: values.access_control(),
            api_host: values.text("HELDAR_API_HOST"),
            allow_open: values.bool("HELDAR_ALLOW_OPEN"),
            trusted_proxies: !values.cidrs("HELDAR_TRUSTED_PROXIES").is_empty(),
            mode: values.mode(),
            internet_exposed: values.bool("HELDAR_INTERNET_EXPOSED"),
            overlay_enabled: values.bool("HELDAR_OVERLAY_ENABLED"),
            cp_url: values.is_set("HELDAR_CP_URL"),
            cp_token: values.is_set("HELDAR_CP_TOKEN"),
            public_base_url: values.is_set("HELDAR_PUBLIC_BASE_URL"),
            rendezvous_url: values.is_set("HELDAR_REMOTE_RENDEZVOUS_URL"),
            tls: match values.word("HELDAR_TLS") {
                "files" => TlsMode::Files,
                "self-signed" => TlsMode::SelfSigned,
                "acme" => TlsMode::Acme,
                _ => TlsMode::Off,
            },
            strict: values.bool("HELDAR_STRICT_PROD"),
            session: SessionFacts {
                cookie_secure: values.bool("HELDAR_AUTH_COOKIE_SECURE"),
                ttl_hours: values.int("HELDAR_SESSION_TTL_HOURS"),
                idle_timeout_min: values.int("HELDAR_SESSION_IDLE_TIMEOUT_MIN"),
            },
            cors: values.cors("HELDAR_CORS_ORIGINS"),
            secret_key: values.is_set("HELDAR_SECRET_KEY"),
            machine_auth: values.tier("HELDAR_MACHINE_AUTH"),
        }
    }

    /// Puts the settings file that was found where nobody named one into its entry.
    pub(super) fn show_settings_file(&mut self, path: Option<&str>) {
        let entry = self.entries.iter_mut().find(|entry| entry.name == "HELDAR_CONFIG");
        if let Some(entry) = entry.filter(|entry| entry.source == Source::Default) {
            entry.value = path.map(str::to_owned);
        }
    }

    /// Puts what derived defaults came to into the entries.
    pub(super) fn show_derived(&mut self, settings: &Settings, posture: &Posture) {
        let data = settings.storage.data_dir.display().to_string();
        for entry in self.entries.iter_mut().filter(|entry| entry.source == Source::Default) {
            let derived = match entry.name.as_str() {
                "HELDAR_API_HOST" => {
                    entry.note = Some(posture.bind_reason.text().to_owned());
                    posture.bind.to_string()
                }
                "HELDAR_CORS_ORIGINS" => match &posture.cors {
                    CorsPolicy::SameOrigin => "same origin only".to_owned(),
                    CorsPolicy::Any => "*".to_owned(),
                    CorsPolicy::List(list) => list.iter().map(|o| o.as_str()).collect::<Vec<_>>().join(","),
                },
                "HELDAR_MACHINE_AUTH" => posture.machine_auth.as_str().to_owned(),
                _ => match entry.value.as_deref() {
                    Some(text) if text.contains("{data}") => text.replace("{data}", &data),
                    _ => continue,
                },
            };
            debug_assert!(matches!(self.values.variable(&entry.name).preset, Preset::Derived(_)));
            entry.value = Some(derived);
        }
        let engine = settings.database.target.engine();
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == "HELDAR_DATABASE_URL") {
            entry.note = Some(engine.to_owned());
        }
        if posture.open
            && settings.access.access_control == AccessControl::Off
            && let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == "HELDAR_ALLOW_OPEN")
        {
            entry.note = Some("everybody who reaches this server is administrator".to_owned());
        }
    }
}
