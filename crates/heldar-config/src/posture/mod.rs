//! What the server makes of its surroundings: bind address, exposure, refusals, findings.
//!
//! Pure: [`assess`] is a function from [`PostureFacts`] to [`Posture`]. Never opens a socket.

mod assess;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::doctor::Finding;
use crate::origin::CorsPolicy;

pub use assess::assess;

/// Whether callers must identify themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessControl {
    /// Nobody has to; only this machine is served, unless open access is allowed.
    Off,
    /// Everybody has to.
    On,
}

/// How strictly a rule about machines holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Not at all.
    Off,
    /// Violations are logged.
    Warn,
    /// Violations are refused.
    Enforce,
}

impl Tier {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Tier::Off => "off",
            Tier::Warn => "warn",
            Tier::Enforce => "enforce",
        }
    }
}

/// Where the certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// There is none: plain HTTP.
    Off,
    /// From two files.
    Files,
    /// Made by the server.
    SelfSigned,
    /// From a certificate authority.
    Acme,
}

impl TlsMode {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            TlsMode::Off => "off",
            TlsMode::Files => "files",
            TlsMode::SelfSigned => "self-signed",
            TlsMode::Acme => "acme",
        }
    }
}

/// `HELDAR_DEPLOYMENT_MODE`, lowercase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentMode(String);

impl DeploymentMode {
    /// Any text is a mode.
    pub fn new(text: &str) -> Self {
        DeploymentMode(text.trim().to_lowercase())
    }

    /// As reported by the API.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when it tightens defaults.
    pub fn is_production(&self) -> bool {
        self.0.starts_with("production")
    }

    /// True for the rungs that are documented, and for none.
    pub fn is_known(&self) -> bool {
        self.is_production() || matches!(self.as_str(), "" | "dev" | "commissioning")
    }
}

/// What the listener is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindHost {
    /// An address.
    Ip(IpAddr),
    /// A name, to be resolved; never one of this machine's loopback.
    Name(String),
}

impl BindHost {
    fn parse(text: &str) -> Self {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match bare.parse::<IpAddr>() {
            Ok(address) => BindHost::Ip(address),
            // RFC 6761 6.3: whatever a resolver says, this name is loopback.
            Err(_) if text.eq_ignore_ascii_case("localhost") => BindHost::Ip(Ipv4Addr::LOCALHOST.into()),
            Err(_) => BindHost::Name(text.to_owned()),
        }
    }
}

impl fmt::Display for BindHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindHost::Ip(address) => address.fmt(f),
            BindHost::Name(name) => f.write_str(name),
        }
    }
}

/// Why the listener is bound to what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindReason {
    /// `HELDAR_API_HOST` says so.
    Configured,
    /// Access control is off, and nobody said anything.
    LoopbackWithoutAccessControl,
    /// Access control or open access is on, and nobody said anything.
    AllAddresses,
}

impl BindReason {
    /// For the banner and `doctor`; how to change it.
    pub const fn text(self) -> &'static str {
        match self {
            BindReason::Configured => "as HELDAR_API_HOST says",
            BindReason::LoopbackWithoutAccessControl => {
                "this machine only, because access control is off; HELDAR_AUTH_ENABLED=true opens it to accounts, \
                 HELDAR_ALLOW_OPEN=true with HELDAR_API_HOST=0.0.0.0 to everybody"
            }
            BindReason::AllAddresses => "every address, because HELDAR_API_HOST is not set",
        }
    }
}

/// A reason to believe that the server can be reached from the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// `HELDAR_INTERNET_EXPOSED`.
    Declared,
    /// `HELDAR_OVERLAY_ENABLED`.
    Overlay,
    /// `HELDAR_CP_URL` with `HELDAR_PUBLIC_BASE_URL`.
    ControlPlane,
    /// `HELDAR_TLS=acme`.
    Acme,
    /// `HELDAR_REMOTE_RENDEZVOUS_URL`.
    Rendezvous,
}

impl Exposure {
    /// What makes it so.
    pub const fn text(self) -> &'static str {
        match self {
            Exposure::Declared => "HELDAR_INTERNET_EXPOSED=true",
            Exposure::Overlay => "HELDAR_OVERLAY_ENABLED=true",
            Exposure::ControlPlane => "HELDAR_CP_URL and HELDAR_PUBLIC_BASE_URL are set",
            Exposure::Acme => "HELDAR_TLS=acme",
            Exposure::Rendezvous => "HELDAR_REMOTE_RENDEZVOUS_URL is set",
        }
    }
}

/// Settings of sign-ins that the soft findings look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// `HELDAR_AUTH_COOKIE_SECURE`.
    pub cookie_secure: bool,
    /// `HELDAR_SESSION_TTL_HOURS`.
    pub ttl_hours: i64,
    /// `HELDAR_SESSION_IDLE_TIMEOUT_MIN`.
    pub idle_timeout_min: i64,
}

/// All that the posture follows from.
#[derive(Clone, Debug)]
pub struct PostureFacts {
    /// `HELDAR_AUTH_ENABLED`.
    pub access_control: AccessControl,
    /// `HELDAR_API_HOST`, if set.
    pub api_host: Option<String>,
    /// `HELDAR_ALLOW_OPEN`.
    pub allow_open: bool,
    /// True when `HELDAR_TRUSTED_PROXIES` names any.
    pub trusted_proxies: bool,
    /// `HELDAR_DEPLOYMENT_MODE`.
    pub mode: DeploymentMode,
    /// `HELDAR_INTERNET_EXPOSED`.
    pub internet_exposed: bool,
    /// `HELDAR_OVERLAY_ENABLED`.
    pub overlay_enabled: bool,
    /// True when `HELDAR_CP_URL` is set.
    pub cp_url: bool,
    /// True when `HELDAR_CP_TOKEN` is set.
    pub cp_token: bool,
    /// True when `HELDAR_PUBLIC_BASE_URL` is set.
    pub public_base_url: bool,
    /// True when `HELDAR_REMOTE_RENDEZVOUS_URL` is set.
    pub rendezvous_url: bool,
    /// `HELDAR_TLS`.
    pub tls: TlsMode,
    /// `HELDAR_STRICT_PROD`.
    pub strict: bool,
    /// Sign-ins.
    pub session: SessionFacts,
    /// `HELDAR_CORS_ORIGINS`, if set.
    pub cors: Option<CorsPolicy>,
    /// True when `HELDAR_SECRET_KEY` is set.
    pub secret_key: bool,
    /// `HELDAR_MACHINE_AUTH`, if set.
    pub machine_auth: Option<Tier>,
}

/// What the server makes of its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posture {
    /// What the listener is bound to.
    pub bind: BindHost,
    /// Why.
    pub bind_reason: BindReason,
    /// True when everybody is served as administrator.
    pub open: bool,
    /// Why the server counts as exposed; empty: it does not.
    pub exposure: Vec<Exposure>,
    /// Which foreign pages may read answers.
    pub cors: CorsPolicy,
    /// What is done about keys that can do more than they need.
    pub machine_auth: Tier,
    /// True when the mode, and nobody else, made that `enforce`.
    pub machine_auth_promoted_by_mode: bool,
    /// Why the server must not start; empty: it may.
    pub refusals: Vec<Refusal>,
    /// What an operator should know.
    pub findings: Vec<Finding>,
}

/// A reason not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Access control is off, and the listener would not be loopback.
    OpenHost,
    /// Access control is off behind a proxy: every client would look local.
    OpenProxy,
    /// Access control is off on a server that is exposed for these reasons.
    Exposed(Vec<Exposure>),
    /// Access control is off in a production mode.
    Production,
    /// Strict mode, exposed, and these soft findings.
    Strict(Vec<&'static str>),
}

impl Refusal {
    /// Stable name.
    pub const fn code(&self) -> &'static str {
        match self {
            Refusal::OpenHost => "open_host",
            Refusal::OpenProxy => "open_proxy",
            Refusal::Exposed(_) => "auth_off_exposed",
            Refusal::Production => "auth_off_production",
            Refusal::Strict(_) => "strict_findings",
        }
    }

    /// The variable that stands in the way.
    pub const fn variable(&self) -> &'static str {
        match self {
            Refusal::OpenHost => "HELDAR_API_HOST",
            Refusal::OpenProxy => "HELDAR_TRUSTED_PROXIES",
            Refusal::Exposed(_) | Refusal::Production => "HELDAR_AUTH_ENABLED",
            Refusal::Strict(_) => "HELDAR_STRICT_PROD",
        }
    }

    /// What is wrong; completes "HELDAR_… (source) …".
    pub fn problem(&self) -> String {
        match self {
            Refusal::OpenHost => "would serve other machines while access control is off".to_owned(),
            Refusal::OpenProxy => "puts a proxy in front while access control is off".to_owned(),
            Refusal::Exposed(reasons) => {
                let reasons: Vec<&str> = reasons.iter().map(|reason| reason.text()).collect();
                format!("leaves access control off on an exposed server ({})", reasons.join("; "))
            }
            Refusal::Production => "leaves access control off in a production mode".to_owned(),
            Refusal::Strict(codes) => {
                format!("refuses these findings on an exposed server: {}", codes.join(", "))
            }
        }
    }

    /// What would be accepted.
    pub const fn way_out(&self) -> &'static str {
        match self {
            Refusal::OpenHost => {
                "127.0.0.1, ::1 or localhost; HELDAR_AUTH_ENABLED=true; or HELDAR_ALLOW_OPEN=true to serve everybody \
                 as administrator"
            }
            Refusal::OpenProxy => {
                "unset; HELDAR_AUTH_ENABLED=true; or HELDAR_ALLOW_OPEN=true to serve everybody as administrator"
            }
            Refusal::Exposed(_) | Refusal::Production => "true; HELDAR_ALLOW_OPEN does not lift this",
            Refusal::Strict(_) => "false, or settings without these findings",
        }
    }
}
