//! Every class of error, from every layer.

use crate::world::{Setup, World};

/// A request with the rights of `admin`; `body` sets the length.
fn request(method: &str, path: &str, fields: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer admin\r\nContent-Length: {len}\r\n{fields}\r\n{body}"
    )
}

#[tokio::test]
async fn every_error_is_json_with_its_code() {
    let world = World::start(Setup::default()).await;
    let json = "Content-Type: application/json\r\n";
    let get = |path| request("GET", path, "", "");
    let post = |fields, body| request("POST", "/api/v1/cameras", fields, body);
    let put = |body| request("PUT", "/api/v1/small", json, body);
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(100));
    for (request, status, code, field) in [
        (get("/api/v1/nothing"), 404, "not_found", ""),
        (get("/api/v1"), 404, "not_found", ""),
        (get("/api/v2/x"), 404, "not_found", ""),
        (get("/api"), 404, "not_found", ""),
        (get("/media/other/x"), 404, "not_found", ""),
        (get("/live/x"), 404, "not_found", ""),
        (get("/m/x"), 404, "not_found", ""),
        (get("/internal"), 404, "not_found", ""),
        (get("/healthz/x"), 404, "not_found", ""),
        (get("/api/v1/cameras/attic"), 404, "not_found", ""),
        (get("/api/v1/cameras/No%20Camera"), 404, "not_found", ""),
        (get("/api/v1/cameras/%00"), 404, "not_found", ""),
        (get("/api/v1/cameras/%ff"), 404, "not_found", ""),
        (get("/api/v1/clips/a%00"), 400, "validation", "id"),
        (get("/api/v1/clips/%ff"), 400, "validation", ""),
        (get("/api/v1/number/x"), 400, "validation", ""),
        (get("/api/v1/cameras?limit=x"), 400, "bad_query", "limit"),
        (get("/api/v1/cameras?from=x"), 400, "bad_query", "from"),
        (get("/api/v1/cameras?from=%ff"), 400, "bad_query", ""),
        (get("/api/v1/cameras?cursor=abc"), 400, "bad_cursor", "cursor"),
        (get("/api/v1/foreign"), 418, "validation", ""),
        (get("/api/v1/disk"), 500, "storage_error", ""),
        (get("/api/v1/panic"), 500, "internal", ""),
        (request("PATCH", "/api/v1/cameras", "", ""), 405, "method_not_allowed", ""),
        (request("OPTIONS", "/api/v1/cameras", "", ""), 405, "method_not_allowed", ""),
        (request("BREW", "/api/v1/cameras", "", ""), 405, "method_not_allowed", ""),
        (request("GET", "/api/v1/auth/login", "", ""), 405, "method_not_allowed", ""),
        (request("POST", "/some/page", "", ""), 405, "method_not_allowed", ""),
        (request("POST", "/healthz", "", ""), 405, "method_not_allowed", ""),
        (post("", "{}"), 415, "unsupported_media_type", ""),
        (post("Content-Type: text/plain\r\n", "{}"), 415, "unsupported_media_type", ""),
        (
            post("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", "{}"),
            415,
            "unsupported_media_type",
            "",
        ),
        (post(json, "{"), 400, "invalid_json", ""),
        (post(json, ""), 400, "invalid_json", ""),
        (post(json, "{}"), 422, "invalid_body", "name"),
        (post(json, r#"{"name":1}"#), 422, "invalid_body", "name"),
        (post(json, r#"{"name":"a","rtsp_port":70000}"#), 400, "validation", "rtsp_port"),
        (post(json, r#"{"name":"a\u0000"}"#), 400, "validation", "name"),
        (put(&long), 413, "too_large", ""),
    ] {
        let answer = world.send(&request).await;
        let body = answer.assert_error(status, code, &request);
        assert_eq!(body["field"].as_str().unwrap_or(""), field, "{request}: {body}");
        let text = answer.text();
        assert!(!text.contains("hunter2") && !text.contains("/secret"), "{text}");
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let world = World::start(Setup::default()).await;
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
    ] {
        let answer = world.send(request).await;
        assert_eq!(answer.status, status, "{request}");
        if status == 400 {
            answer.assert_error(400, "validation", request);
        }
    }
    // The host of an absolute target counts, whatever `Host` says.
    let rest = "Authorization: Bearer viewer\r\n\r\n";
    for (request, host) in [
        (format!("GET /api/v1/host HTTP/1.1\r\nHost: a\r\n{rest}"), "a"),
        (format!("GET http://b:80/api/v1/host HTTP/1.1\r\nHost: a\r\n{rest}"), "b:80"),
    ] {
        assert_eq!(world.send(&request).await.text(), host);
    }
    // Targets that are no paths.
    for request in ["CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"] {
        world.send(request).await.assert_error(405, "method_not_allowed", request);
    }
}

#[tokio::test]
async fn refused_methods_name_those_on_offer() {
    let world = World::start(Setup::default()).await;
    for (path, allow) in [
        ("/api/v1/cameras", "GET,POST,HEAD"),
        ("/api/v1/cameras/gate", "GET,DELETE,HEAD"),
        ("/api/v1/auth/login", "POST"),
        ("/some/page", "GET,HEAD"),
    ] {
        let answer = world.send(&request("PATCH", path, "", "")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{path}");
    }
}

#[tokio::test]
async fn a_body_past_the_limit_is_refused_before_it_is_sent() {
    let world = World::start(Setup::default()).await;
    let mut connection = world.connect().await;
    let head = "POST /api/v1/cameras HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer admin\r\n\
                Content-Type: application/json\r\n";
    let answer = connection.send(&format!("{head}Content-Length: 2097153\r\n\r\n")).await;
    answer.assert_error(413, "too_large", "2 MiB and one");

    // Without a length it is refused as it passes the limit.
    let mut connection = world.connect().await;
    connection.write(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await;
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..33 {
        connection.write(&chunk).await;
    }
    connection.answer(false).await.unwrap().assert_error(413, "too_large", "chunked");
}

#[tokio::test]
async fn the_largest_body_is_taken() {
    let world = World::start(Setup::default()).await;
    let empty = r#"{"name":"","rtsp_port":1}"#;
    let name = "x".repeat(2 * 1024 * 1024 - empty.len());
    let body = empty.replace("\"\"", &format!("\"{name}\""));
    let answer =
        world.send(&request("POST", "/api/v1/cameras", "Content-Type: application/json\r\n", &body)).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["name"].as_str().map(str::len), Some(name.len()));
}

#[tokio::test]
async fn routes_without_a_body_accept_any() {
    let world = World::start(Setup::default()).await;
    for (fields, body) in [("", ""), ("", "{}"), ("Content-Type: text/plain\r\n", "hello")] {
        let answer = world.send(&request("POST", "/api/v1/empty", fields, body)).await;
        assert_eq!((answer.status, answer.text()), (200, "done"), "{body}");
    }
}

#[tokio::test]
async fn head_carries_headers_only() {
    let world = World::start(Setup::default()).await;
    let mut connection = world.connect().await;
    for (path, status) in
        [("/api/v1/nothing", 404), ("/api/v1/cameras/attic", 404), ("/api/v1/cameras/gate", 200), ("/", 200)]
    {
        // Several on one connection: a body that was sent after all would be taken for the next answer.
        let get = connection.send(&request("GET", path, "", "")).await;
        let head = connection.send(&request("HEAD", path, "", "")).await;
        assert_eq!((get.status, head.status), (status, status), "{path}");
        assert!(head.body.is_empty());
        let len = head.header("content-length").unwrap();
        assert_eq!(Some(len), get.header("content-length"), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(head.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_server_goes_on() {
    let world = World::start(Setup::default()).await;
    let mut connection = world.connect().await;
    for _ in 0..2 {
        let answer = connection.send(&request("GET", "/api/v1/panic", "", "")).await;
        answer.assert_error(500, "internal", "panic");
    }
    assert_eq!(connection.send(&request("GET", "/healthz", "", "")).await.status, 200);
    let metrics = world.metrics();
    assert!(metrics.contains("heldar_panics_total 2\n"), "{metrics}");
    let series = r#"heldar_http_requests_total{route="/api/v1/panic",method="GET",status="500"} 2"#;
    assert!(metrics.contains(series), "{metrics}");
    assert!(metrics.contains("heldar_http_requests_in_flight 0\n"), "{metrics}");
}
