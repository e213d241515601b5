//! What a server says of itself when it starts (auth-system.md 2.4).
//!
//! Owns: the words. Never: a secret; a decision about who gets in, which is made before.

use heldar_config::{AccessControl, Settings};

/// Logs version, mode, exposure, what is enforced, where the API listens and why, and what is stored in clear.
pub(crate) fn tell(settings: &Settings) {
    let access = &settings.access;
    let exposed: Vec<&str> = access.exposure.iter().map(|cause| cause.text()).collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        mode = access.mode.as_str(),
        exposed = ?exposed,
        access_control = access.access_control == AccessControl::On,
        machine_auth = access.machine_auth.as_str(),
        ingest_provenance = access.ingest_provenance.as_str(),
        tls = settings.tls.mode().as_str(),
        "Heldar starts"
    );
    tracing::info!("the API listens on {}: {}", settings.api.bind, settings.api.bind_reason.text());
    if settings.secrets.current.is_none() && settings.secrets.old.is_none() {
        tracing::info!("HELDAR_SECRET_KEY is not set: passwords and stream addresses are stored in clear");
    }
    if access.open {
        for line in boxed(OPEN) {
            tracing::warn!(target: "heldar::security", "{line}");
        }
    }
}

const OPEN: &[&str] = &[
    "OPEN ACCESS: access control is off, and HELDAR_ALLOW_OPEN is set.",
    "Everybody who reaches this server is its administrator.",
    "HELDAR_AUTH_ENABLED=true closes it.",
];

fn boxed(lines: &[&str]) -> Vec<String> {
    let width = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    let edge = format!("+{}+", "-".repeat(width + 2));
    let inside = lines.iter().map(|line| format!("| {line:width$} |"));
    std::iter::once(edge.clone()).chain(inside).chain([edge.clone()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_has_straight_sides() {
        assert_eq!(boxed(&["ab", "c"]), ["+----+", "| ab |", "| c  |", "+----+"]);
    }
}
