//! API keys, field by field (auth-system.md 13.4).

use axum::http::Method;
use heldar_base::{Capability, Micros, Role, WallTime};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::house::{Call, House, text};

const KEYS: &str = "/api/v1/api-keys";
const PRIVILEGED: [Capability; 3] = [Capability::Admin, Capability::RegistryManage, Capability::GateOperate];

fn of(id: &str) -> String {
    format!("{KEYS}/{id}")
}

async fn refusal(call: Call<'_>) -> (u16, String, String, Option<u64>) {
    let answer = call.send().await;
    let body = answer.json();
    let of = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (answer.status, of("code"), of("field"), body["index"].as_u64())
}

fn invalid(field: &str, index: Option<u64>) -> (u16, String, String, Option<u64>) {
    (400, "validation".to_owned(), field.to_owned(), index)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_from_the_first_field_to_the_last() {
    let house = House::start().await;
    house.furnish().await;
    let as_admin = house.admin.as_str();
    let me = text(&house.see("/api/v1/auth/me").await["id"]);
    let legacy = house.post(KEYS, json!({ "name": " AI box " })).token(as_admin).send().await;
    assert_eq!(legacy.status, 201, "{}", legacy.json());
    let legacy = legacy.json();
    let secret = text(&legacy["key"]);
    assert!(secret.starts_with("vok_") && secret.len() == 68);
    let expect = json!({
        "id": legacy["id"], "name": "AI box", "role": "integration", "key": secret, "capabilities": null,
        "legacy_role_expansion": true, "scope_kind": "all", "scope_cameras": [], "scope_sites": [], "expires_at": null,
    });
    assert_eq!(legacy, expect);
    let view = house.see(&of(&text(&legacy["id"]))).await;
    let expect = json!({
        "id": legacy["id"], "name": "AI box", "key_prefix": secret[..12], "role": "integration", "active": true,
        "last_used_at": null, "created_at": view["created_at"],
        "capabilities": Role::Integration.capabilities(false), "legacy_role_expansion": true,
        "unknown_capabilities": [], "scope_kind": "all", "scope_cameras": [], "scope_sites": [],
        "unknown_scope_ids": [], "expires_at": null, "revoked_at": null, "description": null,
        "allowed_networks": [], "last_used_ip": null, "created_by": me,
    });
    assert_eq!(view, expect);
    assert!(!house.see(KEYS).await.to_string().contains(&secret[4..]));

    let until = house.now() + Micros::from_hours(1);
    let body = json!({
        "name": "narrow", "role": "viewer", "capabilities": ["video:live", "camera:read", "video:live"],
        "scope_kind": "cameras", "scope_cameras": ["gate", "ghost"], "scope_sites": ["south", "nowhere"],
        "expires_at": until, "description": " for the wall ", "allowed_networks": ["127.0.0.0/8"],
    });
    let narrow = house.post(KEYS, body).token(as_admin).ok().await;
    assert_eq!(narrow["capabilities"], json!(["camera:read", "video:live"]));
    assert_eq!(narrow["legacy_role_expansion"], false);
    let (id, secret) = (text(&narrow["id"]), text(&narrow["key"]));
    house.get("/api/v1/cameras").key(&secret).ok().await;
    let view = house.see(&of(&id)).await;
    for (name, expect) in [
        ("capabilities", json!(["camera:read", "video:live"])),
        ("scope_kind", json!("cameras")),
        ("scope_cameras", json!(["gate", "ghost"])),
        ("scope_sites", json!(["nowhere", "south"])),
        ("unknown_scope_ids", json!(["ghost", "nowhere"])),
        ("expires_at", json!(until)),
        ("description", json!("for the wall")),
        ("allowed_networks", json!(["127.0.0.0/8"])),
        ("last_used_ip", json!("127.0.0.1")),
    ] {
        assert_eq!(view[name], expect, "{name}");
    }
    assert!(view["last_used_at"].is_string());
    let elsewhere = house.get("/api/v1/cameras").key(&secret).from("10.0.0.1").outcome().await;
    assert_eq!(elsewhere, (403, "address_not_allowed".to_owned()));
    let row = house.audit("create_api_key").await[0].clone();
    assert_eq!((&row["target_type"], &row["target_id"]), (&json!("api_key"), &json!(id)));
    for name in [
        "role",
        "capabilities",
        "legacy_role_expansion",
        "scope_kind",
        "scope_cameras",
        "expires_at",
        "confirm_privileged",
    ] {
        assert!(row["detail"].get(name).is_some(), "{name}: {row}");
    }
    assert!(!row.to_string().contains(&secret[4..]), "{row}");

    // Null keeps; a role stays what it was.
    let nulls = json!({
        "name": null, "active": null, "capabilities": null, "scope_kind": null, "scope_cameras": null,
        "scope_sites": null, "expires_at": null, "revoked_at": null, "confirm_privileged": null,
        "allowed_networks": null, "never_expires": null, "scope_windows": null, "scope_footage": null,
        "role": "admin", "key": "x",
    });
    for body in [json!({}), nulls] {
        let mut kept = house.patch(&of(&id), body).token(as_admin).ok().await;
        kept["last_used_at"] = view["last_used_at"].clone();
        assert_eq!(kept, view);
    }
    let changes = json!({
        "name": " wide ", "description": null, "active": false, "capabilities": ["ai:tasks"], "scope_kind": "all",
        "allowed_networks": [], "never_expires": true,
    });
    let changed = house.patch(&of(&id), changes).token(as_admin).ok().await;
    for (name, expect) in [
        ("name", json!("wide")),
        ("description", Value::Null),
        ("active", json!(false)),
        ("capabilities", json!(["ai:tasks"])),
        ("scope_kind", json!("all")),
        ("allowed_networks", json!([])),
        ("expires_at", Value::Null),
        ("role", json!("viewer")),
    ] {
        assert_eq!(changed[name], expect, "{name}");
    }
    assert_eq!(house.get("/api/v1/auth/me").key(&secret).status().await, 401, "inactive");
    house.patch(&of(&id), json!({ "active": true })).token(as_admin).ok().await;
    assert_eq!(house.get("/api/v1/auth/me").key(&secret).status().await, 200);
    // Withdrawn for good, even by a time ahead; a later change does not move it.
    let at = house.now() + Micros::from_hours(1);
    let revoked = house.patch(&of(&id), json!({ "revoked_at": at })).token(as_admin).ok().await;
    assert_eq!(revoked["revoked_at"], json!(at));
    assert_eq!(house.get("/api/v1/auth/me").key(&secret).status().await, 401);
    let later = json!({ "revoked_at": at + Micros::from_hours(1), "active": true });
    let again = house.patch(&of(&id), later).token(as_admin).ok().await;
    assert_eq!(again["revoked_at"], json!(at));
    assert_eq!(house.get("/api/v1/auth/me").key(&secret).status().await, 401);
    let list = house.see(KEYS).await;
    let ids: Vec<&str> = list.as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(
        ids,
        [id.as_str(), legacy["id"].as_str().unwrap()],
        "newest first, and what is withdrawn stays"
    );

    assert_eq!(house.delete(&of(&id)).token(as_admin).status().await, 204);
    assert_eq!(house.audit("delete_api_key").await[0]["target_id"], json!(id));
    for (method, rest) in
        [(Method::GET, ""), (Method::PATCH, ""), (Method::DELETE, ""), (Method::POST, "/rotate")]
    {
        let call = house.call(method.clone(), &format!("{}{rest}", of(&id))).token(as_admin).json(&json!({}));
        assert_eq!(call.send().await.error(), (404, "not_found".to_owned()), "{method} {rest}");
    }
    // The one that came too late to change anything has left none.
    assert_eq!(house.audit("update_api_key").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_key_may_be() {
    let house = House::start().await;
    let as_admin = house.admin.as_str();
    let (id, _) = house.key(json!({ "capabilities": ["camera:read"] })).await;
    let (legacy, _) = house.key(json!({ "role": "viewer" })).await;
    let before = (house.see(&of(&id)).await, house.see(&of(&legacy)).await);
    let wide = json!(["camera:read", "admin"]);
    for (fields, field, index) in [
        (json!({ "name": "" }), "name", None),
        (json!({ "name": "x".repeat(513) }), "name", None),
        (json!({ "description": "x".repeat(513) }), "description", None),
        (json!({ "capabilities": [] }), "capabilities", None),
        (json!({ "capabilities": ["camera:read", "fly"] }), "capabilities", Some(1)),
        (json!({ "capabilities": ["Admin"] }), "capabilities", Some(0)),
        (json!({ "scope_kind": "some" }), "scope_kind", None),
        (json!({ "scope_kind": "cameras" }), "scope_cameras", None),
        (json!({ "scope_kind": "cameras", "scope_cameras": ["a", ""] }), "scope_cameras", Some(1)),
        (json!({ "scope_kind": "cameras", "scope_sites": [" "] }), "scope_sites", Some(0)),
        (
            json!({ "capabilities": wide, "scope_kind": "cameras", "scope_cameras": ["a"], "confirm_privileged": true }),
            "scope_kind",
            None,
        ),
        (json!({ "allowed_networks": ["::/0", "x"] }), "allowed_networks", Some(1)),
    ] {
        let mut body = json!({ "name": "new", "capabilities": ["camera:read"] });
        crate::house::merge(&mut body, fields.clone());
        let made = house.post(KEYS, body).token(as_admin);
        assert_eq!(refusal(made).await, invalid(field, index), "{fields}");
        let changed = house.patch(&of(&id), fields.clone()).token(as_admin);
        assert_eq!(refusal(changed).await, invalid(field, index), "{fields}");
    }
    let roles = json!({ "name": "new", "role": "owner" });
    assert_eq!(refusal(house.post(KEYS, roles).token(as_admin)).await, invalid("role", None));
    let unknown =
        house.post(KEYS, json!({ "name": "x", "capabilities": ["fly"] })).token(as_admin).send().await;
    for capability in Capability::ALL {
        assert!(text(&unknown.json()["error"]).contains(capability.as_str()), "{capability}");
    }
    // Limited, without a grant of its own.
    let limited =
        json!({ "name": "x", "scope_kind": "cameras", "scope_cameras": ["a"], "confirm_privileged": true });
    for role in Role::ALL {
        let mut body = limited.clone();
        body["role"] = json!(role);
        let found = refusal(house.post(KEYS, body).token(as_admin)).await;
        assert_eq!(found, invalid("capabilities", None), "{role}");
    }
    let limit = json!({ "scope_kind": "cameras", "scope_sites": ["south"] });
    let found = refusal(house.patch(&of(&legacy), limit).token(as_admin)).await;
    assert_eq!(found, invalid("capabilities", None));
    for (fields, field) in [
        (json!({ "scope_windows": [{}] }), "scope_windows"),
        (json!({ "scope_windows": "always" }), "scope_windows"),
        (json!({ "scope_footage": {} }), "scope_footage"),
    ] {
        let expect = (400, "not_supported".to_owned(), field.to_owned(), None);
        let mut body = json!({ "name": "new" });
        crate::house::merge(&mut body, fields.clone());
        assert_eq!(refusal(house.post(KEYS, body).token(as_admin)).await, expect, "{fields}");
        assert_eq!(refusal(house.patch(&of(&id), fields.clone()).token(as_admin)).await, expect, "{fields}");
    }
    for body in [json!({}), json!({ "name": 1 }), json!({ "name": "x", "capabilities": "admin" })] {
        assert_eq!(refusal(house.post(KEYS, body).token(as_admin)).await.0, 422);
    }
    let bad = refusal(house.post(KEYS, json!({ "name": "x", "expires_at": "soon" })).token(as_admin)).await;
    assert!(matches!(bad.0, 400 | 422) && bad.2 == "expires_at", "{bad:?}");
    assert_eq!((house.see(&of(&id)).await, house.see(&of(&legacy)).await), before);
    assert_eq!(house.see(KEYS).await.as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_exchanged() {
    let house = House::start().await;
    let (id, first) = house.key(json!({ "capabilities": ["camera:read"] })).await;
    let rotate =
        async |body: Value| house.post(&format!("{}/rotate", of(&id)), body).token(&house.admin).ok().await;
    let works = |key: &str| {
        let call = house.get("/api/v1/auth/me").key(key);
        async move { call.status().await == 200 }
    };
    let before = house.now();
    let answer = rotate(json!({ "grace_minutes": 10 })).await;
    let second = text(&answer["key"]);
    assert_eq!((&answer["id"], &answer["key_prefix"]), (&json!(id), &json!(second[..12])));
    let until = WallTime::parse(&text(&answer["old_valid_until"])).unwrap();
    assert!((Micros::from_secs(600)..Micros::from_secs(620)).contains(&(until - before)), "{answer}");
    assert!(works(&first).await && works(&second).await);
    assert_eq!(house.see(&of(&id)).await["key_prefix"], json!(second[..12]));
    // Only the newest before the last works on.
    let third = text(&rotate(json!({ "grace_minutes": 10 })).await["key"]);
    assert!(!works(&first).await && works(&second).await && works(&third).await);
    let answer = rotate(json!({})).await;
    assert_eq!(answer["old_valid_until"], Value::Null);
    let fourth = text(&answer["key"]);
    assert!(!works(&second).await && !works(&third).await && works(&fourth).await);
    for (minutes, expect) in [(-5, None), (1_000_000, Some(10_080 * 60))] {
        let before = house.now();
        let answer = rotate(json!({ "grace_minutes": minutes })).await;
        let grace = answer["old_valid_until"].as_str().map(|at| WallTime::parse(at).unwrap() - before);
        assert_eq!(grace.map(|grace| grace.0 / 1_000_000), expect, "{answer}");
    }
    // Both end with the key.
    let old = text(&rotate(json!({})).await["key"]);
    let new = text(&rotate(json!({ "grace_minutes": 60 })).await["key"]);
    assert!(works(&old).await && works(&new).await);
    house.patch(&of(&id), json!({ "active": false })).token(&house.admin).ok().await;
    assert!(!works(&old).await && !works(&new).await);
    let rows = house.audit("rotate_api_key").await;
    assert!(rows.len() == 7 && rows.iter().all(|row| !row.to_string().contains("vok_")), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_a_grant_under_the_stricter_tier() {
    let house = House::start_with(&[("HELDAR_MACHINE_AUTH", "enforce")]).await;
    let (id, key) = house.key(json!({})).await;
    assert_eq!(house.get("/api/v1/cameras").key(&key).status().await, 200);
    for path in ["/api/v1/cameras/x/liveview", "/api/v1/timeline", "/api/v1/clips", "/api/v1/system"] {
        let found = house.get(path).key(&key).outcome().await;
        assert_eq!(found, (403, "missing_capability".to_owned()), "{path}");
    }
    let view = house.see(&of(&id)).await;
    assert_eq!(view["capabilities"], json!(Role::Integration.capabilities(true)));
    // People of that role are no machines.
    let (_, person) = house.signed_in("person", json!({ "role": "integration" })).await;
    assert_eq!(house.get("/api/v1/clips").token(&person).status().await, 200);
}

type Rights = Option<Vec<Capability>>;
/// A key as it is made, and what is then done to it.
type Case = (Option<Role>, Rights, Option<bool>, &'static str, Rights, Option<bool>);

/// No privileged key comes into being without a confirmation, by any combination of fields (auth-system.md 29).
#[test]
fn privileged_rights_are_confirmed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let house = runtime.block_on(House::start());
    let role = proptest::option::of(proptest::sample::select(Role::ALL.to_vec()));
    let grant = || {
        let some = proptest::sample::subsequence(Capability::ALL.to_vec(), 1..=Capability::ALL.len());
        let one = proptest::sample::select(Capability::ALL.to_vec()).prop_map(|one| vec![one]);
        proptest::option::weighted(0.7, prop_oneof![some, one])
    };
    let confirm = || proptest::sample::select(vec![None, Some(false), Some(true)]);
    let mut runner = TestRunner::new(Config { cases: 160, failure_persistence: None, ..Config::default() });
    let privileged = |role: Option<Role>, grant: &Option<Vec<Capability>>| {
        let role = role.unwrap_or(Role::Integration);
        let all = grant.clone().unwrap_or_else(|| role.capabilities(false).into_iter().collect());
        PRIVILEGED.into_iter().filter(|capability| all.contains(capability)).collect::<Vec<_>>()
    };
    let body = |name: &str, role: Option<Role>, grant: &Option<Vec<Capability>>, confirm: Option<bool>| {
        let mut body = json!({ "name": name });
        let mut put =
            |name: &str, value: Value| _ = body.as_object_mut().unwrap().insert(name.to_owned(), value);
        role.into_iter().for_each(|role| put("role", json!(role)));
        grant.iter().for_each(|grant| put("capabilities", json!(grant)));
        confirm.into_iter().for_each(|confirm| put("confirm_privileged", json!(confirm)));
        body
    };
    let unconfirmed = |answer: &crate::support::Answer, expect: &[Capability]| {
        let body = answer.json();
        prop_assert_eq!(answer.status, 400, "{}", body);
        prop_assert_eq!(&body["code"], "privilege_confirmation_required");
        prop_assert_eq!(&body["field"], "confirm_privileged");
        prop_assert_eq!(&body["details"]["privileged"], &json!(expect));
        Ok(())
    };
    // What touches the grant of a key that is there.
    let touch = proptest::sample::select(vec!["none", "name", "scope", "expiry", "never", "grant"]);
    let cases = (role, grant(), confirm(), touch, grant(), confirm());
    let check = |(role, grant, confirm, touch, other, again): Case| {
        runtime.block_on(async {
            let expect = privileged(role, &grant);
            let made = house.post(KEYS, body("new", role, &grant, confirm)).token(&house.admin).send().await;
            if !expect.is_empty() && confirm != Some(true) {
                return unconfirmed(&made, &expect);
            }
            prop_assert_eq!(made.status, 201, "{}", made.json());
            let id = text(&made.json()["id"]);
            let changed =
                if touch == "grant" { other.clone().or_else(|| grant.clone()) } else { grant.clone() };
            let mut change = match touch {
                "none" => json!({ "active": true }),
                "name" => json!({ "name": "other", "description": "x", "allowed_networks": ["10.0.0.0/8"] }),
                "scope" => json!({ "scope_kind": "all" }),
                "expiry" => json!({ "expires_at": "2100-01-01T00:00:00Z" }),
                "never" => json!({ "never_expires": true }),
                _ => body("other", None, &other, None),
            };
            again.into_iter().for_each(|again| change["confirm_privileged"] = json!(again));
            let touches = match touch {
                "none" | "name" => false,
                "grant" => other.is_some(),
                _ => true,
            };
            let expect = privileged(role, &changed);
            let answer = house.patch(&of(&id), change).token(&house.admin).send().await;
            if touches && !expect.is_empty() && again != Some(true) {
                unconfirmed(&answer, &expect)?;
                let kept = house.see(&of(&id)).await;
                prop_assert_eq!(kept["legacy_role_expansion"].as_bool(), Some(grant.is_none()));
                return Ok(());
            }
            prop_assert_eq!(answer.status, 200, "{}", answer.json());
            Ok(())
        })
    };
    runner.run(&cases, check).unwrap_or_else(|error| panic!("{error}"));
}

/// Who waits for a frame and loses its key meanwhile gets no answer that it may no longer see.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_does_not_outlive_its_key() {
    let house = House::start().await;
    house.camera("gate", json!({})).await;
    let asked = json!({ "task_type": "detection" });
    house.post("/api/v1/cameras/gate/ai-tasks", asked).token(&house.admin).ok().await;
    let (id, key) = house.key(json!({ "capabilities": ["ai:frames"] })).await;
    let path = "/api/v1/cameras/gate/frame?wait_ms=2000";
    let pull = house.get(path).key(&key).outcome();
    let revoke = async {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        let change = json!({ "revoked_at": house.now() });
        house.patch(&format!("/api/v1/api-keys/{id}"), change).token(&house.admin).ok().await;
    };
    let (pulled, ()) = tokio::join!(pull, revoke);
    assert_eq!(pulled, (401, "invalid_credential".to_owned()));
    // One whose key holds is told that there is nothing.
    let (_, holds) = house.key(json!({ "capabilities": ["ai:frames"] })).await;
    assert_eq!(house.get(path).key(&holds).outcome().await.0, 404);
}
