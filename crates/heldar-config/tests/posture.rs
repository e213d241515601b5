//! Bind address, refusals, exposure, findings: the tables of the contract, complete.

mod common;

use common::{KEY, World, entry, errors, finding};
use heldar_config::{
    AccessControl, BindReason, CertificateSource, CorsPolicy, DeploymentMode, Exposure, Level, Origin,
    PostureFacts, SessionFacts, Tier, TlsMode, assess,
};

/// Access control on, nothing else set, no soft finding.
fn quiet() -> PostureFacts {
    PostureFacts {
        access_control: AccessControl::On,
        api_host: None,
        allow_open: false,
        trusted_proxies: false,
        mode: DeploymentMode::default(),
        internet_exposed: false,
        overlay_enabled: false,
        cp_url: false,
        cp_token: false,
        public_base_url: false,
        rendezvous_url: false,
        tls: TlsMode::Files,
        strict: false,
        session: SessionFacts { cookie_secure: true, ttl_hours: 12, idle_timeout_min: 30 },
        cors: Some(CorsPolicy::SameOrigin),
        secret_key: true,
        machine_auth: None,
    }
}

fn codes(facts: &PostureFacts) -> Vec<&'static str> {
    assess(facts).refusals.iter().map(|refusal| refusal.code()).collect()
}

/// Host, what it is bound to, whether that is this machine only.
const HOSTS: [(Option<&str>, &str, bool); 14] = [
    (None, "", true),
    (Some("127.0.0.1"), "127.0.0.1", true),
    (Some("127.8.8.8"), "127.8.8.8", true),
    (Some("::1"), "::1", true),
    (Some("[::1]"), "::1", true),
    (Some("localhost"), "127.0.0.1", true),
    (Some("LocalHost"), "127.0.0.1", true),
    (Some("0.0.0.0"), "0.0.0.0", false),
    (Some("::"), "::", false),
    (Some("192.168.1.2"), "192.168.1.2", false),
    (Some("nvr.local"), "nvr.local", false),
    (Some("localhost.evil.example"), "localhost.evil.example", false),
    (Some("127.1"), "127.1", false),
    (Some("not an address"), "not an address", false),
];

#[test]
fn every_combination_of_bind_and_open_access() {
    for access_control in [AccessControl::Off, AccessControl::On] {
        for (host, bound, loopback) in HOSTS {
            for allow_open in [false, true] {
                for trusted_proxies in [false, true] {
                    for internet_exposed in [false, true] {
                        for mode in ["", "dev", "production", "Production-LAN"] {
                            let facts = PostureFacts {
                                access_control,
                                api_host: host.map(str::to_owned),
                                allow_open,
                                trusted_proxies,
                                internet_exposed,
                                mode: DeploymentMode::new(mode),
                                ..quiet()
                            };
                            let mut expect = Vec::new();
                            if access_control == AccessControl::Off {
                                expect.extend((!allow_open && !loopback).then_some("open_host"));
                                expect.extend((!allow_open && trusted_proxies).then_some("open_proxy"));
                                expect.extend(internet_exposed.then_some("auth_off_exposed"));
                                expect.extend(
                                    mode.to_lowercase().starts_with("prod").then_some("auth_off_production"),
                                );
                            }
                            assert_eq!(codes(&facts), expect, "{facts:?}");

                            let posture = assess(&facts);
                            let off = access_control == AccessControl::Off;
                            let (address, reason) = match host {
                                Some(_) => (bound, BindReason::Configured),
                                None if off && !allow_open => {
                                    ("127.0.0.1", BindReason::LoopbackWithoutAccessControl)
                                }
                                None => ("0.0.0.0", BindReason::AllAddresses),
                            };
                            assert_eq!(
                                (posture.bind.to_string().as_str(), posture.bind_reason),
                                (address, reason)
                            );
                            assert_eq!(posture.open, off && allow_open);
                            let warned = posture.findings.iter().any(|f| f.code == "open_access");
                            assert_eq!(warned, off && allow_open);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn exposure() {
    let check = |facts: PostureFacts, expect: &[Exposure]| {
        assert_eq!(assess(&facts).exposure, expect, "{facts:?}");
    };
    check(quiet(), &[]);
    check(PostureFacts { internet_exposed: true, ..quiet() }, &[Exposure::Declared]);
    check(PostureFacts { overlay_enabled: true, ..quiet() }, &[Exposure::Overlay]);
    check(PostureFacts { cp_url: true, ..quiet() }, &[]);
    check(PostureFacts { public_base_url: true, ..quiet() }, &[]);
    check(PostureFacts { cp_url: true, public_base_url: true, ..quiet() }, &[Exposure::ControlPlane]);
    check(PostureFacts { tls: TlsMode::Acme, ..quiet() }, &[Exposure::Acme]);
    check(PostureFacts { tls: TlsMode::SelfSigned, ..quiet() }, &[]);
    check(PostureFacts { rendezvous_url: true, ..quiet() }, &[Exposure::Rendezvous]);
}

#[test]
fn each_soft_finding() {
    let list = |text| Some(CorsPolicy::List(vec![Origin::parse(text).unwrap()]));
    let session = quiet().session;
    let plain = PostureFacts { tls: TlsMode::Off, ..quiet() };
    let proxied = PostureFacts { tls: TlsMode::Off, trusted_proxies: true, ..quiet() };
    let insecure = SessionFacts { cookie_secure: false, ..session };
    for (facts, expect) in [
        (quiet(), &[][..]),
        (PostureFacts { session: insecure, ..quiet() }, &[]),
        (PostureFacts { session: insecure, ..proxied.clone() }, &["cookie_not_secure"]),
        (PostureFacts { session: insecure, ..plain.clone() }, &["cookie_not_secure", "no_tls"]),
        (plain, &["no_tls"]),
        (proxied, &[]),
        (
            PostureFacts { session: SessionFacts { idle_timeout_min: 0, ..session }, ..quiet() },
            &["no_idle_timeout"],
        ),
        (
            PostureFacts { session: SessionFacts { idle_timeout_min: -1, ..session }, ..quiet() },
            &["no_idle_timeout"],
        ),
        (PostureFacts { session: SessionFacts { ttl_hours: 13, ..session }, ..quiet() }, &["long_sessions"]),
        (PostureFacts { cors: Some(CorsPolicy::Any), ..quiet() }, &["loose_cors"]),
        (PostureFacts { cors: list("http://localhost:5173"), ..quiet() }, &["loose_cors"]),
        (PostureFacts { cors: list("https://127.0.0.1"), ..quiet() }, &["loose_cors"]),
        (PostureFacts { cors: list("https://nvr.example"), ..quiet() }, &[]),
        (PostureFacts { secret_key: false, ..quiet() }, &["no_secret_key"]),
        (PostureFacts { cp_url: true, ..quiet() }, &["no_cp_token"]),
        (PostureFacts { cp_url: true, cp_token: true, ..quiet() }, &[]),
    ] {
        for (internet_exposed, level) in [(false, Level::Notice), (true, Level::Warning)] {
            for strict in [false, true] {
                let facts = PostureFacts { internet_exposed, strict, ..facts.clone() };
                let posture = assess(&facts);
                let found: Vec<&str> = posture.findings.iter().map(|f| f.code).collect();
                assert_eq!(found, expect, "{facts:?}");
                assert!(posture.findings.iter().all(|f| f.level == level), "{facts:?}");
                let refused = strict && internet_exposed && !expect.is_empty();
                assert_eq!(
                    codes(&facts),
                    if refused { vec!["strict_findings"] } else { vec![] },
                    "{facts:?}"
                );
            }
        }
    }
}

#[test]
fn modes_and_exposure_tighten_defaults() {
    let unset = |mode: &str, internet_exposed| PostureFacts {
        cors: None,
        mode: DeploymentMode::new(mode),
        internet_exposed,
        ..quiet()
    };
    for (mode, exposed, same_origin, tier, promoted) in [
        ("", false, false, Tier::Warn, false),
        ("dev", false, false, Tier::Warn, false),
        ("commissioning", false, false, Tier::Warn, false),
        ("pre-production", false, false, Tier::Warn, false),
        ("", true, true, Tier::Warn, false),
        ("production", false, true, Tier::Enforce, true),
        ("PRODUCTION-remote", false, true, Tier::Enforce, true),
    ] {
        let posture = assess(&unset(mode, exposed));
        assert_eq!(posture.cors == CorsPolicy::SameOrigin, same_origin, "{mode}");
        assert_eq!((posture.machine_auth, posture.machine_auth_promoted_by_mode), (tier, promoted), "{mode}");
        assert_eq!(
            posture.findings.iter().any(|f| f.code == "unknown_mode"),
            mode == "pre-production",
            "{mode}"
        );
        for tier in [Tier::Off, Tier::Warn, Tier::Enforce] {
            let posture = assess(&PostureFacts { machine_auth: Some(tier), ..unset(mode, exposed) });
            assert_eq!(
                (posture.machine_auth, posture.machine_auth_promoted_by_mode),
                (tier, false),
                "{mode}"
            );
        }
    }
}

#[test]
fn refusals_are_start_errors_with_variable_value_and_source() {
    let problem = |world: World, expect: &[&str]| {
        let got = world.errors();
        let starts = got.iter().zip(expect).all(|(got, expect)| got.starts_with(expect));
        assert!(starts && got.len() == expect.len(), "{got:#?}");
    };
    problem(
        World::new().env("HELDAR_API_HOST", "0.0.0.0"),
        &[
            "HELDAR_API_HOST=0.0.0.0 (env) would serve other machines while access control is off; accepted: 127.0.0.1",
        ],
    );
    problem(
        World::new().file("heldar.toml", "trusted_proxies = ['10.0.0.0/8']"),
        &["HELDAR_TRUSTED_PROXIES=10.0.0.0/8 (heldar.toml:1) puts a proxy in front"],
    );
    problem(
        World::new().env("HELDAR_INTERNET_EXPOSED", "1").env("HELDAR_ALLOW_OPEN", "1"),
        &["HELDAR_AUTH_ENABLED=false (default) leaves access control off on an exposed server \
         (HELDAR_INTERNET_EXPOSED=true)"],
    );
    problem(
        World::new().env("HELDAR_REMOTE_RENDEZVOUS_URL", "x"),
        &["HELDAR_AUTH_ENABLED=false (default) leaves access control off on an exposed server \
         (HELDAR_REMOTE_RENDEZVOUS_URL is set)"],
    );
    problem(
        World::new().env("HELDAR_DEPLOYMENT_MODE", "production-lan"),
        &["HELDAR_AUTH_ENABLED=false (default) leaves access control off in a production mode"],
    );
    problem(World::new().env("HELDAR_API_HOST", "0.0.0.0").env("HELDAR_ALLOW_OPEN", "true"), &[]);
    // Which of the two is meant cannot be known while one is unreadable.
    problem(
        World::new().env("HELDAR_API_HOST", "0.0.0.0").env("HELDAR_ALLOW_OPEN", "ture"),
        &["HELDAR_ALLOW_OPEN=ture"],
    );
}

#[test]
fn what_is_not_in_this_build_is_refused() {
    let got = World::new().env("HELDAR_TLS", "ACME").errors();
    assert!(
        got.contains(
            &"HELDAR_TLS=acme (env) asks for certificates from an authority, which this build does not get; accepted: \
              off, files, self-signed"
                .to_owned()
        ),
        "{got:?}"
    );
    for (value, enabled) in [
        ("true", AccessControl::On),
        ("1", AccessControl::On),
        ("YES", AccessControl::On),
        ("no", AccessControl::Off),
    ] {
        let settings =
            World::new().env("HELDAR_TLS", "off").env("HELDAR_AUTH_ENABLED", value).load().settings;
        assert_eq!(settings.unwrap().access.access_control, enabled, "{value}");
    }
}

#[test]
fn where_the_certificate_comes_from() {
    let files = CertificateSource::Files { cert: "c.pem".into(), key: "k.pem".into() };
    let pair = || World::new().env("HELDAR_TLS_CERT", "c.pem").env("HELDAR_TLS_KEY", "k.pem");
    let check = |world: World, expect: &CertificateSource| {
        assert_eq!(world.load().settings.unwrap().tls.certificate, *expect);
    };
    check(World::new(), &CertificateSource::Off);
    // Packages set another mode; two files say what is meant.
    for mode in ["files", "off", "self-signed"] {
        check(pair().env("HELDAR_TLS", mode), &files);
    }
    check(pair(), &files);
    let entries = pair().load().entries;
    let entry = entries.iter().find(|entry| entry.name == "HELDAR_TLS").unwrap();
    assert_eq!(entry.value.as_deref(), Some("files"));
    assert_eq!(entry.note.as_deref(), Some("implied by HELDAR_TLS_CERT and HELDAR_TLS_KEY"));

    let own = |domains: &[&str]| CertificateSource::SelfSigned {
        domains: domains.iter().map(|&name| name.to_owned()).collect(),
    };
    let self_signed = || World::new().env("HELDAR_TLS", "self-signed");
    check(self_signed(), &own(&["localhost"]));
    check(self_signed().env("HELDAR_TLS_DOMAIN", "a.test, b.test"), &own(&["a.test", "b.test"]));

    for alone in [World::new(), self_signed()] {
        assert_eq!(
            alone.env("HELDAR_TLS_KEY", "k.pem").errors(),
            ["HELDAR_TLS_KEY (env) is set without HELDAR_TLS_CERT; accepted: both or none"]
        );
    }
    assert_eq!(
        World::new().env("HELDAR_TLS", "files").errors(),
        [
            "HELDAR_TLS=files (env) needs HELDAR_TLS_CERT and HELDAR_TLS_KEY; accepted: both set, or another mode"
        ]
    );

    let redirect = self_signed().env("HELDAR_HTTP_REDIRECT_PORT", "80").load();
    assert!(redirect.findings.iter().all(|finding| finding.code != "no_effect"));
    assert_eq!(redirect.settings.unwrap().tls.redirect_port, Some(80));
    let nowhere = World::new().env("HELDAR_HTTP_REDIRECT_PORT", "80").load();
    assert!(nowhere.findings.iter().any(|finding| finding.code == "no_effect"));
    assert_eq!(World::new().load().settings.unwrap().tls.redirect_port, None);
}

#[test]
fn variables_that_would_narrow_access_are_refused_and_never_ignored() {
    for (name, value, refused) in [
        ("HELDAR_TLS_CLIENT_CA", "ca.pem", true),
        ("HELDAR_TOTP_REQUIRED_ROLES", "admin", true),
        ("HELDAR_TOTP_REQUIRED_ROLES", " , ", false),
        ("HELDAR_PASSWORD_LOGIN", "false", true),
        ("HELDAR_PASSWORD_LOGIN", "off", true),
        ("HELDAR_PASSWORD_LOGIN", "True", false),
        ("HELDAR_SHARES_ENABLED", "false", false),
    ] {
        let got = World::new().env(name, value).errors();
        assert_eq!(got.len(), usize::from(refused), "{name}={value}: {got:?}");
        assert!(
            got.iter().all(|error| error.starts_with(&format!("{name}={value} (env) cannot be obeyed: ")))
        );
    }
}

#[test]
fn variables_of_absent_parts_have_no_effect_and_say_so() {
    let loaded =
        World::new().env("HELDAR_SMART_CHECK_INTERVAL_S", "60").env("HELDAR_AI_ENABLED", "true").load();
    assert_eq!(errors(&loaded), [""; 0]);
    let warned: Vec<&str> =
        loaded.findings.iter().filter(|f| f.code == "no_effect").map(|f| f.text.as_str()).collect();
    assert_eq!(warned, ["HELDAR_SMART_CHECK_INTERVAL_S (env) has no effect: not in this build: Disk health"]);
    let entry = entry(&loaded, "HELDAR_SMART_CHECK_INTERVAL_S");
    assert_eq!((entry.ignored, entry.note.as_deref()), (true, Some("not in this build: Disk health")));
}

#[test]
fn keys_and_ranges_that_protect_little_are_warned_of() {
    let weak = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let loaded = World::new().env("HELDAR_SECRET_KEY_OLD", weak).env("HELDAR_SECRET_KEY", KEY).load();
    assert!(finding(&loaded, "weak_secret_key").unwrap().text.starts_with("HELDAR_SECRET_KEY_OLD:"));
    let loaded = World::new().env("HELDAR_TRUSTED_PROXIES", "0.0.0.0/0").env("HELDAR_ALLOW_OPEN", "1").load();
    assert!(loaded.settings.is_ok() && finding(&loaded, "trusts_everybody").is_some());
}
