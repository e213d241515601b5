use proptest::prelude::*;

use super::*;

const START: WallTime = WallTime(1_780_000_000_000_000);
const FIRST: u64 = 1_780_000_000_000;

fn task(n: u128) -> TaskId {
    TaskId::new(n)
}

fn rendition(width: u32, bytes: usize) -> Rendition {
    Rendition { width, height: width / 16 * 9, jpeg: Bytes::from(vec![0; bytes]) }
}

fn at(ms: i64) -> WallTime {
    START + Micros::from_millis(ms)
}

/// A picture at `ms` with 100 bytes in each of these widths.
fn picture(ms: i64, widths: &[u32], picked: &[(u128, u32)]) -> NewFrame {
    NewFrame {
        captured_at: at(ms),
        pts_us: ms * 1000,
        session: 1,
        renditions: widths.iter().map(|w| rendition(*w, 100)).collect(),
        picked: picked.iter().map(|(n, width)| PickedFor { task: task(*n), width: *width }).collect(),
    }
}

/// A ring of `capacity` after ten pictures, one each 100 ms; task 1 has all, task 2 each third, task 3 the first.
fn ten(capacity: usize) -> Ring {
    let mut ring = Ring::new(START, capacity);
    for i in 0..10 {
        let mut picked = vec![(1, 640)];
        if i % 3 == 0 {
            picked.push((2, 320));
        }
        if i == 0 {
            picked.push((3, 1280));
        }
        ring.push(picture(i * 100, &[640, 320], &picked)).unwrap();
    }
    ring
}

fn pull(view: View, after: Option<u64>, pick: Pick) -> Pull {
    Pull { view, after: after.map(|n| FIRST + n), pick, seq: None }
}

/// Number (from the first), width and skipped of the answer, or what else it is.
fn show(answer: &Pulled) -> String {
    match answer {
        Pulled::Frame(s) => format!("{} {} {}", s.frame.seq - FIRST, s.rendition.width, s.skipped),
        Pulled::NothingNewer { newest } => format!("nothing after {}", newest - FIRST),
        Pulled::Nothing => "nothing".to_owned(),
        Pulled::Stale { stopped } => format!("stale {}", (*stopped - START).0 / 1000),
        Pulled::Evicted => "evicted".to_owned(),
    }
}

#[track_caller]
fn check(ring: &Ring, pull: &Pull, expect: &str) {
    assert_eq!(show(&ring.pull(pull, at(1_000), stale_after(5.0))), expect);
}

#[test]
fn views_and_widths() {
    let ring = ten(32);
    check(&ring, &pull(View::Whole, None, Pick::Newest), "9 640 0");
    check(&ring, &pull(View::Task(task(2)), None, Pick::Newest), "9 320 0");
    // Never scaled up: the widest there is.
    check(&ring, &pull(View::Task(task(3)), None, Pick::Newest), "0 640 0");
    check(&ring, &pull(View::Task(task(4)), None, Pick::Newest), "nothing");
}

#[test]
fn after_and_pick() {
    let ring = ten(32);
    let (one, two) = (View::Task(task(1)), View::Task(task(2)));
    check(&ring, &pull(one, Some(4), Pick::Newest), "9 640 4");
    check(&ring, &pull(one, Some(4), Pick::Next), "5 640 0");
    check(&ring, &pull(two, Some(1), Pick::Next), "3 320 0");
    check(&ring, &pull(two, Some(1), Pick::Newest), "9 320 2");
    check(&ring, &pull(two, None, Pick::Next), "9 320 0");
    check(&ring, &pull(one, Some(9), Pick::Newest), "nothing after 9");
    check(&ring, &pull(View::Whole, Some(9), Pick::Next), "nothing after 9");
    // Above the newest counts as absent.
    check(&ring, &pull(one, Some(10), Pick::Newest), "9 640 0");
    // What has left the ring counts as skipped.
    check(&ten(4), &pull(one, Some(2), Pick::Next), "6 640 3");
}

#[test]
fn by_number() {
    let ring = ten(4);
    let exact = |view, n| Pull { seq: Some(FIRST + n), ..pull(view, Some(0), Pick::Newest) };
    check(&ring, &exact(View::Whole, 8), "8 640 0");
    check(&ring, &exact(View::Whole, 2), "evicted");
    check(&ring, &exact(View::Task(task(2)), 8), "evicted");
    check(&ring, &exact(View::Task(task(4)), 8), "evicted");
    check(&ring, &exact(View::Whole, 100), "evicted");
}

#[test]
fn a_stopped_source_is_stale() {
    let ring = ten(32);
    let ask = |ms, fps| show(&ring.pull(&pull(View::Whole, None, Pick::Newest), at(ms), stale_after(fps)));
    assert_eq!(ask(5_900, 5.0), "9 640 0");
    assert_eq!(ask(5_901, 5.0), "stale 900");
    assert_eq!(ask(5_901, 0.5), "9 640 0");
    assert_eq!(ask(10_901, 0.5), "stale 900");
    // Nor is an older one served by its number.
    let exact = Pull { seq: Some(FIRST), ..pull(View::Whole, None, Pick::Newest) };
    assert_eq!(show(&ring.pull(&exact, at(9_000), stale_after(5.0))), "stale 900");
    // A picture from the future is fresh.
    assert_eq!(ask(-50_000, 5.0), "9 640 0");
}

#[test]
fn the_newest_of_every_task_stays() {
    let mut ring = ten(2);
    let held: Vec<u64> = ring.frames.iter().map(|f| f.seq - FIRST).collect();
    assert_eq!(held, [0, 8, 9]);
    check(&ring, &pull(View::Task(task(3)), None, Pick::Newest), "0 640 0");
    ring.retain_tasks(|id| id != task(3));
    assert_eq!((ring.len(), ring.knows(task(3)), ring.bytes()), (2, false, 400));
    // A newer one sets the older free.
    let mut ring = ten(2);
    ring.push(picture(1_000, &[640], &[(3, 640)])).unwrap();
    let held: Vec<u64> = ring.frames.iter().map(|f| f.seq - FIRST).collect();
    assert_eq!(held, [9, 10]);
    ring.set_capacity(0);
    // The newest of tasks 1 and 2, and of task 3 and all.
    assert_eq!(ring.len(), 2);
}

#[test]
fn capture_times_rise_by_a_millisecond() {
    let mut ring = Ring::new(START, 8);
    let times: Vec<i64> = [0, 0, -5_000, 10]
        .iter()
        .map(|ms| (ring.push(picture(*ms, &[320], &[])).unwrap().captured_at - START).0)
        .collect();
    assert_eq!(times, [0, 1_000, 2_000, 10_000]);
    assert!(ring.push(picture(20, &[], &[])).is_none());
}

#[test]
fn frames_are_found_by_time() {
    let ring = ten(32);
    let seq = |frame: Option<&Arc<Frame>>| frame.map(|f| f.seq - FIRST);
    let ms = START.0 / 1000;
    assert_eq!(seq(ring.captured_in(ms + 300)), Some(3));
    assert_eq!(seq(ring.captured_in(ms + 301)), None);
    assert_eq!(seq(ring.nearest(at(349), Micros::from_millis(50))), Some(3));
    assert_eq!(seq(ring.nearest(at(351), Micros::from_millis(50))), Some(4));
    assert_eq!(seq(ring.nearest(at(-10), Micros::from_millis(10))), Some(0));
    assert_eq!(seq(ring.nearest(at(1_000), Micros::from_millis(99))), None);
}

#[test]
fn memory_is_taken_from_the_oldest_of_the_least() {
    let (mut low, mut high) = (ten(32), ten(32));
    assert_eq!(low.bytes(), 2_000);
    let mut rings =
        [(100, &mut high), (1, &mut low)].map(|(priority, ring)| PrioritizedRing { priority, ring });
    assert_eq!(trim(&mut rings, 4_000), 4_000);
    assert_eq!(trim(&mut rings, 3_900), 3_800);
    assert_eq!((rings[0].ring.len(), rings[1].ring.len()), (10, 9));
    // Frame 0 is the newest of task 3, frame 9 of the others.
    assert_eq!(trim(&mut rings, 2_000), 2_000);
    assert_eq!((rings[0].ring.len(), rings[1].ring.len()), (8, 2));
    assert_eq!(trim(&mut rings, 0), 800);
    // Equal priority: by age alone.
    let (mut a, mut b) = (ten(32), ten(32));
    b.push(picture(2_000, &[640], &[])).unwrap();
    let mut rings = [&mut a, &mut b].map(|ring| PrioritizedRing { priority: 5, ring });
    trim(&mut rings, 3_500);
    assert_eq!((rings[0].ring.len(), rings[1].ring.len()), (8, 10));
}

#[derive(Clone, Debug)]
enum Step {
    Push(i64, Vec<u128>, usize),
    Retain(u128),
    Capacity(usize),
    Trim(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (-50..500i64, proptest::sample::subsequence(vec![1, 2, 3], 0..=3), 1..200usize)
            .prop_map(|(ms, tasks, bytes)| Step::Push(ms, tasks, bytes)),
        1 => (1..4u128).prop_map(Step::Retain),
        1 => (0..9usize).prop_map(Step::Capacity),
        1 => (0..1000usize).prop_map(Step::Trim),
    ]
}

proptest! {
    #[test]
    fn numbers_times_bytes_and_the_newest_are_kept(steps in proptest::collection::vec(step(), 0..80)) {
        let mut ring = Ring::new(START, 4);
        let mut clock = 0;
        let mut newest: BTreeMap<u128, u64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Push(ms, tasks, bytes) => {
                    clock += ms;
                    let mut new = picture(clock, &[], &tasks.iter().map(|t| (*t, 320)).collect::<Vec<_>>());
                    new.renditions = vec![rendition(320, bytes)];
                    let seq = ring.push(new).unwrap().seq;
                    newest.extend(tasks.iter().map(|t| (*t, seq)));
                }
                Step::Retain(gone) => {
                    ring.retain_tasks(|t| t != task(gone));
                    newest.remove(&gone);
                }
                Step::Capacity(n) => ring.set_capacity(n),
                Step::Trim(bytes) => {
                    let before = ring.bytes();
                    let held = trim(&mut [PrioritizedRing { priority: 0, ring: &mut ring }], bytes);
                    prop_assert!(held <= before && held == ring.bytes());
                }
            }
            prop_assert_eq!(ring.bytes(), ring.frames.iter().map(|f| f.bytes()).sum::<usize>());
            prop_assert!(ring.len() <= ring.capacity + newest.len());
            let pairs = || ring.frames.iter().zip(ring.frames.iter().skip(1));
            prop_assert!(pairs().all(|(a, b)| a.seq < b.seq && b.captured_at - a.captured_at >= STEP));
            for (t, seq) in &newest {
                let pulled = ring.pull(&pull(View::Task(task(*t)), None, Pick::Newest), START, Micros::MAX);
                match pulled {
                    Pulled::Frame(s) => prop_assert_eq!(s.frame.seq, *seq),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }

    #[test]
    fn next_walks_every_picture_once(tasks in proptest::collection::vec(any::<bool>(), 1..60)) {
        let mut ring = Ring::new(START, 512);
        for (i, mine) in tasks.iter().enumerate() {
            ring.push(picture(i as i64 * 40, &[320], if *mine { &[(1, 320)] } else { &[] })).unwrap();
        }
        let expect: Vec<u64> = (0..tasks.len()).filter(|i| tasks[*i]).map(|i| i as u64).collect();
        let mut seen = Vec::new();
        // One before the first, which no picture of this ring has.
        let mut ask = Pull { after: Some(FIRST - 1), ..pull(View::Task(task(1)), None, Pick::Next) };
        while let Pulled::Frame(s) = ring.pull(&ask, START, Micros::MAX) {
            prop_assert_eq!(s.skipped, 0);
            seen.push(s.frame.seq - FIRST);
            ask.after = Some(s.frame.seq);
        }
        prop_assert_eq!(seen, expect);
    }
}
