//! Headers of every answer: ids, caching, policies, CORS; the static pages; metrics.

use heldar_http::Phase;

use crate::world::{Cors, PROXY, Setup, World};

#[tokio::test]
async fn request_ids() {
    let world = World::start(Setup::default()).await;
    let request = |id: &str| {
        format!(
            "POST /api/v1/auth/login HTTP/1.1\r\nHost: h\r\nX-Request-Id: {id}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let own = world.send(&request("abc")).await;
    let id = own.header("x-request-id").unwrap();
    assert!(id.starts_with("req_") && id.len() == 36, "{id}");
    assert_eq!(own.text(), id, "the handler sees the id of the answer");

    for (sent, kept) in [("abc.D-1_2", true), ("a b", false), ("", false), (&*"x".repeat(65), false)] {
        let answer = world.connect_from(PROXY).await.send(&request(sent)).await;
        let id = answer.header("x-request-id").unwrap();
        assert_eq!(id == sent, kept, "{sent}");
        assert!(kept || id.starts_with("req_"));
    }
}

#[tokio::test]
async fn api_answers_are_not_stored_and_all_are_hardened() {
    let world = World::start(Setup::default()).await;
    for (path, cache) in [
        ("/api/v1/cameras", Some("no-store")),
        ("/api/v1/openapi.json", Some("no-store")),
        ("/healthz", Some("no-store")),
        ("/media/recordings/gate/sealed.mp4", Some("private, max-age=60")),
        ("/", Some("no-cache")),
        ("/cameras/gate", Some("no-cache")),
        ("/assets/app.js", Some("public, max-age=31536000, immutable")),
    ] {
        let answer = world.get(path, "viewer").await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, cache), "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("permissions-policy", "camera=(), geolocation=(), microphone=(self)"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        let page = answer.header("content-type").unwrap().starts_with("text/html");
        let policy = answer.header("content-security-policy");
        assert_eq!(policy.is_some_and(|text| text.contains("frame-ancestors 'none'")), page, "{path}");
    }
}

#[tokio::test]
async fn pages_fall_back_to_the_index() {
    let world = World::start(Setup::default()).await;
    for (path, text) in [
        ("/", "<!doctype html>"),
        ("/cameras/gate?x=1", "<!doctype html>"),
        ("/assets/app.js", "export {}"),
        ("/assets/missing.js", "<!doctype html>"),
        ("/../assets/app.js", "<!doctype html>"),
        ("/apiary", "<!doctype html>"),
    ] {
        let answer = world.get(path, "").await;
        assert_eq!((answer.status, answer.text()), (200, text), "{path}");
    }
    let etag = world.get("/", "").await.header("etag").unwrap().to_owned();
    let again = world.send(&format!("GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: {etag}\r\n\r\n")).await;
    assert_eq!((again.status, again.header("etag")), (304, Some(etag.as_str())));
}

#[tokio::test]
async fn cors() {
    let listed = "http://localhost:5173";
    for (cors, origin, allowed) in [
        (Cors::SameOrigin, listed, None),
        (Cors::Any, "http://a.test", Some("*")),
        (Cors::Only(listed), listed, Some(listed)),
        (Cors::Only(listed), "http://localhost:51730", None),
        (Cors::Only(listed), "null", None),
    ] {
        let world = World::start(Setup { cors, ..Setup::default() }).await;
        let answer = world
            .send(&format!("GET /api/v1/cameras HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\nAuthorization: Bearer viewer\r\n\r\n"))
            .await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{cors:?} {origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        let exposed = answer.header("access-control-expose-headers");
        assert_eq!(exposed.is_some_and(|text| text.contains("X-Next-Cursor")), allowed.is_some());
        assert_eq!(answer.header("vary"), (cors != Cors::Any).then_some("Origin"), "{cors:?}");

        // Errors are readable too, so that a page can say what went wrong.
        let error =
            world.send(&format!("GET /api/v1/cameras HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n\r\n")).await;
        assert_eq!((error.status, error.header("access-control-allow-origin")), (401, allowed));

        let preflight = world
            .send(&format!(
                "OPTIONS /api/v1/cameras/gate HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n\
                 Access-Control-Request-Method: PATCH\r\nAccess-Control-Request-Headers: authorization, x-a\r\n\r\n"
            ))
            .await;
        assert_eq!(preflight.header("access-control-allow-origin"), allowed);
        match allowed {
            Some(_) => {
                assert_eq!(preflight.status, 204);
                assert_eq!(preflight.header("access-control-allow-methods"), Some("PATCH"));
                assert_eq!(preflight.header("access-control-allow-headers"), Some("authorization, x-a"));
            }
            None => {
                preflight.assert_error(401, "unauthenticated", "preflight of a stranger");
            }
        }
    }
}

#[tokio::test]
async fn only_health_is_answered_outside_of_running() {
    let world = World::start(Setup::default()).await;
    for (phase, code) in [
        (Phase::Starting, "starting"),
        (Phase::ShuttingDown, "shutting_down"),
        (Phase::Restoring, "restoring"),
    ] {
        world.lifecycle.set(phase);
        let answer = world.get("/api/v1/cameras", "viewer").await;
        answer.assert_error(503, code, code);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(world.get("/", "").await.status, 503);
        assert_eq!(world.get("/healthz", "").await.status, 200);
    }
    world.lifecycle.set(Phase::Running);
    assert_eq!(world.get("/api/v1/cameras", "viewer").await.status, 200);
}

#[tokio::test]
async fn metrics_count_by_template() {
    let world = World::start(Setup::default()).await;
    for id in ["gate", "yard", "door"] {
        world.get(&format!("/api/v1/cameras/{id}"), "viewer").await;
    }
    world.get("/whatever/someone/types", "viewer").await;
    world.send("BREW /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let scrape = world.get("/metrics", "viewer").await;
    assert_eq!(scrape.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = scrape.text();
    for line in [
        r#"heldar_http_requests_total{route="/api/v1/cameras/{id}",method="GET",status="200"} 3"#,
        r#"heldar_http_requests_total{route="unmatched",method="GET",status="200"} 1"#,
        r#"heldar_http_requests_total{route="unmatched",method="other",status="405"} 1"#,
        r#"heldar_http_request_duration_seconds_count{route="/api/v1/cameras/{id}",method="GET"} 3"#,
        r#"heldar_http_connections{proto="h1"} "#,
        r#"heldar_http_sent_bytes_total{plane="api"} "#,
        "heldar_http_requests_in_flight 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("someone"));
    let open = world
        .send("GET /metrics HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer viewer\r\nAccept: application/openmetrics-text\r\n\r\n")
        .await;
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.text().ends_with("# EOF\n"));
}
