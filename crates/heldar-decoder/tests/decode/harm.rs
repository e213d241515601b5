//! Processes that are killed, hang or are fed nonsense.

use std::time::{Duration, Instant};

use bytes::Bytes;
use heldar_decode::{Answers, Decoders, Feed, Lost, OpenError, Reply};
use rustix::process::{Pid, Signal, kill_process};

use crate::clip::{Clip, decoders, shown};
use crate::{CLIPS, LUMA, depth, unit};

/// Decoder processes that this test process has started, by their argument.
fn children(memory_mb: &str) -> Vec<Pid> {
    let me = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let parent = read("stat")
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1).map(str::to_owned));
        if parent.as_deref() == Some(&*me) && read("cmdline").split('\0').any(|word| word == memory_mb) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

/// A pool whose processes can be told from those of other tests.
fn own_pool(memory_mb: u32, processes: usize) -> Decoders {
    let program = env!("CARGO_BIN_EXE_heldar-decoder").into();
    let deadline = Duration::from_secs(1);
    Decoders::new(heldar_decode::Options { program, processes, nice: 3, memory_mb, deadline })
}

async fn open(decoders: &Decoders, clip: &Clip) -> (Feed, Answers) {
    decoders.open(clip.params.codec, depth(clip), &clip.params.config).await.expect("open")
}

/// Opens again until the rest after a loss is over.
async fn open_again(decoders: &Decoders, clip: &Clip) -> (Feed, Answers) {
    let begun = Instant::now();
    loop {
        match decoders.open(clip.params.codec, depth(clip), &clip.params.config).await {
            Ok(opened) => return opened,
            Err(OpenError::Rests(rest)) if begun.elapsed() < Duration::from_secs(20) => {
                tokio::time::sleep(rest).await
            }
            Err(OpenError::Lost(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

async fn first_picture(clip: &Clip, feed: &Feed, answers: &mut Answers) -> Vec<u8> {
    feed.unit(unit(&clip.samples[0], vec![LUMA])).await.expect("sent");
    feed.flush(1).await.expect("sent");
    match answers.recv().await.0 {
        Reply::Picture(picture) => picture.images[0].data.clone(),
        other => panic!("{other:?}"),
    }
}

async fn loss(answers: &mut Answers) -> Lost {
    loop {
        if let Reply::Lost(lost) = answers.recv().await.0 {
            return lost;
        }
    }
}

#[tokio::test]
async fn a_killed_process_is_told_to_everybody_and_replaced() {
    let (_, clip) = &CLIPS[0];
    let decoders = own_pool(901, 1);
    let (feed, mut answers) = open(&decoders, clip).await;
    let (other, mut others) = open(&decoders, clip).await;
    let picture = first_picture(clip, &feed, &mut answers).await;
    let [pid] = children("901")[..] else { panic!("one process") };
    kill_process(pid, Signal::KILL).expect("killed");
    let _lost = loss(&mut answers).await;
    let lost = loss(&mut others).await;
    assert!(!lost.at_work && lost.why.contains("SIGKILL"), "{lost:?}");
    assert!(other.unit(unit(&clip.samples[0], vec![LUMA])).await.is_err());
    let (feed, mut answers) = open_again(&decoders, clip).await;
    assert!(first_picture(clip, &feed, &mut answers).await == picture);
}

#[tokio::test]
async fn a_process_that_hangs_is_ended_and_names_its_stream() {
    let (_, clip) = &CLIPS[1];
    let decoders = own_pool(902, 1);
    let (feed, mut answers) = open(&decoders, clip).await;
    let (_idle, mut others) = open(&decoders, clip).await;
    let _picture = first_picture(clip, &feed, &mut answers).await;
    let [pid] = children("902")[..] else { panic!("one process") };
    // Many units, so that it is stopped in the middle of them.
    let send = async {
        for _ in 0..400 {
            for sample in &clip.samples {
                if feed.unit(unit(sample, Vec::new())).await.is_err() {
                    return;
                }
            }
        }
    };
    let stop = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        kill_process(pid, Signal::STOP).expect("stopped");
    };
    tokio::join!(send, stop);
    let lost = loss(&mut answers).await;
    assert!(lost.at_work && lost.why.contains("hung"), "{lost:?}");
    assert!(!loss(&mut others).await.at_work);
}

#[tokio::test]
async fn a_process_is_caged() {
    let (_, clip) = &CLIPS[0];
    let decoders = own_pool(903, 1);
    let (feed, mut answers) = open(&decoders, clip).await;
    let _picture = first_picture(clip, &feed, &mut answers).await;
    let [pid] = children("903")[..] else { panic!("one process") };
    let pid = pid.as_raw_nonzero();
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("readable");
    let status = read("status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), (Some("2"), Some("1")));
    let limit = read("limits").lines().find(|line| line.starts_with("Max address space")).map(str::to_owned);
    assert!(limit.is_some_and(|line| line.contains(&(903u64 << 20).to_string())));
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("readable").count();
    assert_eq!(open, 3, "a socket, the note, standard error");
    assert!(read("environ").is_empty());
    assert_eq!(
        read("stat")
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(16).map(str::to_owned))
            .as_deref(),
        Some("3")
    );
}

#[tokio::test]
async fn nonsense_is_told_and_other_streams_go_on() {
    let decoders = decoders(1);
    for (name, clip) in CLIPS.iter() {
        let (feed, mut answers) = open(&decoders, clip).await;
        let (good, mut goods) = open(&decoders, clip).await;
        let picture = first_picture(clip, &good, &mut goods).await;
        assert_eq!(goods.recv().await.0, Reply::Flushed(1));
        let mut numbers = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            numbers = numbers.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (numbers >> 33) as usize
        };
        let (mut told, mut shown_pictures) = (0, 0);
        for round in 0..20 {
            let send = async {
                for sample in &clip.samples {
                    let mut bytes = sample.payload.to_vec();
                    for _ in 0..(1 + random() % 8) {
                        let at = random() % bytes.len();
                        bytes[at] ^= 1 << (random() % 8);
                    }
                    if random() % 8 == 0 {
                        bytes.truncate(random() % bytes.len());
                    }
                    let broken =
                        heldar_decode::Unit { payload: Bytes::from(bytes), ..unit(sample, vec![LUMA]) };
                    feed.unit(broken).await.expect("the process lives");
                }
                feed.flush(round).await.expect("the process lives");
            };
            let receive = async {
                loop {
                    match answers.recv().await.0 {
                        Reply::Picture(_) => shown_pictures += 1,
                        Reply::Malformed { .. } => told += 1,
                        Reply::Flushed(_) => return,
                        Reply::Lost(lost) => panic!("{name}: {lost}"),
                    }
                }
            };
            tokio::join!(send, receive);
        }
        assert!(told > 20, "{name}: {told} of {} told", told + shown_pictures);
        assert!(first_picture(clip, &good, &mut goods).await == picture, "{name}");
    }
}

#[tokio::test]
async fn what_is_no_parameter_set_is_told() {
    let (_, clip) = &CLIPS[0];
    let decoders = decoders(1);
    let config = Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let (feed, mut answers) = decoders.open(clip.params.codec, 0, &config).await.expect("open");
    feed.unit(unit(&clip.samples[0], vec![LUMA])).await.expect("sent");
    let Reply::Malformed { .. } = answers.recv().await.0 else { panic!("no picture can come of it") };
    assert!(shown(&clip.samples[0]) >= 0);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let (_, clip) = &CLIPS[0];
    let options = heldar_decode::Options {
        program: "/nowhere/heldar-decoder".into(),
        processes: 1,
        nice: 0,
        memory_mb: 100,
        deadline: Duration::from_secs(1),
    };
    let opened = Decoders::new(options).open(clip.params.codec, 0, &clip.params.config).await;
    assert!(matches!(opened, Err(OpenError::Start(_))));
}
