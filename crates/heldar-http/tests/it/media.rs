//! Files in part and whole, over a real connection.

use crate::world::{FILE, Setup, World};

async fn ask(world: &World, method: &str, file: &str, fields: &str) -> crate::world::Answer {
    let request = format!(
        "{method} /media/recordings/gate/{file} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer limited\r\n{fields}\r\n"
    );
    world.send(&request).await
}

#[tokio::test]
async fn whole_and_parts() {
    let world = World::start(Setup::default()).await;
    let etag = "\"seg-1\"";
    for (fields, status, range, body) in [
        ("", 200, None, FILE),
        ("Range: bytes=0-3\r\n", 206, Some("bytes 0-3/20"), &b"0123"[..]),
        ("Range: bytes=-2\r\n", 206, Some("bytes 18-19/20"), b"ij"),
        ("Range: bytes=18-99\r\n", 206, Some("bytes 18-19/20"), b"ij"),
        ("Range: bytes=0-1,3-4\r\n", 200, None, FILE),
        ("Range: bytes=0-3\r\nIf-Range: \"seg-1\"\r\n", 206, Some("bytes 0-3/20"), b"0123"),
        ("Range: bytes=0-3\r\nIf-Range: \"seg-2\"\r\n", 200, None, FILE),
        ("If-None-Match: \"seg-2\"\r\n", 200, None, FILE),
        ("If-None-Match: \"seg-1\"\r\n", 304, None, b""),
        ("If-Modified-Since: Sat, 31 Jan 2026 12:00:00 GMT\r\n", 304, None, b""),
    ] {
        let answer = ask(&world, "GET", "sealed.mp4", fields).await;
        assert_eq!((answer.status, answer.header("content-range")), (status, range), "{fields}");
        assert_eq!(answer.body, body, "{fields}");
        assert_eq!(answer.header("etag"), Some(etag), "{fields}");
        assert_eq!(answer.header("last-modified"), Some("Sat, 31 Jan 2026 11:59:00 GMT"), "{fields}");
        assert_eq!(answer.header("accept-ranges"), Some("bytes"), "{fields}");
        assert_eq!(answer.header("cache-control"), Some("private, max-age=60"), "{fields}");
    }
    let outside = ask(&world, "GET", "sealed.mp4", "Range: bytes=20-\r\n").await;
    outside.assert_error(416, "range_not_satisfiable", "outside");
    assert_eq!(outside.header("content-range"), Some("bytes */20"));
    let other = ask(&world, "GET", "sealed.mp4", "If-Match: \"seg-2\"\r\n").await;
    other.assert_error(412, "precondition_failed", "if-match");
}

#[tokio::test]
async fn head_of_a_file() {
    let world = World::start(Setup::default()).await;
    for fields in ["", "Range: bytes=0-3\r\n"] {
        let answer = ask(&world, "HEAD", "sealed.mp4", fields).await;
        assert_eq!((answer.status, answer.header("content-length")), (200, Some("20")), "{fields}");
        assert_eq!(answer.header("content-type"), Some("video/mp4"));
    }
}

#[tokio::test]
async fn a_growing_file_has_no_validators() {
    let world = World::start(Setup::default()).await;
    let part = ask(&world, "GET", "open.mp4", "Range: bytes=4-\r\n").await;
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 4-19/*")));
    assert_eq!(part.body, &FILE[4..]);
    for answer in [part, ask(&world, "GET", "open.mp4", "If-None-Match: \"seg-1\"\r\n").await] {
        assert_eq!(answer.header("etag"), None);
        assert_eq!(answer.header("last-modified"), None);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn a_file_that_ends_early_is_not_taken_for_whole() {
    let world = World::start(Setup::default()).await;
    let mut connection = world.connect().await;
    let request =
        "GET /media/recordings/gate/short.mp4 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer limited\r\n\r\n";
    connection.write(request.as_bytes()).await;
    // The connection ends inside the body, or before the head when nothing had been sent yet.
    assert!(connection.answer(false).await.is_none_or(|answer| !answer.complete));
}
