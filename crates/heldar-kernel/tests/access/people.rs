//! People, field by field, as their administrators make and change them (auth-system.md 13.3).

use axum::http::Method;
use heldar_base::Role;
use serde_json::{Value, json};

use crate::house::{ADMIN, House, PASSWORD, text};

const USERS: &str = "/api/v1/users";

fn of(id: &str) -> String {
    format!("{USERS}/{id}")
}

/// A refusal: status, code, field, index.
async fn refusal(call: crate::house::Call<'_>) -> (u16, String, String, Option<u64>) {
    let answer = call.send().await;
    let body = answer.json();
    let of = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    (answer.status, of("code"), of("field"), body["index"].as_u64())
}

fn invalid(field: &str, index: Option<u64>) -> (u16, String, String, Option<u64>) {
    (400, "validation".to_owned(), field.to_owned(), index)
}

/// What nobody may be, whether made or changed: the body, and the field and the element that are to blame.
fn wrong_fields() -> Vec<(Value, &'static str, Option<u64>)> {
    let long = "x".repeat(129);
    vec![
        (json!({ "password": "1234567" }), "password", None),
        (json!({ "password": "x".repeat(1025) }), "password", None),
        (json!({ "role": "owner" }), "role", None),
        (json!({ "role": "Admin" }), "role", None),
        (json!({ "role": "" }), "role", None),
        (json!({ "display_name": long }), "display_name", None),
        (json!({ "scope_kind": "sites" }), "scope_kind", None),
        (json!({ "scope_kind": "cameras" }), "scope_cameras", None),
        (json!({ "scope_kind": "cameras", "scope_cameras": [], "scope_sites": [] }), "scope_cameras", None),
        (json!({ "scope_kind": "cameras", "scope_cameras": ["gate", " "] }), "scope_cameras", Some(1)),
        (json!({ "scope_kind": "cameras", "scope_sites": ["", "x"] }), "scope_sites", Some(0)),
        (json!({ "scope_cameras": ["gate", ""] }), "scope_cameras", Some(1)),
        (json!({ "role": "admin", "scope_kind": "cameras", "scope_cameras": ["gate"] }), "scope_kind", None),
        (json!({ "allowed_networks": ["10.0.0.0/8", "10.0.0.0/33"] }), "allowed_networks", Some(1)),
        (json!({ "allowed_networks": ["lan"] }), "allowed_networks", Some(0)),
    ]
}

/// What this version would not obey.
fn of_later() -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "scope_windows": [{ "days": [0], "start": "08:00", "end": "17:00" }] }), "scope_windows"),
        (json!({ "scope_footage": { "max_age_hours": 1 } }), "scope_footage"),
        (json!({ "scope_footage": {} }), "scope_footage"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_from_the_first_field_to_the_last() {
    let house = House::start().await;
    house.furnish().await;
    let (as_admin, before) = (house.admin.as_str(), house.now());
    let made =
        house.post(USERS, json!({ "username": " Ann ", "password": PASSWORD })).token(as_admin).send().await;
    assert_eq!(made.status, 201, "{}", made.json());
    let view = made.json();
    let names: Vec<&str> = view.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "active",
            "allowed_networks",
            "capabilities",
            "created_at",
            "display_name",
            "id",
            "last_login_at",
            "locked_until",
            "must_change_password",
            "role",
            "scope_cameras",
            "scope_kind",
            "scope_sites",
            "unknown_scope_ids",
            "updated_at",
            "username",
        ]
    );
    let id = text(&view["id"]);
    assert!(id.starts_with("usr_") && id.len() == 36);
    for (name, expect) in [
        ("active", json!(true)),
        ("allowed_networks", json!([])),
        ("display_name", Value::Null),
        ("last_login_at", Value::Null),
        ("locked_until", Value::Null),
        ("must_change_password", json!(false)),
        ("role", json!("viewer")),
        ("scope_cameras", json!([])),
        ("scope_kind", json!("all")),
        ("scope_sites", json!([])),
        ("unknown_scope_ids", json!([])),
        ("username", json!("Ann")),
        ("capabilities", json!(Role::Viewer.capabilities(false))),
    ] {
        assert_eq!(view[name], expect, "{name}");
    }
    assert_eq!(house.see(&of(&id)).await, view);
    let row = house.audit("create_user").await[0].clone();
    assert_eq!((&row["target_id"], &row["detail"]), (&json!(id), &json!({ "role": "viewer" })));
    assert!(!row.to_string().contains(PASSWORD) && !row.to_string().contains("argon2"), "{row}");

    let changes = json!({
        "role": "guard", "display_name": " Ann at the gate ", "active": false, "must_change_password": true,
        "scope_kind": "cameras", "scope_cameras": ["yard", "ghost", "yard"], "scope_sites": ["south", "nowhere"],
        "allowed_networks": ["10.1.2.3", "fd00::/8", " 192.168.0.0/16 "], "username": "Eve", "id": "usr_x",
    });
    let changed = house.patch(&of(&id), changes).token(as_admin).ok().await;
    for (name, expect) in [
        ("username", json!("Ann")),
        ("id", json!(id)),
        ("role", json!("guard")),
        ("display_name", json!("Ann at the gate")),
        ("active", json!(false)),
        ("must_change_password", json!(true)),
        ("scope_kind", json!("cameras")),
        ("scope_cameras", json!(["ghost", "yard"])),
        ("scope_sites", json!(["nowhere", "south"])),
        ("unknown_scope_ids", json!(["ghost", "nowhere"])),
        ("capabilities", json!(Role::Guard.capabilities(false))),
        ("created_at", view["created_at"].clone()),
    ] {
        assert_eq!(changed[name], expect, "{name}");
    }
    assert_eq!(changed["allowed_networks"].as_array().unwrap().len(), 3);
    assert_ne!(changed["updated_at"], view["updated_at"]);
    let row = house.audit("update_user").await[0].clone();
    assert_eq!(row["detail"], json!({ "role": "guard", "active": false }));
    assert_eq!((&row["before"]["role"], &row["after"]["role"]), (&json!("viewer"), &json!("guard")));
    assert_eq!(
        (&row["before"]["username"], &row["after"]["password"]),
        (&Value::Null, &Value::Null),
        "{row}"
    );

    // Absent keeps; null keeps too, but for what may be absent.
    let nulls = json!({
        "password": null, "role": null, "active": null, "must_change_password": null, "scope_kind": null,
        "scope_cameras": null, "scope_sites": null, "allowed_networks": null, "scope_windows": null,
        "scope_footage": null,
    });
    for body in [json!({}), nulls, json!({ "scope_windows": [] })] {
        let mut kept = house.patch(&of(&id), body).token(as_admin).ok().await;
        kept["updated_at"] = changed["updated_at"].clone();
        assert_eq!(kept, changed);
    }
    let cleared = house.patch(&of(&id), json!({ "display_name": null })).token(as_admin).ok().await;
    assert_eq!(cleared["display_name"], Value::Null);
    let blank = house.patch(&of(&id), json!({ "display_name": "  " })).token(as_admin).ok().await;
    assert_eq!(blank["display_name"], Value::Null);
    // The lists stay where everything is in scope.
    let all = house.patch(&of(&id), json!({ "scope_kind": "all" })).token(as_admin).ok().await;
    assert_eq!((&all["scope_kind"], &all["scope_cameras"]), (&json!("all"), &json!(["ghost", "yard"])));
    let opened = json!({ "active": true, "must_change_password": false, "allowed_networks": [] });
    house.patch(&of(&id), opened).token(as_admin).ok().await;
    house.sign_in("ANN", PASSWORD).await;
    let view = house.see(&of(&id)).await;
    let last = heldar_base::WallTime::parse(&text(&view["last_login_at"])).unwrap();
    assert!(before < last && last <= house.now());

    house.person("zoe", json!({})).await;
    house.person("Bob", json!({})).await;
    let list = house.see(USERS).await;
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["Ann", "Bob", ADMIN, "zoe"], "bytewise");
    assert_eq!(list[0], view);

    assert_eq!(house.delete(&of(&id)).token(as_admin).status().await, 204);
    let row = house.audit("delete_user").await[0].clone();
    assert_eq!((&row["target_id"], &row["detail"]["username"]), (&json!(id), &json!("Ann")));
    for (method, rest) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::POST, "/unlock"),
        (Method::GET, "/sessions"),
        (Method::DELETE, "/sessions"),
        (Method::DELETE, "/sessions/ses_x"),
    ] {
        let call = house.call(method.clone(), &format!("{}{rest}", of(&id))).token(as_admin);
        let call = if method == Method::PATCH { call.json(&json!({})) } else { call };
        assert_eq!(call.send().await.error(), (404, "not_found".to_owned()), "{method} {rest}");
    }
    // The name is free again.
    house.person("ann", json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_may_be() {
    let house = House::start().await;
    let as_admin = house.admin.as_str();
    let id = house.person("ann", json!({})).await;
    let before = house.see(&of(&id)).await;
    let make = |fields: &Value| {
        let mut body = json!({ "username": "new", "password": PASSWORD });
        crate::house::merge(&mut body, fields.clone());
        house.post(USERS, body).token(as_admin)
    };
    for (fields, field, index) in wrong_fields() {
        assert_eq!(refusal(make(&fields)).await, invalid(field, index), "{fields}");
        let change = house.patch(&of(&id), fields.clone()).token(as_admin);
        assert_eq!(refusal(change).await, invalid(field, index), "{fields}");
    }
    for (fields, field) in of_later() {
        let expect = (400, "not_supported".to_owned(), field.to_owned(), None);
        assert_eq!(refusal(make(&fields)).await, expect, "{fields}");
        let change = house.patch(&of(&id), fields.clone()).token(as_admin);
        assert_eq!(refusal(change).await, expect, "{fields}");
    }
    for username in ["", "  ", &"x".repeat(129)] {
        let fields = json!({ "username": username });
        assert_eq!(refusal(make(&fields)).await, invalid("username", None), "{username}");
    }
    for username in ["Ann", "ANN", " ann "] {
        assert_eq!(refusal(make(&json!({ "username": username }))).await.0, 409, "{username}");
    }
    for body in [json!({}), json!({ "username": "x" }), json!({ "password": PASSWORD })] {
        assert_eq!(refusal(house.post(USERS, body).token(as_admin)).await.0, 422);
    }
    for fields in [json!({ "active": "yes" }), json!({ "scope_cameras": "gate" }), json!({ "role": 1 })] {
        assert_eq!(refusal(make(&fields)).await.0, 422, "{fields}");
    }
    // A role that is limited as it is: the scope of an administrator, the role of someone limited.
    let limited = json!({ "scope_kind": "cameras", "scope_cameras": ["gate"] });
    let keeper = house.person("keeper", limited.clone()).await;
    let promote = house.patch(&of(&keeper), json!({ "role": "admin" })).token(as_admin);
    assert_eq!(refusal(promote).await, invalid("scope_kind", None));
    let boss = house.person("boss", json!({ "role": "admin" })).await;
    assert_eq!(refusal(house.patch(&of(&boss), limited).token(as_admin)).await, invalid("scope_kind", None));
    assert_eq!(house.see(&of(&id)).await, before);
    assert_eq!(house.see(USERS).await.as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_that_are_asked_for() {
    let env = [("HELDAR_PASSWORD_MIN_LENGTH", "12"), ("HELDAR_PASSWORD_BLOCK_COMMON", "true")];
    let house = House::start_with(&env).await;
    for (username, password, fine) in [
        ("a", "elevenchars", false),
        ("b", "password1234", false),
        ("a-long-username", "A-Long-Username", false),
        ("c", "twelve chars", true),
    ] {
        let body = json!({ "username": username, "password": password });
        let answer = house.post(USERS, body).token(&house.admin).send().await;
        assert_eq!(answer.status == 201, fine, "{password}: {}", answer.json());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_end_with_what_they_stand_on() {
    let house = House::start().await;
    let (id, first) = house.signed_in("ann", json!({ "role": "manager" })).await;
    let me = |token: &str| house.get("/api/v1/auth/me").token(token).status();
    let change = async |body: Value| house.patch(&of(&id), body).token(&house.admin).ok().await;
    let sites = |token: &str| {
        let call = house.post("/api/v1/sites", json!({ "name": "" })).token(token);
        async move { call.status().await }
    };
    assert_eq!(sites(&first).await, 400);
    // Rights change at once; the sign-in goes on.
    change(json!({ "role": "viewer" })).await;
    assert_eq!((sites(&first).await, me(&first).await), (403, 200));
    change(json!({ "display_name": "x", "must_change_password": false, "active": true })).await;
    assert_eq!(me(&first).await, 200);
    change(json!({ "password": "battery staple" })).await;
    assert_eq!(me(&first).await, 401);
    assert_eq!(house.login("ann", PASSWORD).status().await, 401);
    let second = house.sign_in("ann", "battery staple").await;
    change(json!({ "active": false })).await;
    assert_eq!(me(&second).await, 401);
    assert_eq!(house.login("ann", "battery staple").status().await, 401);
    change(json!({ "active": true })).await;
    assert_eq!(me(&second).await, 401, "it ended for good");
    let [third, fourth] =
        [house.sign_in("ann", "battery staple").await, house.sign_in("ann", "battery staple").await];
    let list = house.see(&format!("{}/sessions", of(&id))).await;
    assert_eq!(list.as_array().unwrap().len(), 2, "{list}");
    assert!(list.as_array().unwrap().iter().all(|session| session["current"] == false));
    let newest = text(&list[0]["id"]);
    let own = house.see("/api/v1/auth/me").await;
    let foreign = format!("{}/sessions/{}", of(&id), text(&own["session"]["id"]));
    assert_eq!(house.delete(&foreign).token(&house.admin).status().await, 404);
    let one = format!("{}/sessions/{newest}", of(&id));
    assert_eq!(house.delete(&one).token(&house.admin).status().await, 204);
    assert_eq!(house.delete(&one).token(&house.admin).status().await, 404);
    assert_eq!((me(&third).await, me(&fourth).await), (200, 401));
    house.delete(&format!("{}/sessions", of(&id))).token(&house.admin).ok().await;
    assert_eq!((me(&third).await, me(&house.admin).await), (401, 200));
    let (gone, token) = house.signed_in("bob", json!({})).await;
    house.delete(&of(&gone)).token(&house.admin).ok().await;
    assert_eq!(me(&token).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_administers_always() {
    let house = House::start().await;
    let root = text(&house.see("/api/v1/auth/me").await["id"]);
    let demoted = json!({ "role": "manager" });
    for body in [demoted.clone(), json!({ "active": false }), json!({ "role": "viewer", "active": true })] {
        let answer = house.patch(&of(&root), body.clone()).token(&house.admin).send().await;
        assert_eq!(answer.error(), (400, "validation".to_owned()), "{body}");
    }
    // One who may not sign in does not count.
    house.person("inactive", json!({ "role": "admin", "active": false })).await;
    assert_eq!(house.patch(&of(&root), demoted.clone()).token(&house.admin).status().await, 400);
    // Nor does a key; and it deletes nobody who is the last.
    let (_, key) = house.key(json!({ "capabilities": ["admin"] })).await;
    assert_eq!(house.delete(&of(&root)).key(&key).send().await.error(), (400, "validation".to_owned()));
    assert_eq!(house.delete(&of(&root)).token(&house.admin).status().await, 400, "one's own account");

    for round in 0..8 {
        let second = house.person(&format!("second {round}"), json!({ "role": "admin" })).await;
        let ways = [json!({ "role": "viewer" }), json!({ "active": false })];
        let end = |id: &str, n: usize| match (round + n) % 3 {
            2 => house.delete(&of(id)).key(&key),
            way => house.patch(&of(id), ways[way].clone()).key(&key),
        };
        let [a, b] = [end(&root, 0), end(&second, 1)];
        let (a, b) = tokio::join!(a.status(), b.status());
        let kept = [a, b].iter().filter(|status| **status == 400).count();
        assert_eq!(kept, 1, "{a} {b}");
        if a != 400 {
            // The other one is left, and makes room.
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_two_administrators_are_demoted_at_once_by_themselves() {
    let house = House::start().await;
    let root = text(&house.see("/api/v1/auth/me").await["id"]);
    let (second, token) = house.signed_in("second", json!({ "role": "admin" })).await;
    let demoted = json!({ "role": "viewer" });
    let (a, b) = tokio::join!(
        house.patch(&of(&second), demoted.clone()).token(&house.admin).status(),
        house.patch(&of(&root), demoted).token(&token).status()
    );
    // The later one is the last, or is none any more when its turn comes.
    let mut found = [a, b];
    found.sort_unstable();
    assert!(found[0] == 200 && matches!(found[1], 400 | 403), "{found:?}");
    let admin = if a == 200 { &house.admin } else { &token };
    let list = house.get(USERS).token(admin).ok().await;
    let admins = list.as_array().unwrap().iter().filter(|user| user["role"] == "admin").count();
    assert_eq!(admins, 1);
}
