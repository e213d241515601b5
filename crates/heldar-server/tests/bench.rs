//! `heldar bench` measures what it says, with small counts, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heldar"));
    command.arg("bench").args(arguments).arg("--folder").arg(folder);
    command
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("the folder is there").count()
}

/// The report of a measurement that succeeds and cleans up.
#[track_caller]
fn report(arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let output = bench(folder.path(), arguments).arg("--json").output().expect("it runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaints}");
    assert_eq!(entries(folder.path()), 0, "{arguments:?} leaves a folder behind");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Six seconds of pictures and sound.
fn clip(folder: &Path) -> PathBuf {
    let path = folder.join("clip.mp4");
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x240:rate=25",
            "-f",
            "lavfi",
            "-i",
            "sine",
        ])
        .args(["-t", "6", "-c:v", "libx264", "-bf", "0", "-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac"])
        .arg(&path)
        .status();
    assert!(made.expect("ffmpeg is installed").success());
    path
}

#[track_caller]
fn positive(report: &Value, pointers: &[&str]) {
    for pointer in pointers {
        let figure = report.pointer(pointer).and_then(Value::as_f64);
        assert!(figure.is_some_and(|figure| figure > 0.0), "{pointer} in {report:#}");
    }
}

#[test]
fn access() {
    let report = report(&["access", "--requests", "20", "--runs", "1"]);
    let kinds = report["kinds"].as_array().unwrap();
    assert_eq!(kinds.len(), 4, "{report}");
    assert!(kinds.iter().all(|kind| kind["p50_us"].as_f64().unwrap() > 0.0), "{report}");
    assert!(report["sign_in_ms"].as_f64().unwrap() > 1.0, "{report}");
    positive(&report, &["/failures/0/p50_ms", "/failures/1/p50_ms", "/failures/2/p50_ms"]);
}

#[test]
fn idle() {
    let report = report(&["idle", "--seconds", "1", "--runs", "1"]);
    positive(&report, &["/runs/0/rss_mib", "/runs/0/pss_mib", "/runs/0/fds", "/runs/0/ready_ms"]);
}

#[test]
fn recording_beside_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let clip = clip.to_str().unwrap();
    let report = report(&[
        "record",
        "--cameras",
        "2",
        "--clip",
        clip,
        "--seconds",
        "5",
        "--settle",
        "1",
        "--runs",
        "1",
    ]);
    assert_eq!(report["without_gaps"], true, "{report:#}");
    assert_eq!(report["clip"]["audio"], true);
    let sides: Vec<_> = report["runs"].as_array().unwrap().iter().map(|run| run["of"].clone()).collect();
    assert_eq!(sides, ["heldar", "ffmpeg"]);
    for side in ["/runs/0", "/runs/1"] {
        positive(&report, &[&format!("{side}/recorded_mib"), &format!("{side}/pss_mib")]);
    }
    let recorded = report.pointer("/runs/0/loss/recorded_seconds").and_then(Value::as_f64).unwrap();
    assert!((9.9..60.0).contains(&recorded), "two cameras, five seconds each: {recorded}");
}

#[test]
fn recording_with_viewers_and_exports() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let clip = clip.to_str().unwrap();
    let arguments =
        ["--cameras", "2", "--viewers", "2", "--export-mbit", "8", "--seconds", "8", "--every", "4"];
    let report = report(&[&["endure", "--clip", clip][..], &arguments[..]].concat());
    assert_eq!(report["loss"]["missing_seconds"], 0.0, "{report:#}");
    assert_eq!(report["looks"].as_array().unwrap().len(), 2);
    positive(&report, &["/looks/1/rss_mib", "/viewers/1/segments", "/viewers/1/mib", "/exports/files"]);
    assert_eq!(report["viewers"][0]["error"], Value::Null);
}

#[test]
fn restarts_are_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let report = report(&["restart", "--cameras", "2", "--clip", clip.to_str().unwrap(), "--runs", "1"]);
    let restarts = report["restarts"].as_array().unwrap();
    assert_eq!([&restarts[0]["end"], &restarts[1]["end"]], ["stop", "kill"]);
    for restart in restarts {
        assert_eq!(restart["missing_s"].as_array().unwrap().len(), 2);
        positive(restart, &["/ended_s", "/ready_s", "/missing_s/0", "/missing_s/1"]);
    }
    positive(&restarts[1], &["/causes/server_crashed"]);
}

#[test]
fn export_of_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let clip = clip.to_str().unwrap();
    let report = report(&["export", "--clip", clip, "--minutes", "1", "--runs", "1", "--windows", "3"]);
    assert_eq!(report.pointer("/runs/0/same_bytes"), Some(&Value::Bool(true)));
    positive(&report, &["/runs/0/mib", "/runs/0/export_s", "/runs/0/sha256sum_s", "/first_byte/new_p50_ms"]);
}

#[test]
fn a_small_index() {
    let report = report(&["index", "--segments", "3000", "--cameras", "3", "--requests", "10"]);
    assert_eq!(report["segments"], 3000);
    assert_eq!(report["ready_ms"].as_array().unwrap().len(), 6);
    for answers in report["answers"].as_array().unwrap() {
        positive(answers, &["/p50_ms", "/p99_ms", "/bytes"]);
    }
    assert_eq!(report["answers"].as_array().unwrap().len(), 4);
}

#[test]
fn ingest_of_both_kinds_of_batch() {
    let report = report(&["ingest", "--seconds", "1", "--connections", "2"]);
    let kinds = report["kinds"].as_array().unwrap();
    assert_eq!([&kinds[0]["detections"], &kinds[1]["detections"]], [1, 100], "{report:#}");
    for kind in kinds {
        assert_eq!(kind["errors"], 0, "{kind:#}");
        let consumers = kind["consumers"].as_array().unwrap();
        assert_eq!(consumers.len(), 1, "{kind:#}");
        assert_eq!(
            (&consumers[0]["name"], &consumers[0]["parked"]),
            (&"zones".into(), &0.into()),
            "{kind:#}"
        );
        positive(kind, &["/requests_per_s", "/p99_ms", "/server_cores", "/load_cores", "/rss_mib"]);
        positive(kind, &["/wal_max_mib", "/bytes_per_batch", "/bytes_per_detection"]);
    }
    assert_eq!(report["engine"], "sqlite");
}

#[test]
fn replay_of_a_short_day() {
    let counts = ["--detections", "3000", "--cameras", "2", "--zones", "3", "--runs", "1"];
    let report = report(&[&["replay"][..], &counts[..]].concat());
    assert_eq!(report["detections"], 3000, "{report:#}");
    assert_eq!(report["seconds"].as_array().unwrap().len(), 1);
    positive(&report, &["/events", "/seconds/0", "/server_peak_mib"]);
}

#[test]
fn feed_to_several_listeners() {
    let counts = ["--listeners", "20", "--batches", "50", "--one-in", "5", "--seconds", "2"];
    let report = report(&[&["feed"][..], &counts[..]].concat());
    assert_eq!((&report["events"], &report["messages"]), (&20.into(), &400.into()), "{report:#}");
    assert_eq!(report["missing"], 0);
    positive(
        &report,
        &["/p50_ms", "/p95_ms", "/answer_p50_ms", "/server_cores", "/rss_mib", "/batches_per_s"],
    );
}

#[test]
fn ingest_into_postgresql_that_is_empty() {
    let cluster = heldar_testkit::PostgresCluster::start().unwrap();
    let database = cluster.create_database().unwrap();
    let arguments = ["ingest", "--seconds", "1", "--connections", "2", "--database", &database];
    let report = report(&arguments);
    assert_eq!((&report["engine"], &report["kinds"][1]["detections"]), (&"postgres".into(), &100.into()));
    positive(&report, &["/kinds/0/requests", "/kinds/0/bytes_per_batch", "/kinds/1/requests"]);
    assert_eq!(report["kinds"][0]["wal_mib"], Value::Null);

    let folder = tempfile::tempdir().unwrap();
    let again = bench(folder.path(), &arguments).output().unwrap();
    assert!(!again.status.success());
    let complaint = String::from_utf8_lossy(&again.stderr);
    assert!(complaint.contains("there are cameras in it"), "{complaint}");
}

#[test]
fn detections_of_a_small_store() {
    let counts = ["--segments", "1000", "--detections", "4000", "--cameras", "2", "--requests", "10"];
    let report = report(&[&["detections"][..], &counts[..]].concat());
    assert_eq!(report["detections"], 4000);
    let answers = report["answers"].as_array().unwrap();
    for answer in answers {
        positive(answer, &["/p50_ms", "/p95_ms", "/rows", "/bytes"]);
    }
    let rows: Vec<u64> = answers.iter().map(|answer| answer["rows"].as_u64().unwrap()).collect();
    assert_eq!((rows[0], rows[1], rows[3], rows[4]), (100, 100, 100, 100), "{report:#}");
    assert!((1..100).contains(&rows[2]) && rows[2] < rows[5], "{report:#}");
}

#[test]
fn frames_beside_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let clip = clip.to_str().unwrap();
    let decoder = heldar_testkit::decoder_program();
    let counts = ["--cameras", "1", "--seconds", "3", "--settle", "0", "--sync-fps", "0.5", "--width", "160"];
    let report = report(&[&["frames", "--clip", clip, "--decoder", decoder][..], &counts[..]].concat());
    let runs = report["runs"].as_array().unwrap();
    let of: Vec<_> = runs.iter().map(|run| [run["of"].clone(), run["decode"].clone()]).collect();
    let expect = [["heldar", "all"], ["ffmpeg", "all"], ["heldar", "sync_only"], ["ffmpeg", "sync_only"]];
    assert_eq!(of, expect.map(|pair| pair.map(Value::from)), "{report:#}");
    for run in runs {
        positive(run, &["/frames", "/kib_per_frame", "/cpu_s", "/pss_mib"]);
        // A server with a decoder process, or one ffmpeg.
        assert_eq!(run["processes"], if run["of"] == "heldar" { 2 } else { 1 }, "{run:#}");
    }
    positive(&report, &["/runs/0/age/p50_ms", "/runs/2/age/p99_ms", "/ratios/0/cpu", "/ratios/1/pss"]);
    assert_eq!(report["runs"][1]["age"], Value::Null);
}

#[test]
fn webhooks_with_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let decoder = heldar_testkit::decoder_program();
    let clip = ["--clip", clip.to_str().unwrap(), "--decoder", decoder];
    let report = report(&[&["webhook", "--seconds", "3", "--width", "160"][..], &clip[..]].concat());
    positive(&report, &["/entries", "/kib_per_message", "/from_capture/p50_ms", "/from_post/p95_ms"]);
    assert_eq!(report["messages"], report["entries"], "{report:#}");
    assert_eq!(report["with_picture"], report["entries"], "{report:#}");
}

#[test]
fn scrubbing_along_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(folder.path());
    let decoder = heldar_testkit::decoder_program();
    let footage = ["--clip", clip.to_str().unwrap(), "--decoder", decoder, "--minutes", "1"];
    let report = report(&[&["scrub", "--pictures", "2"][..], &footage[..]].concat());
    let answers = report["answers"].as_array().unwrap();
    let answered: Vec<_> = answers.iter().map(|kind| kind["answered"].as_u64().unwrap()).collect();
    assert_eq!(answered, [15, 15, 15, 15, 2, 2], "{report:#}");
    for kind in answers {
        positive(kind, &["/per_s", "/p50_ms", "/p95_ms", "/max_ms"]);
        assert_eq!(kind["errors"], 0);
    }
}

#[test]
fn a_decoder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(folder.path(), &["scrub", "--decoder", "/nowhere/heldar-decoder"]).output().unwrap();
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("/nowhere/heldar-decoder is not there"), "{complaint}");
}

/// Whether a process other than this one was told of a path.
fn somebody_uses(path: &str) -> bool {
    let mut processes = std::fs::read_dir("/proc").expect("proc(5)").flatten();
    processes.any(|process| {
        let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        command.contains(path)
    })
}

#[test]
fn told_to_stop_it_takes_its_children_along() {
    let media = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clip = clip(media.path());
    let clip = clip.to_str().unwrap();
    let mut child = bench(folder.path(), &["record", "--cameras", "1", "--clip", clip, "--seconds", "600"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let wait = |what: &dyn Fn() -> bool| {
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    // Its own folder, and that of the first server.
    wait(&|| entries(folder.path()) == 2);
    let stopped = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(stopped.unwrap().success());
    assert!(!child.wait().unwrap().success());
    assert_eq!(entries(folder.path()), 0);
    wait(&|| !somebody_uses(clip));
}
