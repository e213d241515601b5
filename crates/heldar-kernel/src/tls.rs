//! The certificate of the API's listener, within the running system (auth-system.md 4.1, 8.5).
//!
//! Owns: where it is kept, and the events about it. Never: a key.

use std::sync::Arc;

use heldar_base::Clock as _;
use heldar_config::{CertificateSource, Settings};
use heldar_store::Severity;
use heldar_tls::{Certificates, Event, Source, Urgency};
use serde_json::json;

use crate::kernel::Kernel;

/// Folder of a certificate of our own making, in the data folder.
const FOLDER: &str = "tls";

/// Where the settings say that the certificate comes from; `None`: there is none.
pub fn source(settings: &Settings) -> Option<Source> {
    match &settings.tls.certificate {
        CertificateSource::Off => None,
        CertificateSource::Files { cert, key } => {
            Some(Source::Files { chain: cert.clone(), key: key.clone() })
        }
        CertificateSource::SelfSigned { domains } => Some(Source::SelfSigned {
            folder: settings.storage.data_dir.join(FOLDER),
            domains: domains.clone(),
        }),
    }
}

/// Looks whenever it is due, for good.
pub(crate) async fn run(kernel: Arc<Kernel>, certificates: Arc<Certificates>) {
    loop {
        let ask = certificates.due().await;
        let (now, looking) = (kernel.clock.wall(), certificates.clone());
        match tokio::task::spawn_blocking(move || looking.look(now, ask)).await {
            Ok(events) => events.into_iter().for_each(|event| raise(&kernel, event)),
            Err(error) => tracing::error!(%error, "the certificate was not looked at"),
        }
    }
}

fn raise(kernel: &Kernel, event: Event) {
    match event {
        Event::ReloadFailed { detail } => {
            kernel.journal.raise(None, "tls_reload_failed", Severity::Warning, json!({ "detail": detail }));
        }
        Event::Expiring { urgency, names, not_after } => {
            let severity = match urgency {
                Urgency::Warning => Severity::Warning,
                Urgency::Critical => Severity::Critical,
            };
            let payload = json!({ "names": names, "not_after": not_after });
            kernel.journal.raise(None, "certificate_expiring", severity, payload);
        }
    }
}
