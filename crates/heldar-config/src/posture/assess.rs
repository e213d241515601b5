//! The decision itself, as one function and its parts.

use std::net::Ipv4Addr;

use super::{AccessControl, BindHost, BindReason, Exposure, Posture, PostureFacts, Refusal, Tier, TlsMode};
use crate::doctor::{Finding, Level};
use crate::local::is_loopback_name;
use crate::origin::{CorsPolicy, Origin};

/// Decides the posture.
pub fn assess(facts: &PostureFacts) -> Posture {
    let exposure = exposure(facts);
    let tight = !exposure.is_empty() || facts.mode.is_production();
    let (bind, bind_reason) = bind(facts);
    let cors = facts
        .cors
        .clone()
        .unwrap_or_else(|| if tight { CorsPolicy::SameOrigin } else { dashboard_in_development() });
    let machine_auth_promoted_by_mode = facts.machine_auth.is_none() && facts.mode.is_production();
    let machine_auth =
        facts.machine_auth.unwrap_or(if machine_auth_promoted_by_mode { Tier::Enforce } else { Tier::Warn });
    let soft = soft_findings(facts, &cors);
    let open = facts.access_control == AccessControl::Off && facts.allow_open;
    let refusals = refusals(facts, &bind, &exposure, &soft);

    // A finding about a server that nobody reaches from outside is for those who ask.
    let level = if exposure.is_empty() { Level::Notice } else { Level::Warning };
    let mut findings: Vec<Finding> =
        soft.into_iter().map(|(code, variable, text)| finding(level, code, variable, text)).collect();
    if open {
        findings.insert(0, finding(
            Level::Warning,
            "open_access",
            "HELDAR_ALLOW_OPEN",
            "access control is off and open access is on: everybody who reaches this server is administrator",
        ));
    }
    if !facts.mode.is_known() {
        findings.push(finding(
            Level::Warning,
            "unknown_mode",
            "HELDAR_DEPLOYMENT_MODE",
            "this mode changes nothing; known are dev, commissioning, production-lan and production-remote",
        ));
    }
    Posture {
        bind,
        bind_reason,
        open,
        exposure,
        cors,
        machine_auth,
        machine_auth_promoted_by_mode,
        refusals,
        findings,
    }
}

fn exposure(facts: &PostureFacts) -> Vec<Exposure> {
    [
        (facts.internet_exposed, Exposure::Declared),
        (facts.overlay_enabled, Exposure::Overlay),
        (facts.cp_url && facts.public_base_url, Exposure::ControlPlane),
        (facts.tls == TlsMode::Acme, Exposure::Acme),
        (facts.rendezvous_url, Exposure::Rendezvous),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect()
}

fn bind(facts: &PostureFacts) -> (BindHost, BindReason) {
    match (&facts.api_host, facts.access_control, facts.allow_open) {
        (Some(host), ..) => (BindHost::parse(host.trim()), BindReason::Configured),
        (None, AccessControl::Off, false) => {
            (BindHost::Ip(Ipv4Addr::LOCALHOST.into()), BindReason::LoopbackWithoutAccessControl)
        }
        (None, ..) => (BindHost::Ip(Ipv4Addr::UNSPECIFIED.into()), BindReason::AllAddresses),
    }
}

fn refusals(facts: &PostureFacts, bind: &BindHost, exposure: &[Exposure], soft: &[Soft]) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    match facts.access_control {
        AccessControl::Off => {
            if !facts.allow_open && !is_loopback_name(&bind.to_string()) {
                refusals.push(Refusal::OpenHost);
            }
            if !facts.allow_open && facts.trusted_proxies {
                refusals.push(Refusal::OpenProxy);
            }
            if !exposure.is_empty() {
                refusals.push(Refusal::Exposed(exposure.to_vec()));
            }
            if facts.mode.is_production() {
                refusals.push(Refusal::Production);
            }
        }
        AccessControl::On => {
            if facts.strict && !exposure.is_empty() && !soft.is_empty() {
                refusals.push(Refusal::Strict(soft.iter().map(|(code, ..)| *code).collect()));
            }
        }
    }
    refusals
}

/// Code, variable, text.
type Soft = (&'static str, &'static str, &'static str);

fn soft_findings(facts: &PostureFacts, cors: &CorsPolicy) -> Vec<Soft> {
    let loose_cors = match cors {
        CorsPolicy::SameOrigin => false,
        CorsPolicy::Any => true,
        CorsPolicy::List(list) => list.iter().any(Origin::is_localhost),
    };
    [
        // Without TLS of our own only the proxy's word makes a cookie Secure, and a client may come around the proxy.
        (
            !facts.session.cookie_secure && facts.tls == TlsMode::Off,
            ("cookie_not_secure", "HELDAR_AUTH_COOKIE_SECURE", "session cookies may travel without TLS"),
        ),
        (
            facts.session.idle_timeout_min <= 0,
            (
                "no_idle_timeout",
                "HELDAR_SESSION_IDLE_TIMEOUT_MIN",
                "sign-ins do not end when nobody uses them",
            ),
        ),
        (
            facts.session.ttl_hours > 12,
            ("long_sessions", "HELDAR_SESSION_TTL_HOURS", "sign-ins live longer than 12 hours"),
        ),
        (
            loose_cors,
            (
                "loose_cors",
                "HELDAR_CORS_ORIGINS",
                "pages of localhost, 127.0.0.1 or any origin may read answers",
            ),
        ),
        (!facts.secret_key, ("no_secret_key", "HELDAR_SECRET_KEY", "stored secrets are not sealed")),
        (
            facts.tls == TlsMode::Off && !facts.trusted_proxies,
            ("no_tls", "HELDAR_TLS", "there is neither TLS nor a trusted proxy"),
        ),
        (
            facts.cp_url && !facts.cp_token,
            ("no_cp_token", "HELDAR_CP_TOKEN", "HELDAR_CP_URL is set, but there is no credential for it"),
        ),
    ]
    .into_iter()
    .filter_map(|(holds, soft)| holds.then_some(soft))
    .collect()
}

/// The origin of a dashboard under development.
fn dashboard_in_development() -> CorsPolicy {
    CorsPolicy::List(Origin::parse("http://localhost:5173").into_iter().collect())
}

fn finding(level: Level, code: &'static str, variable: &str, text: &str) -> Finding {
    Finding { level, code, variable: Some(variable.to_owned()), text: format!("{variable}: {text}") }
}
