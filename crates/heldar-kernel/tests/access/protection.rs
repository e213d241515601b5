//! Guesses of passwords: counted, locked out, limited, and written down (auth-system.md 12).

use axum::http::Method;
use heldar_base::{Micros, Scope, WallTime};
use heldar_store::op::CountFailure;
use serde_json::{Value, json};

use crate::house::{Call, House, PASSWORD, text};

const SETTINGS: (u32, Micros) = (5, Micros::from_secs(15 * 60));

async fn wrong(house: &House, username: &str, from: &str, times: usize) {
    for _ in 0..times {
        assert_eq!(house.login(username, "wrong").from(from).status().await, 401);
    }
}

async fn gets_in(call: Call<'_>) -> bool {
    let answer = call.send().await;
    assert!(matches!(answer.status, 200 | 401), "{} {}", answer.status, answer.json());
    answer.status == 200
}

/// Failures of an account as they are stored, by client.
async fn failures(house: &House, id: &str) -> Vec<(String, u32, Option<WallTime>)> {
    let rows = house.kernel.store.sign_in_failures(&Scope::All, Some(id), None, 100).await.unwrap().rows;
    rows.into_iter().map(|row| (row.client, row.failures, row.locked_until)).collect()
}

/// A browser that asks to be known; its cookie.
async fn device(house: &House, username: &str, from: &str) -> String {
    let body = json!({ "username": username, "password": PASSWORD, "remember_device": true });
    let answer = house.post("/api/v1/auth/login", body).from(from).send().await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let mut cookies = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let cookie = cookies.find(|cookie| cookie.starts_with("heldar_device=")).unwrap();
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/api/v1/auth; Max-Age=15552000"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_failures_lock_one_source_out_of_one_account() {
    let house = House::start().await;
    let id = house.person("viewer", json!({})).await;
    house.person("other", json!({})).await;
    let device = device(&house, "viewer", "10.2.0.1").await;
    let right = |from: &str| house.login("viewer", PASSWORD).from(from);
    // A sign-in begins the count anew.
    wrong(&house, "viewer", "10.2.0.1", 4).await;
    assert!(gets_in(right("10.2.0.1")).await);
    wrong(&house, "viewer", "10.2.0.1", 4).await;
    assert_eq!(house.see(&format!("/api/v1/users/{id}")).await["locked_until"], Value::Null);
    let before = house.now();
    wrong(&house, "viewer", "10.2.0.1", 1).await;
    assert!(!gets_in(right("10.2.0.1")).await, "locked");
    let user = house.see(&format!("/api/v1/users/{id}")).await;
    let until = WallTime::parse(&text(&user["locked_until"])).unwrap();
    let lock = until - before;
    assert!((SETTINGS.1..SETTINGS.1 + Micros::from_secs(20)).contains(&lock), "{user}");
    assert_eq!(house.see("/api/v1/users").await[2]["locked_until"], user["locked_until"]);
    // Further attempts do not prolong it.
    wrong(&house, "viewer", "10.2.0.1", 2).await;
    assert_eq!(house.see(&format!("/api/v1/users/{id}")).await["locked_until"], user["locked_until"]);
    assert!(gets_in(house.login("other", PASSWORD).from("10.2.0.1")).await, "another account");
    let stranger = house.login("viewer", PASSWORD).from("10.2.0.1").header("cookie", "heldar_device=x");
    assert!(!gets_in(stranger).await);
    assert!(gets_in(right("10.2.0.2")).await, "another source");
    assert!(gets_in(right("10.2.0.1")).await, "a sign-in unlocks the account");
    wrong(&house, "viewer", "10.2.0.1", 5).await;
    assert!(gets_in(right("10.2.0.1").header("cookie", &device)).await, "a known device");

    // A known device is counted by itself, wherever it is.
    for n in 0..5 {
        let from = format!("10.2.1.{n}");
        let call = house.login("viewer", "wrong").from(&from).header("cookie", &device);
        assert_eq!(call.status().await, 401);
    }
    assert!(!gets_in(right("10.2.0.9").header("cookie", &device)).await, "the device is locked");
    assert!(gets_in(right("10.2.0.9")).await, "and nobody else");

    let locks = house.audit("login_locked").await;
    assert_eq!(locks.len(), 3, "every one");
    for row in &locks {
        assert_eq!((&row["target_id"], &row["outcome"]), (&json!(id), &json!("failed")));
        assert!(row["detail"]["locked_until"].is_string() && row["ip"].is_string(), "{row}");
    }

    // An administrator lets them try again: for its own sake, or by any change.
    wrong(&house, "viewer", "10.2.0.1", 5).await;
    assert!(!gets_in(right("10.2.0.1")).await);
    let unlocked =
        house.call(Method::POST, &format!("/api/v1/users/{id}/unlock")).token(&house.admin).ok().await;
    assert_eq!(unlocked["locked_until"], Value::Null);
    assert!(gets_in(right("10.2.0.1")).await);
    assert_eq!(house.audit("unlock_user").await.len(), 1);
    wrong(&house, "viewer", "10.2.0.3", 5).await;
    assert!(!gets_in(right("10.2.0.3")).await);
    house.patch(&format!("/api/v1/users/{id}"), json!({})).token(&house.admin).ok().await;
    assert!(gets_in(right("10.2.0.3")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_one_host_is_one_source() {
    let house = House::start().await;
    house.person("viewer", json!({})).await;
    for n in 0..5 {
        wrong(&house, "viewer", &format!("2001:db8:0:1::{n}"), 1).await;
    }
    assert!(!gets_in(house.login("viewer", PASSWORD).from("2001:db8:0:1:ffff::")).await);
    assert!(gets_in(house.login("viewer", PASSWORD).from("2001:db8:0:2::")).await);
    for from in ["10.3.0.1", "::ffff:10.3.0.1"].into_iter().cycle().take(5) {
        wrong(&house, "viewer", from, 1).await;
    }
    assert!(!gets_in(house.login("viewer", PASSWORD).from("10.3.0.1")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_has_run_out_begins_a_fresh_count() {
    let house = House::start().await;
    let id = house.person("viewer", json!({})).await;
    // As failures of an hour ago have left it.
    let past = async |client: &str| {
        for _ in 0..5 {
            let op = CountFailure {
                account: id.clone(),
                client: client.to_owned(),
                max_failures: SETTINGS.0,
                lock: SETTINGS.1,
                on_lock: None,
                now: house.now() - Micros::from_hours(1),
            };
            house.kernel.store.write(op).await.unwrap();
        }
    };
    past("source:10.4.0.1").await;
    assert_eq!(house.see(&format!("/api/v1/users/{id}")).await["locked_until"], Value::Null);
    wrong(&house, "viewer", "10.4.0.1", 4).await;
    assert!(gets_in(house.login("viewer", PASSWORD).from("10.4.0.1")).await, "four since then");
    past("source:10.4.0.2").await;
    wrong(&house, "viewer", "10.4.0.2", 5).await;
    assert!(!gets_in(house.login("viewer", PASSWORD).from("10.4.0.2")).await, "five since then");
    assert_eq!(house.audit("login_locked").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_guesses_are_counted_one_by_one() {
    let house = House::start().await;
    let id = house.person("viewer", json!({})).await;
    let guess = |password: &str| {
        let call = house.login("viewer", password).from("10.5.0.1");
        async move { call.send().await.status }
    };
    let passwords = (0..51).map(|n| if n == 25 { PASSWORD.to_owned() } else { format!("guess {n}") });
    let passwords: Vec<String> = passwords.collect();
    let found = futures_util::future::join_all(passwords.iter().map(|password| guess(password))).await;
    let count = |status: u16| found.iter().filter(|found| **found == status).count();
    // The source has thirty attempts, whatever they are, and few more while the test runs.
    assert!((18..=21).contains(&count(429)) && count(429) + count(401) + count(200) == 51, "{found:?}");
    assert!(count(200) <= 1, "{found:?}");
    let rows = failures(&house, &id).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0].0 == "source:10.5.0.1" && rows[0].1 == 5 && rows[0].2.is_some(), "{rows:?}");
    assert_eq!(house.audit("login_locked").await.len(), 1);
    let answer = house.login("viewer", PASSWORD).from("10.5.0.2");
    assert!(gets_in(answer).await);
}

/// Whoever has somebody's session may not guess the password with it, from wherever, nor unseen.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_no_place_to_guess() {
    let house = House::start().await;
    let id = house.person("viewer", json!({})).await;
    let token = text(&house.login("viewer", PASSWORD).from("10.16.0.1").ok().await["token"]);
    let guess = |n: usize| {
        let body = json!({ "current_password": format!("guess {n}"), "new_password": "battery staple" });
        house.post("/api/v1/auth/password", body).token(&token).from(&format!("10.16.1.{n}"))
    };
    for n in 0..5 {
        assert_eq!(guess(n).status().await, 400);
    }
    assert_eq!(guess(5).status().await, 429);
    let rows = house.audit("change_password").await;
    let failed = rows.iter().filter(|row| row["outcome"] == "failed" && row["actor"] == json!(id)).count();
    assert_eq!(failed, 5);
    assert_eq!(failures(&house, &id).await.len(), 5, "each counts where it came from");
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_attempts_a_minute() {
    let house = House::start().await;
    house.person("viewer", json!({})).await;
    let device = device(&house, "viewer", "10.6.0.1").await;
    let token = text(&house.login("viewer", PASSWORD).from("10.6.0.1").ok().await["token"]);
    for n in 0..28 {
        let name = format!("stranger {n}");
        assert_eq!(house.login(&name, "guess").from("10.6.0.1").status().await, 401);
    }
    let setup = json!({ "setup_token": "x", "username": "x", "password": "12345678" });
    for call in [
        house.login("viewer", PASSWORD),
        house.login("stranger", "x"),
        house.post("/api/v1/auth/setup", setup),
    ] {
        let answer = call.from("10.6.0.1").send().await;
        // The bucket fills while the test runs.
        if answer.status == 429 {
            assert_eq!(answer.error(), (429, "rate_limited".to_owned()));
            let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=2).contains(&seconds), "{seconds}");
        } else {
            assert!(house.now() > house.kernel.started_at + Micros::from_secs(2));
        }
    }
    assert!(gets_in(house.login("viewer", PASSWORD).from("10.6.0.2")).await, "another source");
    let known = house.login("viewer", PASSWORD).from("10.6.0.1").header("cookie", &device);
    assert!(gets_in(known).await, "a known device has an allowance of its own");
    // Requests with a credential are not counted.
    for _ in 0..40 {
        house.get("/api/v1/auth/me").token(&token).from("10.6.0.1").ok().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_are_written_down() {
    let house = House::start().await;
    let id = house.person("viewer", json!({ "display_name": "The Viewer" })).await;
    let call = house.login("viewer", PASSWORD).from("10.7.0.1").header("user-agent", "browser");
    let answer = call.send().await;
    let row = house.audit("login").await[0].clone();
    assert_eq!(
        (&row["actor"], &row["actor_name"], &row["role"], &row["target_type"], &row["target_id"]),
        (&json!(id), &json!("The Viewer"), &json!("viewer"), &json!("user"), &json!(id))
    );
    assert_eq!(
        (&row["ip"], &row["user_agent"], &row["outcome"], row["request_id"].as_str()),
        (&json!("10.7.0.1"), &json!("browser"), &json!("ok"), answer.header("x-request-id"))
    );
    assert!(row["credential_id"].as_str().unwrap().starts_with("ses_"), "{row}");

    wrong(&house, "viewer", "10.7.0.2", 4).await;
    wrong(&house, "viewer", "10.7.0.3", 1).await;
    wrong(&house, "my secret password", "10.7.0.2", 3).await;
    wrong(&house, "another mistake", "10.7.0.2", 3).await;
    let rows = house.audit("login_failed").await;
    assert_eq!(rows.len(), 3, "the first of each: {rows:?}");
    for row in &rows {
        assert_eq!((&row["outcome"], &row["detail"]), (&json!("failed"), &json!({ "count": 1 })));
        assert!(!row.to_string().contains("secret") && !row.to_string().contains("mistake"), "{row}");
        let stranger = row["target_id"].is_null();
        assert_eq!((&row["actor"], &row["actor_name"]), (&json!("anonymous"), &Value::Null), "{row}");
        assert!(stranger || row["target_id"] == json!(id), "{row}");
    }
    // When their minute is over.
    let mut sums: Vec<(Option<String>, Value)> = house
        .kernel
        .accounts
        .summed_up(true)
        .into_iter()
        .map(|row| (row.target_id, row.detail["count"].clone()))
        .collect();
    sums.sort_by_key(|(id, _)| id.clone());
    assert_eq!(sums, [(None, json!(6)), (Some(id), json!(4))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_written_down() {
    let house = House::start().await;
    house.furnish().await;
    let limited = json!({ "scope_kind": "cameras", "scope_cameras": ["gate"] });
    let (id, token) = house.signed_in("gate", limited).await;
    for _ in 0..3 {
        house.get("/api/v1/cameras/yard").token(&token).from("10.8.0.1").status().await;
        house.get("/api/v1/users").token(&token).from("10.8.0.1").status().await;
        house.get("/api/v1/users").from("10.8.0.2").status().await;
        house.get("/api/v1/cameras").from("10.8.0.2").status().await;
    }
    let expect = |reason: &str| json!(reason);
    crate::house::until("rows", async || house.audit("access_denied").await.len() >= 3).await;
    let rows = house.audit("access_denied").await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    for row in rows {
        let detail = &row["detail"];
        assert_eq!(
            (&row["outcome"], &row["target_type"], &detail["count"]),
            (&json!("denied"), &json!("route"), &json!(1))
        );
        match row["ip"].as_str() {
            Some("10.8.0.2") => {
                assert_eq!(
                    (&row["actor"], &detail["reason"]),
                    (&json!("anonymous"), &expect("no_credential"))
                );
            }
            _ if detail["camera_id"] == "yard" => {
                assert_eq!((&row["actor"], &detail["reason"]), (&json!(id), &expect("out_of_scope")));
                assert_eq!(detail["route"], "/api/v1/cameras/{id}");
            }
            _ => {
                assert_eq!((&row["actor"], &detail["reason"]), (&json!(id), &expect("missing_capability")));
                assert_eq!(detail["capability"], "admin");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attack_from_everywhere_keeps_nobody_out_who_is_known() {
    let house = House::start_with(&[("HELDAR_AUTH_HASH_CONCURRENCY", "1")]).await;
    house.person("viewer", json!({})).await;
    assert!(gets_in(house.login("viewer", PASSWORD).from("10.9.0.1")).await);
    let over = std::sync::atomic::AtomicUsize::new(0);
    let attack = (0..100).map(|n| {
        let (call, over) = (house.login("viewer", "guess").from(&format!("10.10.0.{n}")), &over);
        async move {
            let answer = call.send().await;
            over.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if answer.status == 429 {
                assert_eq!(answer.error().1, "rate_limited");
                assert!(answer.header("retry-after").is_some());
            }
            answer.status
        }
    });
    let owner = async {
        // When the strangers stand in their queue.
        tokio::task::yield_now().await;
        let known = gets_in(house.login("viewer", PASSWORD).from("10.9.0.1")).await;
        (known, over.load(std::sync::atomic::Ordering::Relaxed))
    };
    let (found, (known, over)) = tokio::join!(futures_util::future::join_all(attack), owner);
    let limited = found.iter().filter(|status| **status == 429).count();
    // One is being hashed while 32 wait; some may be through by then.
    assert!((50..=67).contains(&limited) && known, "{limited}");
    assert!(over < limited + 20, "its turn comes before that of most strangers: {over} of {limited}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_the_client_behind_a_proxy_that_is_trusted() {
    let house = House::start_with(&[("HELDAR_TRUSTED_PROXIES", "10.11.0.0/24")]).await;
    house.person("viewer", json!({})).await;
    let login = |password: &str, from: &str, for_whom: &str| {
        house.login("viewer", password).from(from).header("x-forwarded-for", for_whom)
    };
    for _ in 0..5 {
        // What a client claims in front of the proxy counts for nothing.
        assert_eq!(login("wrong", "10.11.0.1", "192.0.2.77, 203.0.113.5").status().await, 401);
    }
    assert!(!gets_in(login(PASSWORD, "10.11.0.1", "203.0.113.5")).await);
    assert!(
        !gets_in(house.login("viewer", PASSWORD).from("203.0.113.5")).await,
        "the same without the proxy"
    );
    // Nor does it where the peer is no proxy.
    for n in 0..5 {
        assert_eq!(login("wrong", "10.12.0.1", &format!("198.51.100.{n}")).status().await, 401);
    }
    assert!(!gets_in(login(PASSWORD, "10.12.0.1", "198.51.100.9")).await);
    let over_tls = login(PASSWORD, "10.11.0.1", "203.0.113.6").header("x-forwarded-proto", "https");
    let answer = over_tls.send().await;
    assert!(answer.header("set-cookie").unwrap().ends_with("; Secure"));
    let row = house.audit("login").await[0].clone();
    assert_eq!(row["ip"], "203.0.113.6");
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_can_be_switched_off() {
    for (name, value) in [("HELDAR_LOGIN_MAX_FAILURES", "0"), ("HELDAR_LOGIN_LOCKOUT_MIN", "-1")] {
        let house = House::start_with(&[(name, value)]).await;
        house.person("viewer", json!({})).await;
        wrong(&house, "viewer", "10.13.0.1", 8).await;
        assert!(gets_in(house.login("viewer", PASSWORD).from("10.13.0.1")).await, "{name}");
        assert_eq!(house.audit("login_locked").await.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_nothing() {
    let house = House::start().await;
    house.furnish().await;
    let (id, viewer) = house.signed_in("viewer", json!({})).await;
    let (_, out) = house.signed_in("out", json!({})).await;
    house.call(Method::POST, "/api/v1/auth/logout").token(&out).ok().await;
    let device = device(&house, "viewer", "10.14.0.1").await;
    wrong(&house, "viewer", "10.14.0.2", 5).await;
    let limited =
        json!({ "capabilities": ["video:live"], "scope_kind": "cameras", "scope_sites": ["south"] });
    let (key_id, key) = house.key(limited).await;
    let old = key.clone();
    let path = format!("/api/v1/api-keys/{key_id}/rotate");
    let key = text(&house.post(&path, json!({ "grace_minutes": 5 })).token(&house.admin).ok().await["key"]);
    let name = heldar_kernel::live::LiveName::parse("cam_yard").unwrap();
    let live = house.kernel.watching.tokens.issue(&name, &house.credential(&key)).0;
    let before = house.see(&format!("/api/v1/users/{id}")).await;
    let house = house.restart().await;
    assert_eq!(house.see(&format!("/api/v1/users/{id}")).await, before);
    let me = "/api/v1/auth/me";
    assert_eq!(house.get(me).token(&viewer).status().await, 200);
    assert_eq!(house.get(me).token(&out).status().await, 401);
    for key in [&key, &old] {
        assert_eq!(house.get(me).key(key).ok().await["scope"]["sites"], json!(["south"]));
        assert_eq!(house.get("/live/hls/cam_yard/index.m3u8").key(key).status().await, 400, "let in");
        assert_eq!(house.get("/live/hls/cam_gate/index.m3u8").key(key).status().await, 403);
    }
    let watch = |token: &str| house.get(&format!("/live/hls/cam_yard/index.m3u8?token={token}"));
    assert_eq!(watch(&live).status().await, 400, "let in");
    assert!(!gets_in(house.login("viewer", PASSWORD).from("10.14.0.2")).await, "still locked");
    let known = house.login("viewer", PASSWORD).from("10.14.0.2").header("cookie", &device);
    assert!(gets_in(known).await, "still known");
}
