//! Listener, access, accounts, secrets, store, health, fleet.

use super::{ANY_INT, NATURAL, PORT, WEB, clamp, derived, floor, fraction, unset, var};
use crate::kind::{FloatRule, IntRule, Kind};
use crate::part::Part;
use crate::variable::{Effect, Variable};

/// Words of the enforcement tiers; a boolean is understood too.
const TIERS: Kind = Kind::Words(&[&["off", "false", "0"], &["warn", "warning"], &["enforce", "true", "1"]]);

#[rustfmt::skip]
pub(super) const TABLE: &[Variable] = &[
    unset("HELDAR_CONFIG", Part::Sources, Kind::Path, "settings file; else ./heldar.toml, else /etc/heldar/heldar.toml"),

    derived("HELDAR_API_HOST", Part::Api, Kind::Text, "127.0.0.1 while access control is off, else 0.0.0.0", "address to listen on"),
    var("HELDAR_API_PORT", Part::Api, PORT, "8000", "TCP port of the API and the dashboard; 0 lets the system choose"),
    unset("HELDAR_PUBLIC_URL", Part::Api, WEB, "base of absolute URLs in answers; unset: that of the request"),
    unset("HELDAR_PUBLIC_BASE_URL", Part::Api, WEB, "address under which this server is reached from afar; base of absolute URLs where HELDAR_PUBLIC_URL is not set"),
    derived("HELDAR_CORS_ORIGINS", Part::Api, Kind::Origins, "http://localhost:5173; same origin only when exposed or in a production mode", "origins whose pages may read answers; set but blank: same origin only; *: any"),
    unset("HELDAR_WEB_DIR", Part::Api, Kind::Path, "folder with a dashboard; unset: the one built in"),
    var("HELDAR_TRUSTED_PROXIES", Part::Api, Kind::CidrList, "", "peers whose Forwarded and X-Forwarded-* headers are believed"),
    var("HELDAR_HTTP_MAX_CONNECTIONS", Part::Api, floor(64), "4096", "connections served at the same time"),

    var("HELDAR_LOG", Part::Log, Kind::LogFilter, "info,heldar_core=debug", "log filter"),
    var("HELDAR_LOG_FORMAT", Part::Log, Kind::Words(&[&["text"], &["json"]]), "text", "form of log lines"),
    derived("TZ", Part::Log, Kind::TimeZone, "that of the system", "time zone of schedules without a site, and of names shown to people"),

    var("HELDAR_TLS", Part::Tls, Kind::Words(&[&["off"], &["files"], &["self-signed"], &["acme"]]), "off", "where the certificate comes from"),
    unset("HELDAR_TLS_CERT", Part::Tls, Kind::Path, "certificate chain, PEM; with HELDAR_TLS_KEY it implies HELDAR_TLS=files"),
    unset("HELDAR_TLS_KEY", Part::Tls, Kind::Path, "private key, PEM"),
    var("HELDAR_TLS_DOMAIN", Part::Tls, Kind::List, "localhost", "names in the certificate"),
    unset("HELDAR_HTTP_REDIRECT_PORT", Part::Tls, PORT, "plain listener that redirects to TLS"),
    unset("HELDAR_TLS_CLIENT_CA", Part::Tls, Kind::Path, "PEM; API connections must present a certificate of it")
        .effect(Effect::Refused { unless: &[], why: "client certificates are not checked by this version" }),
    var("HELDAR_TLS_ISSUER", Part::Acme, Kind::Text, "internal", "e-mail address for the certificate authority"),
    derived("HELDAR_TLS_ACME_DIRECTORY", Part::Acme, Kind::Url(&["https", "http"]), "Let's Encrypt", "ACME directory"),

    var("HELDAR_AUTH_ENABLED", Part::Access, Kind::Bool, "false", "access control: without it only this machine is served, as administrator"),
    var("HELDAR_ALLOW_OPEN", Part::Access, Kind::Bool, "false", "without access control, serve everybody as administrator"),
    var("HELDAR_DEPLOYMENT_MODE", Part::Access, Kind::Text, "", "dev, commissioning, production-lan, production-remote; what begins with production tightens defaults"),
    var("HELDAR_INTERNET_EXPOSED", Part::Access, Kind::Bool, "false", "this server can be reached from the internet"),
    var("HELDAR_STRICT_PROD", Part::Access, Kind::Bool, "false", "when exposed, refuse to start instead of warning"),
    derived("HELDAR_MACHINE_AUTH", Part::Access, TIERS, "warn; enforce in a production mode", "what is done about keys that can do more than they need"),
    var("HELDAR_INGEST_PROVENANCE", Part::Access, TIERS, "warn", "whether results must carry the ticket of their frame"),

    var("HELDAR_AUTH_COOKIE_SECURE", Part::Accounts, Kind::Bool, "false", "session cookie only over TLS, whatever the request came over"),
    derived("HELDAR_AUTH_HASH_CONCURRENCY", Part::Accounts, clamp(1, 64), "cores - 1, at least 1", "password hashes computed at the same time"),
    var("HELDAR_SESSION_TTL_HOURS", Part::Accounts, floor(1), "12", "hours until a sign-in ends"),
    var("HELDAR_SESSION_IDLE_TIMEOUT_MIN", Part::Accounts, ANY_INT, "0", "minutes without activity until a sign-in ends; 0 or less: never"),
    var("HELDAR_SESSION_MAX_LIFETIME_HOURS", Part::Accounts, ANY_INT, "0", "hours up to which use prolongs a sign-in; 0 or less: not at all"),
    var("HELDAR_LOGIN_MAX_FAILURES", Part::Accounts, ANY_INT, "5", "failures until a source is locked out; 0 or less: never"),
    var("HELDAR_LOGIN_LOCKOUT_MIN", Part::Accounts, ANY_INT, "15", "minutes of that; 0 or less: none"),
    var("HELDAR_PASSWORD_MIN_LENGTH", Part::Accounts, Kind::Int(IntRule { accept: (i64::MIN, 1024), ..IntRule::floor(8) }), "8", "shortest password, in characters"),
    var("HELDAR_PASSWORD_BLOCK_COMMON", Part::Accounts, Kind::Bool, "false", "refuse widespread passwords and the username"),
    unset("HELDAR_BOOTSTRAP_ADMIN_USER", Part::Accounts, Kind::Text, "first administrator, made when there is no user"),
    unset("HELDAR_BOOTSTRAP_ADMIN_PASSWORD", Part::Accounts, Kind::Text, "its password, at least 8 characters").secret(),
    var("HELDAR_PASSWORD_LOGIN", Part::Accounts, Kind::Bool, "true", "sign-in by password; false: local administrators only")
        .effect(Effect::Refused { unless: &["1", "true", "yes", "on"], why: "sign-in by password cannot be restricted by this version" }),

    unset("HELDAR_OIDC_ISSUER", Part::SingleSignOn, WEB, "issuer"),
    unset("HELDAR_OIDC_CLIENT_ID", Part::SingleSignOn, Kind::Text, "client id"),
    unset("HELDAR_OIDC_CLIENT_SECRET", Part::SingleSignOn, Kind::Text, "client secret").secret(),
    var("HELDAR_OIDC_SCOPES", Part::SingleSignOn, Kind::Text, "openid profile email", "scopes asked for"),
    var("HELDAR_OIDC_USERNAME_CLAIM", Part::SingleSignOn, Kind::Text, "preferred_username", "claim with the username"),
    var("HELDAR_OIDC_GROUPS_CLAIM", Part::SingleSignOn, Kind::Text, "groups", "claim with the groups"),
    var("HELDAR_OIDC_GROUP_MAP", Part::SingleSignOn, Kind::List, "", "list of <group of the provider>=<role or group id>"),
    unset("HELDAR_OIDC_DEFAULT_ROLE", Part::SingleSignOn, Kind::Text, "role without a mapped group; unset: no entry"),
    var("HELDAR_OIDC_AUTO_CREATE", Part::SingleSignOn, Kind::Bool, "true", "make the user at the first sign-in"),
    var("HELDAR_OIDC_LABEL", Part::SingleSignOn, Kind::Text, "Single sign-on", "text on the button"),
    derived("HELDAR_OIDC_REDIRECT_URL", Part::SingleSignOn, WEB, "public URL and callback path", "where the provider sends the browser back to"),

    var("HELDAR_TOTP_REQUIRED_ROLES", Part::SecondFactor, Kind::List, "", "roles that must set up a second factor")
        .effect(Effect::Refused { unless: &[], why: "second factors are not asked for by this version" }),

    var("HELDAR_SHARES_ENABLED", Part::Shares, Kind::Bool, "true", "share links can be made"),
    var("HELDAR_SHARE_MAX_HOURS", Part::Shares, NATURAL, "168", "longest life of a share link, in hours"),

    unset("HELDAR_SECRET_KEY", Part::Secrets, Kind::Key, "seals camera passwords and other secrets in the store").secret(),
    unset("HELDAR_SECRET_KEY_OLD", Part::Secrets, Kind::Key, "previous key, while values sealed with it are left").secret(),

    var("HELDAR_EGRESS_DENY", Part::Egress, Kind::CidrList, "", "addresses that the server never connects to"),

    derived("HELDAR_DATABASE_URL", Part::Database, Kind::Database, "sqlite://{data}/heldar.db", "SQLite or PostgreSQL").secret(),
    var("HELDAR_DB_MAX_CONNECTIONS", Part::Database, clamp(2, 256), "16", "connections to the database"),
    var("HELDAR_MAX_DB_GB", Part::Database, Kind::Gib(FloatRule::ANY), "4", "size cap of the database in GiB, SQLite only; 0 or less: none"),

    unset("HELDAR_DB_BACKUP_DIR", Part::DatabaseBackup, Kind::Path, "folder of scheduled copies, SQLite only; unset: none are made"),
    var("HELDAR_DB_BACKUP_INTERVAL_HOURS", Part::DatabaseBackup, floor(1), "24", "hours between copies"),
    var("HELDAR_DB_BACKUP_KEEP", Part::DatabaseBackup, floor(1), "14", "copies kept"),

    var("HELDAR_AUDIT_RETENTION_DAYS", Part::Audit, floor(1), "365", "days that audit rows, events, deliveries and finished gaps are kept"),
    var("HELDAR_AUDIT_READS", Part::Audit, Kind::Bool, "true", "audit reads that show footage or identity"),

    var("HELDAR_READYZ_MIN_RECORDING_PERCENT", Part::Health, fraction(FloatRule::ceiling(100.0)), "0", "least share of wanted cameras that record, for /readyz; 0 or less: not looked at"),

    unset("HELDAR_SITE_ID", Part::Fleet, Kind::Text, "name of this site in events and in the fleet"),
    unset("HELDAR_CP_URL", Part::Fleet, WEB, "control plane; with HELDAR_PUBLIC_BASE_URL the server counts as exposed"),
    unset("HELDAR_CP_TOKEN", Part::Fleet, Kind::Text, "credential for the control plane").secret(),
    var("HELDAR_OVERLAY_ENABLED", Part::Fleet, Kind::Bool, "false", "an overlay network leads here; the server counts as exposed"),
    var("HELDAR_OVERLAY_KIND", Part::ControlPlane, Kind::Text, "none", "kind of the overlay network"),
    unset("HELDAR_OVERLAY_IFACE", Part::ControlPlane, Kind::Text, "its network interface"),
    var("HELDAR_CP_REGISTER_INTERVAL_S", Part::ControlPlane, floor(1), "300", "seconds between registrations"),
    var("HELDAR_CP_ALLOW_PLAIN", Part::ControlPlane, Kind::Bool, "false", "register over plain HTTP"),
    unset("HELDAR_CP_TLS_CLIENT_CERT", Part::ControlPlane, Kind::Path, "client certificate for the control plane"),
    unset("HELDAR_CP_TLS_CLIENT_KEY", Part::ControlPlane, Kind::Path, "its key"),
    unset("HELDAR_CP_TLS_CA", Part::ControlPlane, Kind::Path, "certificate authority of the control plane"),
];
