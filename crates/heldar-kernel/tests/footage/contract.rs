//! Parameters, defaults, clamps, refusals and shapes of the routes.

use heldar_base::{
    CameraId, Capability, Cause, Clock as _, EndReason, Interval, Micros, NotWanted, SegmentId, StreamKind,
    WallTime,
};
use heldar_store::op::{AppendEvents, PutGap, RemoveCamera};
use heldar_store::{AudioFormat, CodecParams, FillState, Hole, NewEvent, Severity};
use serde_json::{Value, json};

use crate::history::{History, Piece, Row, camera_id, create, create_as, gap, put, secs, stream_no};
use crate::ledger::{micros, time};
use crate::support::{As, World};

const PLAYBACK: &[Capability] = &[Capability::VideoPlayback];
const WITH_EVENTS: &[Capability] = &[Capability::VideoPlayback, Capability::EventsRead];
const ROUTES: [&str; 5] = ["segments", "timeline", "gaps", "recording-gaps", "coverage"];

fn multi_parts(at: WallTime) -> String {
    format!("from={}&to={}", at - secs(600.0), at)
}

/// An hour ago, on a whole second.
fn base(world: &World) -> WallTime {
    (world.kernel.clock.wall() - Micros::from_hours(1)).floor_second()
}

/// Wanted since 100 s after `base`; footage from 102 to 130 and from 140 to 170 with a hole from 150 to 155, then switched
/// off from 180 on.
fn example(base: WallTime) -> History {
    let at = |seconds: i64| base + Micros::from_secs(seconds);
    let mut first = Piece::sealed(at(102), at(130));
    first.seal = Some((EndReason::SessionLost, Some(Cause::Refused)));
    let mut second = Piece::sealed(at(140), at(170));
    second.holes = vec![Hole { start: at(150), end: at(155), cause: Cause::Stalled }];
    History {
        pieces: vec![first, second],
        rows: vec![Row { interval: Interval::new(at(130), at(140)), open: false, cause: Cause::Refused }],
        wanted: vec![(at(100), None), (at(180), Some(NotWanted::CameraDisabled))],
    }
}

async fn with_example() -> (World, CameraId, WallTime) {
    let world = World::start().await;
    let camera = create(&world.kernel, "gate").await;
    let base = base(&world);
    example(base).store(&world.kernel, &camera, StreamKind::Main).await;
    (world, camera, base)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_ask() {
    let (world, _, base) = with_example().await;
    let limited = As::Limited(PLAYBACK, &["gate"]);
    for route in ROUTES {
        let path = |camera: &str| format!("/api/v1/cameras/{camera}/{route}");
        let check = async |who, camera: &str, expect: (u16, &str)| {
            let got = world.get_as(who, &path(camera)).await.error();
            assert_eq!((got.0, got.1.as_str()), expect, "{who:?} {camera} {route}");
        };
        check(As::System, "gate", (200, "")).await;
        check(As::System, "attic", (404, "not_found")).await;
        check(As::System, "No%20Camera", (404, "not_found")).await;
        check(As::With(PLAYBACK), "gate", (200, "")).await;
        check(As::With(&[Capability::CameraRead]), "gate", (403, "forbidden")).await;
        check(limited, "gate", (200, "")).await;
        // Foreign and missing look the same.
        check(As::Limited(PLAYBACK, &["yard"]), "gate", (403, "forbidden")).await;
        check(limited, "attic", (403, "forbidden")).await;
        check(As::Limited(PLAYBACK, &[]), "gate", (403, "forbidden")).await;
    }
    create(&world.kernel, "yard").await;
    for (route, query) in [("coverage", String::new()), ("timeline", multi_parts(base))] {
        let path = |cameras: &str| format!("/api/v1/{route}?{query}{cameras}");
        let names = async |who, cameras: &str| {
            let answer = world.get_as(who, &path(cameras)).await;
            if answer.status != 200 {
                return format!("{} {}", answer.status, answer.error().1);
            }
            let body = answer.json();
            let list: Vec<&str> = body["cameras"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| c["camera_id"].as_str().unwrap())
                .collect();
            list.join(",")
        };
        assert_eq!(names(As::System, "").await, "gate,yard", "{route}");
        assert_eq!(names(As::System, "&cameras=yard,gate,yard,").await, "gate,yard", "{route}");
        assert_eq!(names(As::System, "&cameras=").await, "gate,yard", "{route}");
        assert_eq!(names(As::System, "&cameras=yard").await, "yard", "{route}");
        assert_eq!(names(As::System, "&cameras=yard,attic").await, "404 not_found", "{route}");
        assert_eq!(names(As::System, "&cameras=No%20Camera").await, "404 not_found", "{route}");
        assert_eq!(names(limited, "").await, "gate", "{route}");
        assert_eq!(names(limited, "&cameras=gate").await, "gate", "{route}");
        assert_eq!(names(limited, "&cameras=gate,yard").await, "403 forbidden", "{route}");
        assert_eq!(names(limited, "&cameras=attic").await, "403 forbidden", "{route}");
        assert_eq!(names(limited, "&cameras=No%20Camera").await, "403 forbidden", "{route}");
        assert_eq!(names(As::Limited(PLAYBACK, &[]), "").await, "", "{route}");
        assert_eq!(names(As::With(&[]), "").await, "403 forbidden", "{route}");
        // In scope, and gone.
        let orphan = As::Limited(PLAYBACK, &["attic"]);
        assert_eq!(names(orphan, "&cameras=attic").await, "404 not_found", "{route}");
        assert_eq!(names(orphan, "").await, "", "{route}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters() {
    let (world, _, base) = with_example().await;
    let check = async |route: &str, query: &str, expect: &str| {
        let answer = world.get(&format!("/api/v1/{route}?{query}")).await;
        let (status, code) = answer.error();
        let got = match answer.json()["field"].as_str() {
            _ if status == 200 => "200".to_owned(),
            Some(field) => format!("{status} {code} {field}"),
            None => format!("{status} {code}"),
        };
        assert_eq!(got, expect, "{route} {query}");
    };
    for route in ROUTES {
        let route = format!("cameras/gate/{route}");
        check(&route, "from=yesterday", "400 bad_query from").await;
        check(&route, "to=2026-01-31", "400 bad_query to").await;
        check(&route, &format!("from={}&to={base}", base + Micros(1)), "400 validation from").await;
        check(&route, &format!("from={base}&to={base}"), "200").await;
        check(&route, "from=2026-01-01T00:00:00+02:00&to=2026-01-02T00:00:00%2B02:00", "200").await;
        check(&route, "unknown=1", "200").await;
    }
    for (route, query, expect) in [
        ("cameras/gate/segments", "stream=third", "400 bad_query stream"),
        ("cameras/gate/segments", "limit=ten", "400 bad_query limit"),
        ("cameras/gate/segments", "limit=-1", "200"),
        ("cameras/gate/segments", "limit=99999999", "200"),
        ("cameras/gate/segments", "cursor=AAAA", "400 bad_cursor cursor"),
        ("cameras/gate/timeline", "stream=third", "400 bad_query stream"),
        ("cameras/gate/timeline", "tolerance_ms=2.5", "400 bad_query tolerance_ms"),
        ("cameras/gate/timeline", "tolerance_ms=-7", "200"),
        ("cameras/gate/gaps", "tolerance_ms=x", "400 bad_query tolerance_ms"),
        ("cameras/gate/gaps", "include=everything", "400 bad_query include"),
        ("cameras/gate/recording-gaps", "state=lost", "400 bad_query state"),
        ("cameras/gate/recording-gaps", "cause=tea", "400 bad_query cause"),
        ("cameras/gate/recording-gaps", "cursor=AAAA", "400 bad_cursor cursor"),
        ("cameras/gate/coverage", "detail=maybe", "400 bad_query detail"),
        ("cameras/gate/coverage", "from=2020-01-01T00:00:00Z", "400 window_too_long from"),
        ("coverage", "from=2020-01-01T00:00:00Z", "400 window_too_long from"),
        ("coverage", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "400 validation from"),
        ("coverage", "limit=x", "400 bad_query limit"),
        ("coverage", "cursor=AAAA", "400 bad_cursor cursor"),
        ("timeline", "", "400 bad_query from"),
        ("timeline", "from=2026-01-01T00:00:00Z", "400 bad_query to"),
        ("timeline", "from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "400 validation to"),
        ("timeline", "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "400 validation to"),
        (
            "timeline",
            "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&resolution=soon",
            "400 bad_query resolution",
        ),
        (
            "timeline",
            "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&resolution=-1",
            "400 bad_query resolution",
        ),
        (
            "timeline",
            "from=2026-01-01T00:00:00Z&to=2026-01-01T01:23:20.000001Z&resolution=1",
            "400 validation resolution",
        ),
        ("timeline", "from=2026-01-01T00:00:00Z&to=2026-01-01T01:23:20Z&resolution=1", "200"),
        ("timeline", "from=1970-01-01T00:00:00Z&to=9998-01-01T00:00:00Z", "200"),
        ("timeline", "from=1970-01-01T00:00:00Z&to=9998-01-01T00:00:00Z&resolution=0", "200"),
    ] {
        check(route, query, expect).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_has_every_field() {
    let (world, camera, base) = with_example().await;
    let at = |seconds: i64| base + Micros::from_secs(seconds);
    let path = "/api/v1/cameras/gate/segments";
    let list = world.get(path).await.ok();
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    let name = |at: WallTime| {
        let (year, month, day, hour, minute, second) = at.civil();
        (
            format!("{year:04}-{month:02}-{day:02}"),
            format!("{year:04}{month:02}{day:02}_{hour:02}{minute:02}{second:02}.mp4"),
        )
    };
    let (day, file) = name(at(140));
    let id = list[1]["id"].as_str().unwrap();
    assert!(id.len() == 36 && id.starts_with("seg_"), "{id}");
    assert_eq!(
        list[1],
        json!({
            "id": id, "camera_id": "gate", "path": format!("gate/{day}/{file}"),
            "start_time": at(140).to_string(), "end_time": at(170).to_string(), "duration_s": 30,
            "codec": "h264", "width": 768, "height": 576, "size_bytes": 31_000, "container": "mp4",
            "locked": false, "evidence_locked": false, "incident_id": null, "created_at": at(140).to_string(),
            "url": format!("/media/recordings/gate/{file}"), "open": false, "stream": "main",
            "codec_string": "avc1.64001f", "audio_codec": null, "source": "live", "hold_ids": [],
            "holes": [{"start": at(150).to_string(), "end": at(155).to_string(), "cause": "stalled"}],
            "dependent": false,
        })
    );

    // Locked while a job reads it.
    let locks = async || {
        let list = world.get(path).await.ok();
        (list[0]["locked"].as_bool().unwrap(), list[1]["locked"].as_bool().unwrap())
    };
    let lease = world.kernel.retention.leases.acquire([SegmentId::parse(id).unwrap()]);
    assert_eq!(locks().await, (false, true));
    drop(lease);
    assert_eq!(locks().await, (false, false));

    // Sound, an open file, a second of two files, a sub stream, a length that is no whole second.
    let kernel = &world.kernel;
    let sub = stream_no(kernel, &camera, StreamKind::Sub).await;
    let audio = AudioFormat {
        codec: "opus".to_owned(),
        codec_string: "opus".to_owned(),
        sample_rate: 48_000,
        channels: 1,
    };
    let params = CodecParams { codec: "hevc".to_owned(), audio: Some(audio), ..crate::history::params() };
    let params_no = kernel.store.write(heldar_store::op::EnsureParams { params }).await.unwrap();
    let mut piece = Piece::sealed(at(200), at(200) + Micros(1_500_001));
    piece.seal = None;
    let mut op = put(sub, params_no, &piece);
    (op.name_no, op.dependent) = (2, true);
    kernel.store.write(op).await.unwrap();
    let list = world.get(&format!("{path}?stream=sub")).await.ok();
    let got = &list[0];
    let (day, file) = name(at(200));
    let file = file.replace(".mp4", "_2_sub.mp4");
    assert_eq!(got["path"], format!("gate/{day}/{file}"));
    assert_eq!(got["url"], format!("/media/recordings/gate/{file}"));
    assert_eq!(
        (&got["open"], &got["dependent"], &got["stream"]),
        (&json!(true), &json!(true), &json!("sub"))
    );
    assert_eq!((&got["codec"], &got["audio_codec"]), (&json!("hevc"), &json!("opus")));
    assert_eq!(got["duration_s"], json!(1.500001));
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_overlap_the_bounds_that_were_given() {
    let (world, _, base) = with_example().await;
    let at = |seconds: i64| base + Micros::from_secs(seconds);
    let check = async |from: Option<WallTime>, to: Option<WallTime>, expect: &[i64]| {
        let mut query = String::new();
        query.extend(from.map(|from| format!("from={from}&")));
        query.extend(to.map(|to| format!("to={to}")));
        let got = world.get(&format!("/api/v1/cameras/gate/segments?{query}")).await.ok();
        let starts: Vec<WallTime> = got.as_array().unwrap().iter().map(|s| time(&s["start_time"])).collect();
        let expect: Vec<WallTime> = expect.iter().map(|seconds| at(*seconds)).collect();
        assert_eq!(starts, expect, "{query}");
    };
    check(None, None, &[102, 140]).await;
    check(Some(at(130)), None, &[140]).await;
    check(Some(at(130) - Micros(1)), None, &[102, 140]).await;
    check(None, Some(at(140)), &[102]).await;
    check(None, Some(at(140) + Micros(1)), &[102, 140]).await;
    check(Some(at(110)), Some(at(110)), &[102]).await;
    check(Some(at(130)), Some(at(140)), &[]).await;
    check(Some(at(170)), None, &[]).await;
}

/// Start, end and further texts of each interval, in seconds after `base`.
fn intervals(list: &Value, base: WallTime, names: &[&str]) -> Vec<String> {
    let seconds = |value: &Value| (time(value) - base).as_secs_f64();
    list.as_array()
        .unwrap_or_else(|| panic!("{list}"))
        .iter()
        .map(|item| {
            let mut text = format!("{}..{}", seconds(&item["start"]), seconds(&item["end"]));
            for name in names {
                if let Some(word) = item[name].as_str() {
                    text.push(' ');
                    text.push_str(word);
                }
            }
            text
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_holes() {
    let (world, _, base) = with_example().await;
    let at = |seconds: i64| base + Micros::from_secs(seconds);
    let timeline = async |query: String| {
        let got = world.get(&format!("/api/v1/cameras/gate/timeline?{query}")).await.ok();
        (intervals(&got["ranges"], base, &[]), got)
    };
    let (ranges, got) = timeline(String::new()).await;
    assert_eq!(ranges, ["102..130", "140..150", "155..170"]);
    assert_eq!(
        (&got["camera_id"], &got["from"], &got["to"], &got["open"]),
        (&json!("gate"), &Value::Null, &Value::Null, &json!(false))
    );
    assert_eq!((&got["recorded_seconds"], &got["segment_count"]), (&json!(53), &json!(2)));
    assert_eq!(got["ranges"][0]["seconds"], json!(28));
    // Not clipped; from and to are those of the query, in UTC.
    let (ranges, got) = timeline(format!("from={}&to={}&tolerance_ms=5000", at(165), at(400))).await;
    assert_eq!(ranges, ["140..170"]);
    assert_eq!((time(&got["from"]), time(&got["to"])), (at(165), at(400)));
    assert_eq!(timeline("tolerance_ms=4999".to_owned()).await.0, ["102..130", "140..150", "155..170"]);
    assert_eq!(timeline("tolerance_ms=999999999".to_owned()).await.0, ["102..170"]);
    assert_eq!(timeline("tolerance_ms=-5".to_owned()).await.0.len(), 3);
    assert_eq!(timeline(format!("from={0}&to={0}", at(110))).await.0, ["102..130"]);
    let (ranges, got) = timeline(format!("from={0}&to={0}", at(130))).await;
    assert_eq!((ranges.len(), &got["segment_count"]), (0, &json!(0)));
    assert_eq!(timeline("stream=sub".to_owned()).await.0.len(), 0);

    let gaps = async |query: String| {
        let got = world.get(&format!("/api/v1/cameras/gate/gaps?{query}")).await.ok();
        assert_eq!(got["gap_count"], json!(got["gaps"].as_array().unwrap().len()));
        (intervals(&got["gaps"], base, &["cause"]), got)
    };
    let (list, got) = gaps(String::new()).await;
    assert_eq!(list, ["130..140 refused", "150..155 stalled"]);
    assert_eq!((&got["total_gap_seconds"], &got["gaps"][0]["seconds"]), (&json!(15), &json!(10)));
    // Edges only for a bound that was given; 2 s of starting join the time before.
    let unwanted = format!("from={}&include=not_wanted", at(90));
    assert_eq!(gaps(unwanted).await.0, ["90..102 not_wanted", "130..140 refused", "150..155 stalled"]);
    assert_eq!(
        gaps(format!("from={}&tolerance_ms=1000", at(90))).await.0,
        ["100..102 starting", "130..140 refused", "150..155 stalled"]
    );
    assert_eq!(
        gaps(format!("to={}&tolerance_ms=6000&include=not_wanted", at(300))).await.0,
        ["130..140 refused", "170..180 unknown", "180..300 not_wanted"]
    );
    // Without any footage: one hole, only with both bounds.
    let (from, to) = (at(131), at(139));
    assert_eq!(gaps(format!("from={from}&to={to}")).await.0, ["131..139 refused"]);
    assert_eq!(gaps(format!("from={}", at(400))).await.0.len(), 0);
    assert_eq!(
        gaps(format!("from={}&to={}&include=not_wanted", at(400), at(410))).await.0,
        ["400..410 not_wanted"]
    );
    // Time after now is none.
    let now = world.kernel.clock.wall();
    let later = now + Micros::from_hours(1);
    let (_, got) = gaps(format!("from={}&to={later}&include=not_wanted", at(400))).await;
    let end = time(&got["gaps"][0]["end"]);
    assert!(end >= now && end <= world.kernel.clock.wall(), "{end}");
    assert_eq!(time(&got["to"]), later);
    assert_eq!(
        gaps(format!("from={}&to={later}&include=not_wanted", now + Micros::from_secs(600))).await.0.len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_stream_is_the_one_with_footage() {
    let world = World::start().await;
    let kernel = &world.kernel;
    let base = base(&world);
    let camera = create_as(kernel, "gate", StreamKind::Sub).await;
    let at = |seconds: i64| base + Micros::from_secs(seconds);
    let count = async |query: &str| {
        let got = world.get(&format!("/api/v1/cameras/gate/timeline{query}")).await.ok();
        got["segment_count"].as_u64().unwrap()
    };
    let main = History { pieces: vec![Piece::sealed(at(0), at(10))], ..History::default() };
    main.store(kernel, &camera, StreamKind::Main).await;
    // The named stream has a number and no footage yet.
    stream_no(kernel, &camera, StreamKind::Sub).await;
    assert_eq!((count("").await, count("?stream=main").await, count("?stream=sub").await), (1, 1, 0));
    let pieces = vec![Piece::sealed(at(10), at(20)), Piece::sealed(at(20), at(30))];
    let sub = History { pieces, ..History::default() };
    sub.store(kernel, &camera, StreamKind::Sub).await;
    assert_eq!((count("").await, count("?stream=main").await, count("?stream=sub").await), (2, 1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_of_a_removed_camera_stays_readable() {
    let (world, camera, _) = with_example().await;
    let now = world.kernel.clock.wall();
    world.kernel.store.write(RemoveCamera { id: camera, now }).await.unwrap();
    for route in ROUTES {
        world.get(&format!("/api/v1/cameras/gate/{route}")).await.ok();
    }
    assert_eq!(world.get("/api/v1/coverage").await.ok()["cameras"], json!([]));
    let named = world.get("/api/v1/coverage?cameras=gate").await.ok();
    assert_eq!(named["cameras"][0]["recorded_seconds"], json!(53));
}

#[tokio::test(flavor = "multi_thread")]
async fn gap_rows() {
    let world = World::start().await;
    let kernel = &world.kernel;
    let camera = create(kernel, "gate").await;
    let base = base(&world);
    let row = |from: i64, to: i64, open, cause| Row {
        interval: Interval::new(base + Micros::from_secs(from), base + Micros::from_secs(to)),
        open,
        cause,
    };
    let mut filled = gap(&camera, 2, &row(100, 110, false, Cause::Auth));
    filled.fill_state = FillState::Filled;
    filled.filled_at = Some(base);
    filled.end = filled.end + Micros(999_999);
    filled.detail = Some("401".to_owned());
    for gap in [
        gap(&camera, 1, &row(10, 20, false, Cause::Stalled)),
        filled,
        gap(&camera, 3, &row(200, 0, true, Cause::Unreachable)),
    ] {
        kernel.store.write(PutGap { gap }).await.unwrap();
    }
    let check = async |query: String, expect: &[u32]| {
        let got = world.get(&format!("/api/v1/cameras/gate/recording-gaps?{query}")).await.ok();
        let ids: Vec<u32> = got
            .as_array()
            .unwrap()
            .iter()
            .map(|gap| gap["id"].as_str().unwrap().trim_start_matches("gap_").parse().unwrap())
            .collect();
        assert_eq!(ids, expect, "{query}");
    };
    check(String::new(), &[3, 2, 1]).await;
    check("state=filled".to_owned(), &[2]).await;
    check("state=pending".to_owned(), &[3, 1]).await;
    check("cause=stalled".to_owned(), &[1]).await;
    check(format!("to={}", base + Micros::from_secs(100)), &[1]).await;
    check(format!("from={}&to={}", base + Micros::from_secs(15), base + Micros::from_secs(200)), &[2, 1])
        .await;
    let now = kernel.clock.wall();
    let got = world.get("/api/v1/cameras/gate/recording-gaps").await.ok();
    assert_eq!(
        got[1],
        json!({
            "id": "gap_00000000000000000000000000000002", "camera_id": "gate",
            "gap_start": (base + Micros::from_secs(100)).to_string(),
            "gap_end": (base + Micros(110_999_999)).to_string(), "gap_seconds": 10,
            "fill_state": "filled", "fill_attempts": 0, "last_attempt_at": null, "filled_at": base.to_string(),
            "created_at": (base + Micros::from_secs(100)).to_string(), "open": false, "cause": "auth",
            "detail": "401", "last_error": null,
        })
    );
    assert_eq!(got[0]["open"], json!(true));
    let end = time(&got[0]["gap_end"]);
    assert!(end >= now && end <= kernel.clock.wall(), "an open gap ends now: {end}");
    assert_eq!(got[0]["gap_seconds"], json!((end - base).0 / 1_000_000 - 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn coverage_windows() {
    let (world, _, base) = with_example().await;
    let before = world.kernel.clock.wall();
    let got = world.get("/api/v1/cameras/gate/coverage").await.ok();
    let (from, to) = (time(&got["from"]), time(&got["to"]));
    assert!(before <= to && to <= world.kernel.clock.wall());
    assert_eq!(to - from, Micros::from_hours(24));
    assert!(got.get("intervals").is_none(), "{got}");

    let at = |seconds: i64| base + Micros::from_secs(seconds);
    let path = format!("/api/v1/cameras/gate/coverage?from={}&to={}&detail=1", at(90), at(190));
    let got = world.get(&path).await.ok();
    assert_eq!(
        got,
        json!({
            "camera_id": "gate", "from": at(90).to_string(), "to": at(190).to_string(), "window_seconds": 100,
            "recorded_seconds": 53, "not_wanted_seconds": 20,
            "not_wanted": {"recording_disabled": 10, "camera_disabled": 10},
            "missing_seconds": 27, "missing": {"starting": 2, "refused": 10, "stalled": 5, "unknown": 10},
            "lost_seconds": 27, "longest_gap_seconds": 10, "intervals": got["intervals"],
        })
    );
    assert_eq!(
        intervals(&got["intervals"], base, &["kind", "cause"]),
        [
            "90..100 not_wanted recording_disabled",
            "100..102 missing starting",
            "102..130 recorded",
            "130..140 missing refused",
            "140..150 recorded",
            "150..155 missing stalled",
            "155..170 recorded",
            "170..180 missing unknown",
            "180..190 not_wanted camera_disabled",
        ]
    );

    // Cut to now, and said so; a window that is all ahead is empty.
    let now = world.kernel.clock.wall();
    let ahead = now + Micros::from_hours(10_000);
    let got = world.get(&format!("/api/v1/cameras/gate/coverage?from={base}&to={ahead}")).await.ok();
    assert!(time(&got["to"]) >= now && time(&got["to"]) < now + Micros::from_secs(60), "{got}");
    let got =
        world.get(&format!("/api/v1/cameras/gate/coverage?from={ahead}&to={ahead}&detail=on")).await.ok();
    assert_eq!((time(&got["from"]), time(&got["to"])), (ahead, ahead));
    assert_eq!((&got["window_seconds"], &got["intervals"]), (&json!(0), &json!([])));
    let year = Micros::from_hours(366 * 24);
    world.get(&format!("/api/v1/cameras/gate/coverage?from={}&to={base}", base - year)).await.ok();
    let longer = format!("/api/v1/cameras/gate/coverage?from={}&to={base}", base - year - Micros(1));
    assert_eq!(world.get(&longer).await.error(), (400, "window_too_long".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn fleet_coverage_adds_up() {
    let (world, _, base) = with_example().await;
    for name in ["attic", "yard"] {
        let camera = create(&world.kernel, name).await;
        let mut history = example(base);
        history.rows[0].cause = Cause::Retention;
        history.pieces[0].seal = Some((EndReason::Rotated, None));
        history.store(&world.kernel, &camera, StreamKind::Main).await;
    }
    create(&world.kernel, "unused").await;
    let window = format!("from={}&to={}", base, base + Micros::from_secs(200));
    let got = world.get(&format!("/api/v1/coverage?{window}")).await.ok();
    assert_eq!(
        got["totals"],
        json!({
            "camera_count": 4, "window_seconds": 800, "recorded_seconds": 159, "not_wanted_seconds": 560,
            "missing_seconds": 81, "missing": {"starting": 6, "stalled": 15, "unknown": 30, "refused": 10, "retention": 20},
            "lost_seconds": 61,
        })
    );
    let names = |got: &Value| -> Vec<String> {
        let list = got["cameras"].as_array().unwrap();
        list.iter().map(|c| c["camera_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&got), ["attic", "gate", "unused", "yard"]);
    assert!(got["cameras"][0].get("intervals").is_none());
    assert_eq!(got["cameras"][1]["lost_seconds"], json!(27));

    // Pages speak of one window even when it is not given, and totals of all cameras.
    for query in [format!("{window}&limit=3"), "limit=1".to_owned()] {
        let mut path = format!("/api/v1/coverage?{query}");
        let (mut seen, mut windows) = (Vec::new(), Vec::new());
        loop {
            let answer = world.get(&path).await;
            let body = answer.ok();
            seen.extend(names(&body));
            windows.push((time(&body["from"]), time(&body["to"])));
            assert_eq!(body["totals"]["camera_count"], json!(4));
            match answer.next() {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(seen, ["attic", "gate", "unused", "yard"], "{query}");
        assert!(windows.windows(2).all(|pair| pair[0] == pair[1]), "{windows:?}");
        assert_eq!(windows[0].1 - windows[0].0 == Micros::from_hours(24), query == "limit=1");
    }
    let first = world.get("/api/v1/coverage?limit=1").await.next().unwrap();
    let foreign = first.replace("limit=1", "limit=1&cameras=gate");
    assert_eq!(world.get(&foreign).await.error(), (400, "bad_cursor".to_owned()));
}

async fn event(world: &World, number: u32, camera: &str, at: WallTime) {
    let event = NewEvent {
        id: format!("00000000-0000-4000-8000-{number:012}"),
        camera: Some(camera_id(camera)),
        event_type: "motion".to_owned(),
        severity: Severity::Info,
        timestamp: at,
        created_at: at,
        payload: json!({}),
    };
    world.kernel.store.write(AppendEvents { events: vec![event] }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_cameras_in_buckets() {
    let (world, _, base) = with_example().await;
    create(&world.kernel, "yard").await;
    let at = |seconds: i64| base + Micros::from_secs(seconds);
    for (number, (camera, seconds)) in
        [("gate", 90), ("gate", 119), ("gate", 120), ("yard", 189), ("gate", 190)].into_iter().enumerate()
    {
        event(&world, u32::try_from(number).unwrap(), camera, at(seconds)).await;
    }
    let path = |rest: &str| format!("/api/v1/timeline?from={}&to={}{rest}", at(90), at(190));
    let got = world.get(&path("&resolution=30")).await.ok();
    assert_eq!(
        got,
        json!({
            "from": at(90).to_string(), "to": at(190).to_string(), "resolution_seconds": 30, "bucket_count": 4,
            "cameras": [
                {
                    "camera_id": "gate", "events": [2, 1, 0, 0],
                    // 102 to 120; to 130 and from 140; to 150 and 155 to 170; nothing.
                    "motion": [0.0, 0.0, 0.0, 0.0],
                    "recorded": [0.6, 0.6666, 0.5, 0.0],
                    "missing": [0.0666, 0.3333, 0.5, 0.0],
                },
                {"camera_id": "yard", "events": [0, 0, 0, 1], "motion": [0.0, 0.0, 0.0, 0.0], "recorded": [0.0, 0.0, 0.0, 0.0],
                    "missing": [0.0, 0.0, 0.0, 0.0]},
            ],
        })
    );
    let plain = world.get_as(As::With(PLAYBACK), &path("&resolution=30")).await.ok();
    assert!(plain["cameras"][0].get("events").is_none(), "{plain}");
    let limited = world.get_as(As::Limited(WITH_EVENTS, &["yard"]), &path("&resolution=30")).await.ok();
    assert_eq!(limited["cameras"].as_array().map(Vec::len), Some(1));
    assert_eq!(limited["cameras"][0]["events"], json!([0, 0, 0, 1]));

    let exact = world.get(&path("&resolution=0&cameras=gate")).await.ok();
    assert_eq!((&exact["resolution_seconds"], &exact["bucket_count"]), (&json!(0), &json!(0)));
    let gate = &exact["cameras"][0];
    assert_eq!((&gate["recorded"], &gate["missing"], &gate["events"]), (&json!([]), &json!([]), &json!([])));
    assert_eq!(intervals(&gate["ranges"], base, &[]), ["102..130", "140..150", "155..170"]);
    assert_eq!(
        intervals(&gate["gaps"], base, &["cause"]),
        ["100..102 starting", "130..140 refused", "150..155 stalled", "170..180 unknown"]
    );
    let clipped = format!("/api/v1/timeline?from={}&to={}&resolution=0&cameras=gate", at(110), at(152));
    let clipped = world.get(&clipped).await.ok();
    assert_eq!(intervals(&clipped["cameras"][0]["ranges"], base, &[]), ["110..130", "140..150"]);
    assert_eq!(
        intervals(&clipped["cameras"][0]["gaps"], base, &["cause"]),
        ["130..140 refused", "150..152 stalled"]
    );

    let auto = world.get(&path("")).await.ok();
    assert_eq!((&auto["resolution_seconds"], &auto["bucket_count"]), (&json!(0.1), &json!(1000)));
    assert_eq!(auto, world.get(&path("&resolution=auto")).await.ok());
    // One microsecond of footage shows in a bucket of a day.
    let day = format!(
        "/api/v1/timeline?from={}&to={}&resolution=86400&cameras=gate",
        at(170) - Micros(1),
        at(86_570)
    );
    assert_eq!(micros(&world.get(&day).await.ok()["cameras"][0]["recorded"][0]), Micros(100));
}
