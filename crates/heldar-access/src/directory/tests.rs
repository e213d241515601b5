use heldar_base::{CameraId, KeySecret, Scope, SiteId};

use super::*;

const HOUR: i64 = 3_600_000_000;

fn at(hours: i64) -> WallTime {
    WallTime(1_793_500_000_000_000 + hours * HOUR)
}

fn rules() -> SessionRules {
    SessionRules { ttl: Micros(12 * HOUR), idle: None, max_lifetime: None }
}

fn any() -> Networks {
    Networks::stored("[]")
}

fn person(id: &str, role: Role) -> Person {
    Person {
        id: id.to_owned(),
        username: id.to_owned(),
        username_key: crate::fold_username(id),
        password_hash: Secret::new("hash".to_owned()),
        display_name: None,
        role: Some(role),
        active: true,
        must_change_password: false,
        scope: ScopeSpec::default(),
        networks: any(),
    }
}

fn sign_in(id: &str, of: &str, now: WallTime) -> SignIn {
    SignIn {
        id: id.to_owned(),
        person: of.to_owned(),
        hash: TokenHash::of(&format!("vos_{id}")),
        created_at: now,
        last_used_at: now,
        expires_at: now + Micros(12 * HOUR),
        ip: None,
        user_agent: None,
    }
}

fn key(id: &str, grant: KeyGrant) -> Machine {
    Machine {
        id: id.to_owned(),
        name: format!("name of {id}"),
        role: Some(Role::Integration),
        grant,
        scope: ScopeSpec::default(),
        networks: any(),
        active: true,
        expires_at: None,
        revoked_at: None,
        hash: TokenHash::of(&format!("vok_{id}")),
        old: None,
    }
}

fn session(id: &str) -> Credential {
    Credential::Session(id.to_owned())
}

/// The credential that a secret of the key stands for.
fn secret(token: &str) -> Credential {
    Credential::Key(KeySecret { key: "key_1".to_owned(), generation: TokenHash::of(token).generation() })
}

fn explicit(slugs: &[&str]) -> KeyGrant {
    KeyGrant::written(&slugs.iter().map(|slug| (*slug).to_owned()).collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_sign_in_is_found_by_its_token_and_ends_with_its_person() {
    let mut directory = Directory::new(rules(), false);
    assert!(!directory.has_people());
    directory.put_person(person("usr_a", Role::Viewer));
    directory.put_session(sign_in("ses_1", "usr_a", at(0)));
    directory.put_session(sign_in("ses_2", "usr_a", at(1)));
    assert_eq!(directory.find("vos_ses_1", at(0)), Some(session("ses_1")));
    assert_eq!(directory.find("vos_other", at(0)), None);
    assert_eq!(directory.person_named(" USR_A ").map(|person| person.id.as_str()), Some("usr_a"));
    let resolved = directory.resolve(&session("ses_1"), at(0)).unwrap();
    assert_eq!((resolved.principal.id.as_str(), resolved.until), ("usr_a", Some(at(12))));
    assert_eq!(directory.resolve(&session("ses_1"), at(12)).unwrap_err(), Refused::Invalid, "expired");
    let names: Vec<String> = directory.sessions_of("usr_a").into_iter().map(|s| s.id).collect();
    assert_eq!(names, ["ses_2", "ses_1"]);
    assert_eq!(directory.end_sessions_of("usr_a", Some("ses_1")), ["ses_2"]);
    assert_eq!((directory.find("vos_ses_2", at(1)), directory.session_count()), (None, 1));
    directory.put_person(Person { active: false, ..person("usr_a", Role::Viewer) });
    assert!(directory.resolve(&session("ses_1"), at(0)).is_err(), "inactive");
    directory.put_person(Person { role: None, ..person("usr_a", Role::Viewer) });
    assert!(directory.resolve(&session("ses_1"), at(0)).is_err(), "a role that cannot be read");
    directory.remove_person("usr_a");
    assert_eq!((directory.find("vos_ses_1", at(0)), directory.session_count()), (None, 0));
    assert!(directory.person_named("usr_a").is_none());
}

#[test]
fn rights_follow_each_change_at_once() {
    let mut directory = Directory::new(rules(), false);
    directory.put_person(person("usr_a", Role::Admin));
    directory.put_session(sign_in("ses_1", "usr_a", at(0)));
    let who = |directory: &Directory| directory.resolve(&session("ses_1"), at(0)).unwrap().principal;
    assert!(who(&directory).can(Capability::RegistryManage));
    let scope = ScopeSpec::written("cameras", vec!["gate".into()], vec!["yard".into()]).unwrap();
    directory.put_person(Person { scope: scope.clone(), ..person("usr_a", Role::Viewer) });
    let viewer = who(&directory);
    let gate = CameraId::new("gate").unwrap();
    let pole = CameraId::new("pole").unwrap();
    assert!(
        !viewer.can(Capability::RegistryManage) && viewer.scope.covers(&gate) && !viewer.scope.covers(&pole)
    );
    directory.sites_mut().put_camera(pole.clone(), Some(SiteId::new("yard").unwrap()));
    assert!(who(&directory).scope.covers(&pole), "a camera that joins the site");
    // Nobody administers some cameras only, whatever the store says.
    directory.put_person(Person { scope, ..person("usr_a", Role::Admin) });
    assert!(directory.resolve(&session("ses_1"), at(0)).is_err());
}

#[test]
fn idle_and_sliding_expiry() {
    let idle = SessionRules { idle: Some(Micros(HOUR)), ..rules() };
    let mut directory = Directory::new(idle, false);
    directory.put_person(person("usr_a", Role::Viewer));
    directory.put_session(sign_in("ses_1", "usr_a", at(0)));
    assert!(directory.resolve(&session("ses_1"), at(1)).is_err(), "idle for an hour");
    assert_eq!(directory.touch(&session("ses_1"), None, at(0) + Micros(HOUR / 2)), None);
    assert_eq!(directory.resolve(&session("ses_1"), at(1)).unwrap().until, Some(at(1) + Micros(HOUR / 2)));
    directory.expire(at(2));
    assert_eq!(directory.session_count(), 0);

    let sliding = SessionRules { max_lifetime: Some(Micros(20 * HOUR)), ..rules() };
    let mut directory = Directory::new(sliding, false);
    directory.put_person(person("usr_a", Role::Viewer));
    directory.put_session(sign_in("ses_1", "usr_a", at(0)));
    assert_eq!(directory.touch(&session("ses_1"), None, at(0) + Micros(1)), None, "not worth telling");
    assert_eq!(directory.touch(&session("ses_1"), None, at(2)), Some(at(14)));
    assert_eq!(directory.touch(&session("ses_1"), None, at(13)), Some(at(20)), "no longer than its life");
    assert_eq!(directory.touch(&session("ses_1"), None, at(19)), None);
    assert!(directory.resolve(&session("ses_1"), at(20)).is_err());
    let (sessions, _) = directory.touched();
    assert_eq!(sessions, [SessionTouched { id: "ses_1".into(), at: at(19), expires_at: at(20) }]);
    assert_eq!(directory.touched(), (vec![], vec![]));
}

#[test]
fn keys() {
    let mut directory = Directory::new(rules(), false);
    let credential = secret("vok_key_1");
    let fine = key("key_1", explicit(&["camera:read"]));
    directory.put_key(fine.clone());
    assert_eq!(directory.find("vok_key_1", at(0)), Some(credential.clone()));
    let principal = directory.resolve(&credential, at(0)).unwrap().principal;
    assert_eq!((principal.name.as_str(), principal.capabilities.len()), ("name of key_1", 1));
    for (key, why) in [
        (Machine { active: false, ..fine.clone() }, "inactive"),
        (Machine { revoked_at: Some(at(9)), ..fine.clone() }, "withdrawn, whenever"),
        (Machine { expires_at: Some(at(0)), ..fine.clone() }, "expired"),
        (Machine { role: None, ..fine.clone() }, "a role that cannot be read"),
        (Machine { grant: KeyGrant::Unreadable, ..fine.clone() }, "a grant that cannot be read"),
        (
            Machine {
                grant: explicit(&["admin"]),
                scope: ScopeSpec { limited: true, ..ScopeSpec::default() },
                ..fine.clone()
            },
            "an administrator of some cameras",
        ),
    ] {
        directory.put_key(key);
        assert_eq!(directory.resolve(&credential, at(0)).unwrap_err(), Refused::Invalid, "{why}");
    }
    // Both tokens of a rotated key work for a while.
    let (old, new) = (TokenHash::of("vok_key_1"), TokenHash::of("vok_new"));
    directory.put_key(Machine { hash: new, old: Some((old, at(5))), ..fine.clone() });
    let renewed = secret("vok_new");
    assert_eq!(directory.find("vok_new", at(9)), Some(renewed.clone()));
    assert_eq!(directory.find("vok_key_1", at(4)), Some(credential.clone()));
    assert_eq!(directory.find("vok_key_1", at(5)), None);
    // What the old one has opened ends with it.
    assert_eq!(directory.resolve(&credential, at(4)).unwrap().until, Some(at(5)));
    assert!(directory.resolve(&credential, at(5)).is_err());
    assert_eq!(directory.resolve(&renewed, at(5)).unwrap().until, None);
    directory.put_key(Machine { hash: new, old: None, ..fine.clone() });
    assert!(directory.resolve(&credential, at(4)).is_err(), "no grace");
    directory.touch(&credential, Some("10.0.0.9".parse().unwrap()), at(3));
    directory.put_key(fine.clone());
    assert_eq!(directory.find("vok_new", at(3)), None);
    assert_eq!(
        directory.key_use("key_1"),
        Some((at(3), Some("10.0.0.9".parse().unwrap()))),
        "outlives a change"
    );
    directory.remove_key("key_1");
    assert_eq!((directory.find("vok_key_1", at(3)), directory.key("key_1").is_some()), (None, false));
}

#[test]
fn networks() {
    let mut directory = Directory::new(rules(), false);
    let credential = secret("vok_key_1");
    let from = |directory: &Directory, address: &str| {
        directory.resolve_from(&credential, address.parse().unwrap(), at(0)).map(|_| ())
    };
    let fine = key("key_1", explicit(&["camera:read"]));
    directory.put_key(Machine { networks: Networks::stored(r#"["10.0.0.0/8","fd00::/8"]"#), ..fine.clone() });
    assert_eq!(from(&directory, "10.1.2.3"), Ok(()));
    assert_eq!(from(&directory, "fd00::1"), Ok(()));
    assert_eq!(from(&directory, "192.0.2.1"), Err(Refused::Address));
    for text in ["", "{}", r#"["10.0.0.0/8","x"]"#] {
        directory.put_key(Machine { networks: Networks::stored(text), ..fine.clone() });
        assert_eq!(from(&directory, "10.1.2.3"), Err(Refused::Address), "{text}");
    }
}

#[test]
fn keys_without_a_grant_have_that_of_their_role() {
    let mut directory = Directory::new(rules(), true);
    directory.put_key(key("key_1", KeyGrant::ByRole));
    let credential = secret("vok_key_1");
    let enforced = directory.resolve(&credential, at(0)).unwrap();
    assert!(enforced.principal.can(Capability::AiIngest) && !enforced.principal.can(Capability::VideoLive));
    assert!(!enforced.would_lose);
    let mut directory = Directory::new(rules(), false);
    directory.put_key(key("key_1", KeyGrant::ByRole));
    let warned = directory.resolve(&credential, at(0)).unwrap();
    assert!(warned.principal.can(Capability::VideoLive) && warned.would_lose);
    assert!(directory.lost_by(Role::Integration).contains(&Capability::VideoLive));
    assert_eq!(directory.legacy_keys(), [("name of key_1", "key_1")]);
    assert_eq!(warned.principal.scope, Scope::All);
}
