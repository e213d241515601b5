//! Sessions: how they begin, what they are shown as, and what ends them.

use axum::http::{Method, Request};
use heldar_access::{SignIn, TokenHash};
use heldar_base::{Micros, WallTime};
use heldar_http::Scheme;
use serde_json::{Value, json};

use crate::house::{ADMIN, House, PASSWORD, bytes_without_id, text};
use crate::support::Answer;

const ME: &str = "/api/v1/auth/me";
const LOGOUT: &str = "/api/v1/auth/logout";
const STALE: (u16, &str) = (401, "invalid_credential");

fn cookies(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("set-cookie").into_iter();
    all.map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Status of a request for oneself.
async fn holds(house: &House, token: &str) -> bool {
    match house.get(ME).token(token).outcome().await {
        (200, _) => true,
        (status, reason) => {
            assert_eq!((status, reason.as_str()), STALE);
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_the_answer_is_the_same() {
    let house = House::start().await;
    house.person("viewer", json!({})).await;
    house.person("away", json!({ "active": false })).await;
    house.person("elsewhere", json!({ "allowed_networks": ["192.0.2.0/24"] })).await;
    house.person("locked", json!({})).await;
    for _ in 0..5 {
        assert_eq!(house.login("locked", "wrong").status().await, 401);
    }
    let expect = house.login("nobody of this name", PASSWORD).send().await;
    assert_eq!(expect.error(), (401, "unauthenticated".to_owned()));
    assert_eq!(expect.json()["error"], "invalid credentials");
    assert_eq!(expect.json()["reason"], "sign_in_failed");
    assert_eq!(expect.header("www-authenticate"), Some("Bearer realm=\"heldar\""));
    let long = "x".repeat(2000);
    for (username, password) in [
        ("viewer", "wrong"),
        ("viewer", ""),
        ("viewer", &long),
        ("", PASSWORD),
        ("away", PASSWORD),
        ("away", "wrong"),
        ("elsewhere", PASSWORD),
        ("locked", PASSWORD),
        ("locked", "wrong"),
    ] {
        let answer = house.login(username, password).send().await;
        assert_eq!(bytes_without_id(&answer), bytes_without_id(&expect), "{username}");
    }
    house.login("elsewhere", PASSWORD).from("192.0.2.7").ok().await;
    // The name in any case, with room around it; the password as it is.
    house.login("  VIEWER ", PASSWORD).ok().await;
    assert_eq!(house.login("viewer", &format!(" {PASSWORD}")).status().await, 401);
    for body in [json!({}), json!({ "username": "viewer" }), json!({ "username": 1, "password": "x" })] {
        assert_eq!(house.post("/api/v1/auth/login", body).status().await, 422);
    }
    let nul = house.login("view\0er", PASSWORD).send().await;
    assert_eq!(nul.status, 400, "{}", nul.json());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_makes_a_token_of_its_own_and_a_cookie() {
    let house = House::start().await;
    let mine = format!("vos_{}", "7".repeat(64));
    let before = house.now();
    let answer = house.login(ADMIN, PASSWORD).cookie(&mine).send().await;
    let body = answer.ok();
    let token = text(&body["token"]);
    assert_eq!(token.len(), 68);
    assert!(token.starts_with("vos_") && token[4..].bytes().all(|b| b"0123456789abcdef".contains(&b)));
    let expires = WallTime::parse(&text(&body["expires_at"])).unwrap();
    assert!((Micros::from_hours(12)..Micros::from_hours(13)).contains(&(expires - before)));
    assert_eq!(
        (&body["user"]["username"], &body["user"]["role"], &body["user"]["display_name"]),
        (&json!(ADMIN), &json!("admin"), &json!(ADMIN))
    );
    let expect = format!("heldar_session={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200");
    assert_eq!(cookies(&answer), [expect]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    // What a client chose is no session, before and after.
    assert!(!holds(&house, &mine).await);
    assert!(holds(&house, &token).await);
    let other = house.login(ADMIN, PASSWORD).cookie(&token).ok().await;
    assert_ne!(text(&other["token"]), token);

    let body = json!({ "username": ADMIN, "password": PASSWORD, "cookie_only": true });
    let answer = house.post("/api/v1/auth/login", body.clone()).send().await;
    assert!(answer.ok().get("token").is_none(), "{}", answer.json());
    let set = cookies(&answer).remove(0);
    let token = set.strip_prefix("heldar_session=").unwrap().split(';').next().unwrap();
    assert_eq!(house.get(ME).cookie(token).ok().await["name"], ADMIN);
    assert!(!String::from_utf8(answer.bytes).unwrap().contains(token));

    // Over TLS the cookie comes back over TLS alone.
    let request = Request::builder().method(Method::POST).uri("/api/v1/auth/login");
    let request = request.header("host", "nvr.lan").header("content-type", "application/json");
    let request = request.body(axum::body::Body::from(body.to_string())).unwrap();
    let peer = ([127, 0, 0, 1], 40_000).into();
    let response = house.app.call_over(Scheme::Https, request, peer).await;
    let set = response.headers().get("set-cookie").unwrap().to_str().unwrap();
    assert!(set.ends_with("; Max-Age=43200; Secure"), "{set}");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_sessions() {
    let env = [
        ("HELDAR_AUTH_COOKIE_SECURE", "true"),
        ("HELDAR_SESSION_TTL_HOURS", "2"),
        ("HELDAR_SESSION_IDLE_TIMEOUT_MIN", "5"),
        ("HELDAR_SESSION_MAX_LIFETIME_HOURS", "10"),
    ];
    let house = House::start_with(&env).await;
    let answer = house.login(ADMIN, PASSWORD).send().await;
    assert!(cookies(&answer)[0].ends_with("; Max-Age=7200; Secure"), "{:?}", cookies(&answer));
    let me = house.see(ME).await;
    let time = |value: &Value| WallTime::parse(&text(value)).unwrap();
    let idle = time(&me["session"]["idle_expires_at"]) - house.now();
    assert!((Micros::from_secs(240)..=Micros::from_secs(300)).contains(&idle), "{me}");

    // Sessions that began some time ago.
    let person = text(&me["id"]);
    let session = |name: &str, age: i64, unused: i64, left: i64| {
        let now = house.now();
        let (id, hash) = (format!("ses_{name}"), TokenHash::of(&format!("vos_{name}")));
        let session = SignIn {
            id,
            person: person.clone(),
            hash,
            created_at: now - Micros::from_secs(60 * age),
            last_used_at: now - Micros::from_secs(60 * unused),
            expires_at: now + Micros::from_secs(60 * left),
            ip: None,
            user_agent: None,
        };
        house.kernel.accounts.change(|directory| directory.put_session(session));
        format!("vos_{name}")
    };
    assert!(!holds(&house, &session("over", 120, 1, 0)).await);
    assert!(!holds(&house, &session("idle", 60, 6, 60)).await);
    assert!(holds(&house, &session("used", 60, 4, 60)).await);
    // Use prolongs one, and its cookie with it, up to the longest life.
    let token = session("slides", 30, 1, 90);
    let answer = house.get(ME).cookie(&token).send().await;
    let left = time(&answer.ok()["session"]["expires_at"]) - house.now();
    assert!((Micros::from_secs(7100)..=Micros::from_secs(7200)).contains(&left), "{}", answer.json());
    let set = cookies(&answer);
    let expect = format!("heldar_session={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=7");
    assert!(set.len() == 1 && set[0].starts_with(&expect) && set[0].ends_with("; Secure"), "{set:?}");
    assert_eq!(cookies(&house.get(ME).cookie(&token).send().await), [""; 0], "not worth telling");
    let token = session("old", 9 * 60 + 30, 1, 20);
    let left = time(&house.get(ME).token(&token).ok().await["session"]["expires_at"]) - house.now();
    assert!((Micros::from_secs(1700)..=Micros::from_secs(1800)).contains(&left), "no longer than ten hours");
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_every_session_that_is_shown() {
    let house = House::start().await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(house.sign_in(ADMIN, PASSWORD).await);
    }
    let (_, key) = house.key(json!({ "capabilities": ["camera:read"] })).await;
    let [bearer, header, first, second] = &tokens[..] else { panic!() };
    let logout = house.call(Method::POST, LOGOUT).token(bearer).key(header);
    let logout = logout.header("cookie", &format!("a=b; heldar_session={first}; heldar_session={second}"));
    let answer = logout.send().await;
    assert_eq!(answer.status, 204);
    assert_eq!(cookies(&answer), ["heldar_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"]);
    for token in &tokens {
        assert!(!holds(&house, token).await);
    }
    assert_eq!(house.audit("logout").await.len(), 4);
    // A key is no session, and nobody needs one to sign out.
    assert_eq!(house.call(Method::POST, LOGOUT).key(&key).status().await, 204);
    house.get("/api/v1/cameras").key(&key).ok().await;
    assert_eq!(house.call(Method::POST, LOGOUT).status().await, 204);
    assert_eq!(house.call(Method::POST, LOGOUT).token("vos_none").status().await, 204);
    assert!(holds(&house, &house.admin).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_credential_decides_and_a_stale_cookie_is_cleared() {
    let house = House::start().await;
    let (_, key) = house.key(json!({ "name": "machine", "capabilities": ["camera:read"] })).await;
    let (_, viewer) = house.signed_in("viewer", json!({})).await;
    let name = async |call: crate::house::Call<'_>| {
        let answer = call.send().await;
        let shown = answer.json()["name"].as_str().map(str::to_owned);
        shown.unwrap_or_else(|| crate::house::reason(&answer))
    };
    assert_eq!(name(house.get(ME).cookie(&viewer).key(&key).token(&house.admin)).await, ADMIN);
    assert_eq!(name(house.get(ME).cookie(&viewer).key(&key)).await, "machine");
    assert_eq!(name(house.get(ME).cookie(&viewer)).await, "viewer");
    assert_eq!(name(house.get(ME).header("authorization", &format!("bearer {viewer}"))).await, "viewer");
    assert_eq!(name(house.get(ME).token(&key)).await, "machine", "a key is told by its prefix");
    assert_eq!(name(house.get(ME).cookie(&viewer).key("")).await, "viewer", "empty is none");
    assert_eq!(name(house.get(ME).cookie(&viewer).key("vok_x")).await, "invalid_credential");
    let answer = house.get(ME).cookie("vos_stale").send().await;
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"heldar\", error=\"invalid_token\""));
    assert_eq!(cookies(&answer), ["heldar_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"]);
    assert_eq!(cookies(&house.get(ME).token("vos_stale").cookie(&viewer).send().await), [""; 0]);
    // A token in an address is none.
    let in_query = house.get(&format!("{ME}?token={viewer}&api_key={key}")).outcome().await;
    assert_eq!(in_query, (401, "no_credential".to_owned()));

    // A page of another origin acts with no cookie.
    let make = || house.post("/api/v1/sites", json!({ "name": "x" }));
    let refused = |site: &str, origin: &str| {
        let call = make().cookie(&house.admin).header("sec-fetch-site", site).header("origin", origin);
        async move { call.outcome().await }
    };
    let foreign = (403, "origin_not_allowed".to_owned());
    assert_eq!(refused("cross-site", "http://nvr.lan").await, foreign);
    assert_eq!(refused("same-site", "http://evil.lan").await, foreign);
    assert_eq!(refused("same-origin", "null").await, foreign);
    assert_eq!(refused("same-origin", "http://nvr.lan").await.0, 201);
    let by_token = make().token(&house.admin).header("origin", "http://evil.lan");
    assert_eq!(by_token.status().await, 409, "a token is put there on purpose");
    let upgrade = house.get("/live/ws/cam_gate").cookie(&house.admin).header("upgrade", "websocket");
    assert_eq!(upgrade.header("origin", "http://evil.lan").outcome().await, foreign);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_choose_a_password_can_do_nothing_else() {
    let house = House::start().await;
    let (id, token) = house.signed_in("new", json!({ "role": "admin", "must_change_password": true })).await;
    let api = house.see("/api/v1/openapi.json").await;
    let mut closed = 0;
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let public = operation["x-heldar-access"]["need"] == "public";
            if public || path == ME || path == "/api/v1/auth/password" {
                continue;
            }
            let path = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
            let path = path.collect::<Vec<_>>().join("/");
            let call = house.call(method.to_uppercase().parse().unwrap(), &path).token(&token);
            assert_eq!(call.outcome().await, (403, "password_change_required".to_owned()), "{method} {path}");
            closed += 1;
        }
    }
    assert!(closed > 60, "{closed}");
    let nothing = house.get("/api/v1/nothing").token(&token).outcome().await;
    assert_eq!(nothing, (403, "password_change_required".to_owned()));
    assert_eq!(house.get(ME).token(&token).ok().await["must_change_password"], true);
    let choose = json!({ "current_password": PASSWORD, "new_password": "battery staple" });
    house.post("/api/v1/auth/password", choose).token(&token).ok().await;
    assert_eq!(house.get(ME).token(&token).ok().await["must_change_password"], false);
    house.get("/api/v1/users").token(&token).ok().await;
    assert_eq!(house.see(&format!("/api/v1/users/{id}")).await["must_change_password"], false);
    // Once more, and signing out is still possible.
    let again = json!({ "must_change_password": true });
    house.patch(&format!("/api/v1/users/{id}"), again).token(&house.admin).ok().await;
    assert_eq!(house.get("/api/v1/users").token(&token).status().await, 403);
    assert_eq!(house.call(Method::POST, LOGOUT).token(&token).status().await, 204);
    assert!(!holds(&house, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sign_ins() {
    let house = House::start().await;
    house.person("viewer", json!({})).await;
    let [this, other] = [house.sign_in("viewer", PASSWORD).await, house.sign_in("viewer", PASSWORD).await];
    let change = |current: &str, new: &str| {
        house.post("/api/v1/auth/password", json!({ "current_password": current, "new_password": new }))
    };
    for (current, new, field) in [
        ("wrong", "battery staple", "current_password"),
        (PASSWORD, "short", "new_password"),
        (PASSWORD, &"x".repeat(1025), "new_password"),
    ] {
        let answer = change(current, new).token(&this).send().await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{}", answer.json());
    }
    assert!(holds(&house, &other).await);
    assert_eq!(change(PASSWORD, "battery staple").token(&this).status().await, 204);
    assert!(holds(&house, &this).await && !holds(&house, &other).await);
    assert_eq!(house.login("viewer", PASSWORD).status().await, 401);
    house.login("viewer", "battery staple").ok().await;
    let rows = house.audit("change_password").await;
    let outcomes: Vec<_> = rows.iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!((outcomes, &rows[0]["actor_name"]), (vec![json!("ok"), json!("failed")], &json!("viewer")));
    assert!(!rows[0].to_string().contains("battery"));
    // Machines have none.
    let (_, key) = house.key(json!({ "capabilities": ["admin"] })).await;
    assert_eq!(change("x", "battery staple").key(&key).status().await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_sign_ins() {
    let house = House::start().await;
    house.person("viewer", json!({})).await;
    let mut tokens = Vec::new();
    for agent in ["one", "two", "three"] {
        let call = house.login("viewer", PASSWORD).header("user-agent", agent).from("192.0.2.1");
        tokens.push(text(&call.ok().await["token"]));
    }
    let list = async || house.get("/api/v1/auth/sessions").token(&tokens[1]).ok().await;
    let all = list().await;
    let agents: Vec<&str> =
        all.as_array().unwrap().iter().map(|s| s["user_agent"].as_str().unwrap()).collect();
    assert_eq!(agents, ["three", "two", "one"]);
    assert_eq!(
        (&all[0]["current"], &all[1]["current"], &all[1]["ip"]),
        (&json!(false), &json!(true), &json!("192.0.2.1"))
    );
    let names: Vec<&str> = all[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names.len(), 7, "{names:?}");
    let one = |id: &str| house.delete(&format!("/api/v1/auth/sessions/{id}"));
    // Nobody ends those of others here.
    assert_eq!(one(&text(&all[0]["id"])).token(&house.admin).status().await, 404);
    assert_eq!(one(&text(&all[0]["id"])).token(&tokens[1]).status().await, 204);
    assert_eq!(one(&text(&all[0]["id"])).token(&tokens[1]).status().await, 404);
    assert!(!holds(&house, &tokens[2]).await && holds(&house, &tokens[0]).await);
    let all = |query: &str| house.delete(&format!("/api/v1/auth/sessions{query}"));
    assert_eq!(all("").token(&tokens[1]).status().await, 204);
    assert!(!holds(&house, &tokens[0]).await && holds(&house, &tokens[1]).await);
    assert_eq!(all("?include_current=true").token(&tokens[1]).status().await, 204);
    assert!(!holds(&house, &tokens[1]).await);
    let rows = house.audit("revoke_sessions").await;
    assert_eq!((&rows[0]["detail"], &rows[1]["detail"]), (&json!({ "count": 1 }), &json!({ "count": 1 })));
    assert_eq!(house.audit("revoke_session").await.len(), 1);
    let (_, key) = house.key(json!({ "capabilities": ["admin"] })).await;
    for call in [house.get("/api/v1/auth/sessions"), all("")] {
        assert_eq!(call.key(&key).status().await, 403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ones_own_is_kept_for_people_alone() {
    let house = House::start().await;
    let path = "/api/v1/me/preferences";
    let (_, viewer) = house.signed_in("viewer", json!({})).await;
    let put = |body: &Value| house.call(Method::PUT, path).json(body);
    assert_eq!(house.get(path).token(&viewer).ok().await, json!({}));
    let document = json!({ "theme": "dark", "layouts": [1, { "a": null }] });
    assert_eq!(put(&document).token(&viewer).ok().await, document);
    assert_eq!(house.get(path).token(&viewer).ok().await, document);
    assert_eq!(house.see(path).await, json!({}), "each has its own");
    for body in [json!([]), json!("x"), json!(null)] {
        let status = put(&body).token(&viewer).status().await;
        assert!(matches!(status, 400 | 422), "{body}: {status}");
    }
    let large = put(&json!({ "x": "y".repeat(64 * 1024) })).token(&viewer).send().await;
    assert_eq!(large.error(), (413, "too_large".to_owned()));
    let (_, key) = house.key(json!({ "capabilities": ["admin"] })).await;
    assert_eq!(house.get(path).key(&key).status().await, 403);
    assert_eq!(put(&json!({})).key(&key).status().await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn oneself() {
    let house = House::start().await;
    let limited =
        json!({ "scope_kind": "cameras", "scope_cameras": ["b", "a"], "display_name": "Gate keeper" });
    let (id, token) = house.signed_in("keeper", limited).await;
    let me = house.get(ME).token(&token).ok().await;
    let scope = json!({ "kind": "cameras", "cameras": ["a", "b"], "sites": [] });
    assert_eq!(
        (&me["id"], &me["name"], &me["role"], &me["kind"], &me["username"], &me["scope"]),
        (&json!(id), &json!("Gate keeper"), &json!("viewer"), &json!("user"), &json!("keeper"), &scope)
    );
    assert_eq!(me["grants"], json!([{ "capabilities": me["capabilities"], "scope": scope }]));
    assert_eq!(me["capabilities"].as_array().unwrap().len(), 11);
    assert_eq!(me["auth"], json!({ "enabled": true, "open": false }));
    assert!(me["session"]["id"].as_str().unwrap().starts_with("ses_"));
    let (id, key) =
        house.key(json!({ "name": "machine", "capabilities": ["video:live", "camera:read"] })).await;
    let me = house.get(ME).key(&key).ok().await;
    assert_eq!(
        (&me["id"], &me["name"], &me["role"], &me["kind"], &me["username"], &me["session"]),
        (&json!(id), &json!("machine"), &json!("integration"), &json!("api_key"), &json!(null), &json!(null))
    );
    assert_eq!(me["capabilities"], json!(["camera:read", "video:live"]));
    let methods = house.get("/api/v1/auth/methods").ok().await;
    let expect = json!({ "auth_enabled": true, "open": false, "password": true, "setup_needed": false });
    assert_eq!(methods, expect);
}
