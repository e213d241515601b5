//! Who gets in where, and what a refusal tells.

use crate::world::{AccessControl, Answer, OWN_ORIGIN, Setup, World};

#[tokio::test]
async fn decisions_by_principal_and_route() {
    let world = World::start(Setup::default()).await;
    let tokens = ["", "bad", "admin", "viewer", "limited", "nowhere"];
    for (path, expect) in [
        ("/api/v1/cameras", [401, 401, 200, 200, 200, 200]),
        ("/api/v1/cameras/gate", [401, 401, 200, 200, 200, 403]),
        ("/api/v1/cameras/yard", [401, 401, 200, 200, 403, 403]),
        ("/api/v1/cameras/attic", [401, 401, 404, 404, 403, 403]),
        ("/api/v1/clips/gate", [401, 401, 200, 200, 200, 403]),
        ("/api/v1/clips/yard", [401, 401, 200, 200, 403, 403]),
        ("/api/v1/clips/attic", [401, 401, 404, 404, 403, 403]),
        ("/api/v1/box", [401, 401, 200, 200, 403, 403]),
        ("/api/v1/openapi.json", [401, 401, 200, 200, 200, 200]),
        ("/api/v1/nothing", [401, 401, 404, 404, 404, 404]),
        ("/api/v1/", [401, 401, 404, 404, 404, 404]),
        ("/api/v1", [401, 401, 404, 404, 404, 404]),
        ("/api/v1x", [404, 404, 404, 404, 404, 404]),
        ("/api/v1/auth/login", [405, 405, 405, 405, 405, 405]),
        ("/api/v1/empty", [401, 401, 405, 405, 405, 405]),
        ("/media/recordings/gate/sealed.mp4", [401, 401, 200, 200, 200, 403]),
        ("/media/recordings/yard/sealed.mp4", [401, 401, 200, 200, 403, 403]),
        ("/media/recordings/..%2fyard/sealed.mp4", [401, 401, 404, 404, 403, 403]),
        ("/metrics", [401, 401, 200, 200, 403, 403]),
        ("/healthz", [200; 6]),
        ("/", [200; 6]),
    ] {
        for (token, status) in tokens.into_iter().zip(expect) {
            let field =
                if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
            let answer = world.send(&format!("GET {path} HTTP/1.1\r\nHost: h\r\n{field}\r\n")).await;
            assert_eq!(answer.status, status, "{path} for {token:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn texts_that_clients_match() {
    let world = World::start(Setup::default()).await;
    let none = world.send("GET /api/v1/cameras HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let body = none.assert_error(401, "unauthenticated", "none");
    assert_eq!(
        (body["error"].as_str(), body["reason"].as_str()),
        (Some("authentication required"), Some("no_credential"))
    );
    assert_eq!(none.header("www-authenticate"), Some(r#"Bearer realm="heldar""#));

    // A refused method tells strangers nothing about the path.
    let none = world.send("PATCH /api/v1/cameras HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((none.status, none.header("allow")), (401, None));

    let bad = world.get("/api/v1/cameras", "bad").await;
    let body = bad.assert_error(401, "unauthenticated", "bad");
    assert_eq!(body["error"], "invalid or expired credentials");
    assert_eq!(bad.header("www-authenticate"), Some(r#"Bearer realm="heldar", error="invalid_token""#));

    let stale =
        world.send("GET /api/v1/cameras HTTP/1.1\r\nHost: h\r\nCookie: heldar_session=old\r\n\r\n").await;
    stale.assert_error(401, "unauthenticated", "stale cookie");
    assert_eq!(stale.header("set-cookie"), Some("heldar_session=; Max-Age=0"));

    let request = "DELETE /api/v1/cameras/gate HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\n\r\n";
    let body = world.send(request).await.assert_error(403, "forbidden", request);
    let text = body["error"].as_str().unwrap();
    assert!(text.contains("missing capability") && text.contains("admin"), "{text}");
    assert_eq!(body["reason"], "missing_capability");
}

/// An answer without what differs between any two: the id.
fn bytes_without_id(answer: &Answer) -> (Vec<(String, String)>, String) {
    let id = answer.header("x-request-id").unwrap();
    let headers =
        answer.headers.iter().filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str())).cloned();
    (headers.collect(), answer.text().replace(id, "ID"))
}

#[tokio::test]
async fn foreign_and_missing_look_the_same_to_the_limited() {
    let world = World::start(Setup::default()).await;
    for (foreign, missing) in [
        ("/api/v1/cameras/yard", "/api/v1/cameras/attic"),
        ("/api/v1/cameras/yard", "/api/v1/cameras/No%20Camera"),
        ("/api/v1/clips/yard", "/api/v1/clips/attic"),
        ("/media/recordings/yard/sealed.mp4", "/media/recordings/attic/x.mp4"),
    ] {
        let (a, b) = (world.get(foreign, "limited").await, world.get(missing, "limited").await);
        assert_eq!(a.status, 403);
        assert_eq!(bytes_without_id(&a), bytes_without_id(&b), "{foreign} {missing}");
        assert!(!a.text().contains("yard") && !b.text().contains("attic"));
    }
}

#[tokio::test]
async fn a_list_holds_what_is_in_scope_and_goes_on_in_pages() {
    let world = World::start(Setup::default()).await;
    let ids = |answer: &Answer| -> Vec<String> {
        answer.json().as_array().unwrap().iter().map(|view| view["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&world.get("/api/v1/cameras", "limited").await), ["gate"]);
    assert!(ids(&world.get("/api/v1/cameras", "nowhere").await).is_empty());

    let (mut path, mut seen, mut pages) = ("/api/v1/cameras?limit=2&x=1".to_owned(), Vec::new(), 0);
    loop {
        let answer = world.get(&path, "viewer").await;
        seen.extend(ids(&answer));
        pages += 1;
        let Some(link) = answer.header("link") else {
            assert_eq!(answer.header("x-next-cursor"), None);
            break;
        };
        path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        assert!(path.ends_with(answer.header("x-next-cursor").unwrap()) && path.contains("x=1"), "{path}");
    }
    assert_eq!((pages, seen.join(" ").as_str()), (3, "door gate hall roof yard"));
}

#[tokio::test]
async fn a_foreign_page_acts_on_no_cookie_and_no_open_access() {
    for control in [AccessControl::On, AccessControl::Off] {
        let world = World::start(Setup { control, ..Setup::default() }).await;
        let credential = if control == AccessControl::On { "Cookie: heldar_session=admin\r\n" } else { "" };
        let own = format!("Origin: {OWN_ORIGIN}\r\n");
        for (method, fields, status) in [
            ("POST", "", 200),
            ("POST", own.as_str(), 200),
            ("POST", "Origin: http://evil.test\r\n", 403),
            ("POST", "Origin: null\r\n", 403),
            ("POST", "Sec-Fetch-Site: cross-site\r\n", 403),
            ("POST", "Origin: http://evil.test\r\nAuthorization: Bearer admin\r\n", 200),
            ("GET", "Origin: http://evil.test\r\n", 405),
            ("GET", "Origin: http://evil.test\r\nAccept: text/event-stream\r\n", 403),
            ("GET", "Origin: http://evil.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", 403),
            ("DELETE", "Origin: http://evil.test\r\n", 403),
        ] {
            let request = format!(
                "{method} /api/v1/empty HTTP/1.1\r\nHost: h\r\n{credential}{fields}Content-Length: 0\r\n\r\n"
            );
            let answer = world.send(&request).await;
            if status == 403 {
                let body = answer.assert_error(403, "forbidden", &request);
                assert_eq!(body["reason"], "origin_not_allowed", "{request}");
            } else {
                assert_eq!(answer.status, status, "{request}");
            }
        }
    }
}

#[tokio::test]
async fn refusals_are_reported_and_counted() {
    let world = World::start(Setup::default()).await;
    world.send("GET /api/v1/nothing HTTP/1.1\r\nHost: h\r\n\r\n").await;
    world.get("/api/v1/cameras/yard", "limited").await;
    world.get("/api/v1/box", "limited").await;
    assert_eq!(
        *world.resolver.denials.lock().unwrap(),
        [
            "GET unmatched no_credential - -",
            "GET /api/v1/cameras/{id} out_of_scope yard limited",
            "GET /api/v1/box fleet_only - limited",
        ]
    );
    let metrics = world.metrics();
    for reason in ["no_credential", "out_of_scope", "fleet_only"] {
        assert!(
            metrics.contains(&format!("heldar_auth_denials_total{{reason=\"{reason}\"}} 1\n")),
            "{metrics}"
        );
    }
}
