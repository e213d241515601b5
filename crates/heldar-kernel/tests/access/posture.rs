//! Open access, and how the first administrator comes in (auth-system.md 3.1, 11.4, 11.6).

use axum::http::Method;
use heldar_base::{Capability, Credential};
use heldar_kernel::live::LiveName;
use serde_json::{Value, json};

use crate::house::{House, PASSWORD, bytes_without_id, text};

const ME: &str = "/api/v1/auth/me";
const REFUSED: (u16, &str) = (403, "open_access_refused");
const STALE: (u16, &str) = (401, "invalid_credential");

/// Nobody must identify themselves; whoever counts as local is the system.
async fn open(env: &[(&str, &str)]) -> House {
    let mut house = House::open(&[&[("HELDAR_RECORDER_ENABLED", "false")], env].concat()).await;
    let made =
        house.post("/api/v1/users", json!({ "username": "root", "password": PASSWORD, "role": "admin" }));
    made.header("host", "localhost").ok().await;
    let login = house.login("root", PASSWORD).header("host", "localhost").ok().await;
    house.admin = text(&login["token"]);
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn open_access_is_for_this_machine_alone() {
    let house = open(&[]).await;
    let me = house.get(ME).header("host", "localhost").ok().await;
    assert_eq!(
        (&me["id"], &me["name"], &me["role"], &me["kind"], &me["auth"]),
        (
            &json!("system"),
            &json!("system"),
            &json!("admin"),
            &json!("system"),
            &json!({ "enabled": false, "open": false })
        )
    );
    assert_eq!(me["capabilities"], json!(Capability::ALL));
    for host in
        ["localhost:8000", "LOCALHOST", "127.0.0.1", "127.0.0.1:8000", "127.1.2.3:1", "[::1]", "[::1]:8000"]
    {
        assert_eq!(house.get(ME).header("host", host).status().await, 200, "{host}");
    }
    assert_eq!(house.get(ME).header("host", "localhost").from("::1").status().await, 200);
    let refused =
        |found: (u16, String), what: &str| assert_eq!(found, (REFUSED.0, REFUSED.1.to_owned()), "{what}");
    for host in [
        "nvr.lan",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8000",
        "192.168.1.5",
        "0.0.0.0",
        "localhost@evil.example",
        "[::2]",
        "",
    ] {
        let call = || house.get(ME).header("host", host);
        let found = call().outcome().await;
        assert!(found.0 == 400 || found == (REFUSED.0, REFUSED.1.to_owned()), "{host}: {found:?}");
    }
    for (name, value) in [
        ("forwarded", "for=127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-server", "x"),
        ("x-real-ip", "127.0.0.1"),
    ] {
        let call = house.get(ME).header("host", "localhost").header(name, value);
        refused(call.outcome().await, name);
    }
    for from in ["192.168.1.9", "10.0.0.1", "8.8.8.8", "fd00::1"] {
        refused(house.get(ME).header("host", "localhost").from(from).outcome().await, from);
    }
    // The same everywhere, also where there is nothing.
    for path in [
        "/api/v1/cameras",
        "/api/v1/nothing",
        "/metrics",
        "/media/clips/x.mp4",
        "/media/x",
        "/live/ws/cam_gate",
        "/live/hls/cam_gate/index.m3u8",
    ] {
        refused(house.get(path).outcome().await, path);
    }
    let post = || house.post("/api/v1/sites", json!({ "name": "x" }));
    refused(post().outcome().await, "POST");
    assert_eq!(house.get("/healthz").status().await, 200);
    assert_eq!(house.get("/api/v1/auth/methods").ok().await["auth_enabled"], false);

    // What a page of another origin sends by itself.
    let local = || post().header("host", "localhost:8000");
    let foreign = (403, "origin_not_allowed".to_owned());
    assert_eq!(local().header("origin", "http://evil.example").outcome().await, foreign);
    assert_eq!(local().header("origin", "null").outcome().await, foreign);
    assert_eq!(local().header("sec-fetch-site", "cross-site").outcome().await, foreign);
    let stream = house.get(ME).header("host", "localhost").header("accept", "text/event-stream");
    assert_eq!(stream.header("origin", "http://evil.example").outcome().await, foreign);
    let socket = house.get("/live/ws/cam_x").header("host", "localhost").header("upgrade", "websocket");
    assert_eq!(socket.header("origin", "http://evil.example").outcome().await, foreign);
    assert_eq!(local().header("origin", "http://localhost:8000").status().await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_identifies_itself_has_its_own_rights() {
    let house = open(&[]).await;
    house.furnish().await;
    let limited = json!({ "scope_kind": "cameras", "scope_cameras": ["gate"] });
    let (_, viewer) = house.signed_in("viewer", limited.clone()).await;
    let mut body = json!({ "capabilities": ["camera:read"] });
    crate::house::merge(&mut body, limited);
    let (_, key) = house.key(body).await;
    // From this machine, and from wherever.
    for (host, from) in [("localhost", "127.0.0.1"), ("nvr.lan", "192.168.1.9"), ("nvr.lan", "8.8.8.8")] {
        let shown = |path: &str| {
            [house.get(path).token(&viewer), house.get(path).key(&key), house.get(path).cookie(&viewer)]
                .map(|call| call.header("host", host).from(from))
        };
        for call in shown("/api/v1/cameras") {
            assert_eq!(call.ok().await.as_array().unwrap().len(), 1, "{host}");
        }
        for call in shown("/api/v1/users") {
            assert_eq!(call.outcome().await, (403, "missing_capability".to_owned()), "{host}");
        }
        for call in shown("/api/v1/cameras/yard") {
            assert_eq!(call.outcome().await, (403, "out_of_scope".to_owned()), "{host}");
        }
        for path in [ME, "/api/v1/nothing", "/metrics", "/media/clips/x.mp4", "/live/hls/cam_gate/index.m3u8"]
        {
            for call in [
                house.get(path).token("vos_none"),
                house.get(path).token("vok_none"),
                house.get(path).key("x"),
                house.get(path).cookie("x"),
                house.get(path).header("authorization", "Basic YTpi"),
            ] {
                let found = call.header("host", host).from(from).outcome().await;
                assert_eq!(found, (STALE.0, STALE.1.to_owned()), "{path} from {from}");
            }
        }
    }
    assert_eq!(house.get(ME).token(&viewer).ok().await["kind"], "user");
    // Who signs out is the system again, here alone.
    house.call(Method::POST, "/api/v1/auth/logout").token(&viewer).ok().await;
    assert_eq!(house.get(ME).token(&viewer).header("host", "localhost").status().await, 401);
    assert_eq!(house.get(ME).header("host", "localhost").ok().await["kind"], "system");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_let_in_where_that_was_asked_for() {
    let house = open(&[("HELDAR_ALLOW_OPEN", "true")]).await;
    house.furnish().await;
    for (host, from) in [("nvr.lan", "192.168.1.9"), ("evil.example", "8.8.8.8")] {
        let me = house.get(ME).header("host", host).from(from).ok().await;
        assert_eq!((&me["kind"], &me["auth"]["open"]), (&json!("system"), &json!(true)));
    }
    let foreign = house.post("/api/v1/sites", json!({ "name": "x" })).header("origin", "http://evil.example");
    assert_eq!(foreign.outcome().await, (403, "origin_not_allowed".to_owned()));
    assert_eq!(house.get(ME).token("vos_none").outcome().await, (STALE.0, STALE.1.to_owned()));
    // Live views are for private networks.
    let token =
        house.kernel.watching.tokens.issue(&LiveName::parse("cam_gate").unwrap(), &Credential::Nothing).0;
    for query in [String::new(), format!("?token={token}")] {
        let offer = |from: &str| {
            let call = house.call(Method::POST, &format!("/live/whep/cam_gate{query}"));
            call.text("application/sdp", "v=0\r\n").from(from)
        };
        assert_eq!(offer("8.8.8.8").outcome().await, (REFUSED.0, REFUSED.1.to_owned()), "{query}");
        assert_eq!(offer("192.168.1.9").status().await, 400, "let in; the camera has no address");
    }
    let system = house.get("/api/v1/system").ok().await;
    let warnings = system["warnings"].to_string();
    assert!(warnings.contains("open_access"), "{warnings}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_comes_in_by_the_one_time_link() {
    let house = House::open(&[("HELDAR_AUTH_ENABLED", "true"), ("HELDAR_RECORDER_ENABLED", "false")]).await;
    let needed = async || house.get("/api/v1/auth/methods").ok().await["setup_needed"].clone();
    assert_eq!(needed().await, true);
    assert_eq!(house.get(ME).outcome().await, (401, "no_credential".to_owned()));
    let link = house.kernel.accounts.setup_link(&house.kernel.sealer).await.unwrap().unwrap();
    let token = link.token.expose().clone();
    let again = house.kernel.accounts.setup_link(&house.kernel.sealer).await.unwrap().unwrap();
    assert_eq!(again.token.expose(), &token, "the same until it ends");
    let setup = |token: &str, username: &str, password: &str| {
        let body = json!({
            "setup_token": token, "username": username, "password": password, "display_name": "The boss", "role": "viewer",
        });
        house.post("/api/v1/auth/setup", body)
    };
    for wrong in ["", "x", &token[..token.len() - 1], &token.to_uppercase()] {
        assert_eq!(setup(wrong, "boss", PASSWORD).send().await.error(), (401, "unauthenticated".to_owned()));
    }
    for (username, password, field) in [("", PASSWORD, "username"), ("boss", "short", "password")] {
        let answer = setup(&token, username, password).send().await;
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)));
    }
    assert_eq!(needed().await, true);
    // Two at once: one is the first.
    let (a, b) =
        tokio::join!(setup(&token, "boss", PASSWORD).send(), setup(&token, "other", PASSWORD).send());
    let mut found = [a.status, b.status];
    found.sort_unstable();
    assert_eq!(found, [200, 409]);
    let first = if a.status == 200 { a } else { b };
    let body = first.json();
    assert_eq!((&body["user"]["role"], &body["user"]["display_name"]), (&json!("admin"), &json!("The boss")));
    assert!(first.header("set-cookie").unwrap().starts_with("heldar_session=vos_"));
    let admin = text(&body["token"]);
    assert_eq!(house.get("/api/v1/users").token(&admin).ok().await.as_array().unwrap().len(), 1);
    assert_eq!(needed().await, false);
    let [right, wrong] = [setup(&token, "x", PASSWORD).send().await, setup("x", "x", PASSWORD).send().await];
    assert_eq!(bytes_without_id(&right), bytes_without_id(&wrong));
    assert_eq!(right.error().0, 409);
    assert!(house.kernel.accounts.setup_link(&house.kernel.sealer).await.unwrap().is_none());
    let rows = house.get("/api/v1/audit?action=setup_admin").token(&admin).ok().await;
    let rows = rows.as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["actor_name"]), (1, &Value::Null), "{rows:?}");
}
