use std::collections::BTreeSet;

use heldar_base::StreamKind;
use proptest::prelude::*;

use super::*;
use crate::task::TaskSpec;

const NOW: WallTime = WallTime(1_780_000_000_000_000);

fn at(secs: i64) -> WallTime {
    NOW + Micros::from_secs(secs)
}

fn camera(n: u128) -> CameraId {
    CameraId::new(&format!("cam{n}")).unwrap()
}

/// Task `n` on camera `n % 4`, of the type `yolo` or, for each third, `anpr`.
fn task(n: u128) -> Task {
    let spec = TaskSpec {
        task_type: if n.is_multiple_of(3) { "anpr" } else { "yolo" }.to_owned(),
        profile: StreamKind::Sub,
        fps: 5.0,
        width: 640,
        config: serde_json::Value::Null,
        enabled: true,
        warm: false,
    };
    Task { id: TaskId::new(n), camera: camera(n % 4), spec }
}

fn tasks(n: u128) -> Vec<Task> {
    (1..=n).map(task).collect()
}

fn request(worker: &str) -> LeaseRequest {
    LeaseBody { worker_id: worker.to_owned(), ..LeaseBody::default() }.check().unwrap()
}

/// A book with a store that never fails, and callers that see everything unless told otherwise.
struct World {
    book: LeaseBook,
    tasks: Vec<Task>,
    scopes: BTreeMap<String, Scope>,
    ids: u128,
}

impl World {
    fn new(tasks: Vec<Task>) -> Self {
        World { book: LeaseBook::default(), tasks, scopes: BTreeMap::new(), ids: 0 }
    }

    fn scope(&self, credential: &str) -> Scope {
        self.scopes.get(credential).cloned().unwrap_or(Scope::All)
    }

    fn ask(&mut self, now: WallTime, credential: &str, request: &LeaseRequest) -> Reply {
        self.ids += 1;
        let active: Vec<&Task> = self.tasks.iter().filter(|t| t.spec.enabled).collect();
        let scope = self.scope(credential);
        let caller = Caller { credential, scope: &scope };
        let scope_of = |credential: &str| Some(self.scope(credential));
        let fresh = LeaseId::new(self.ids);
        let got = self.book.acquire(now, &caller, request, fresh, &active, &scope_of).unwrap();
        let reply = Reply {
            lease: got.lease_id,
            renewed: got.renewed,
            pending: got.pending,
            after: got.renew_after_secs,
            tasks: got.tasks.iter().map(|t| t.id.bits()).collect(),
            won: got.won.len(),
            expires_at: got.expires_at,
        };
        self.book.apply(got.changes);
        reply
    }

    fn acquire(&mut self, secs: i64, credential: &str, worker: &str) -> Reply {
        self.ask(at(secs), credential, &request(worker))
    }

    fn discover(&mut self, secs: i64, credential: &str, worker: &str) -> Vec<u128> {
        let active: Vec<&Task> = self.tasks.iter().filter(|t| t.spec.enabled).collect();
        let scope = self.scope(credential);
        let caller = Caller { credential, scope: &scope };
        let got = self.book.discover(at(secs), &caller, worker, &active).unwrap();
        let ids = got.tasks.iter().map(|t| t.id.bits()).collect();
        self.book.apply(got.changes);
        ids
    }

    fn service(&self, n: u128, secs: i64) -> &'static str {
        let task = self.tasks.iter().find(|t| t.id.bits() == n).unwrap();
        match self.book.service(task, at(secs), &|credential| Some(self.scope(credential))) {
            Service::Lease(_) => "lease",
            Service::Discovery => "discovery",
            Service::Nobody => "nobody",
        }
    }
}

struct Reply {
    lease: LeaseId,
    renewed: bool,
    pending: usize,
    after: i64,
    tasks: Vec<u128>,
    won: usize,
    expires_at: WallTime,
}

#[test]
fn one_worker_holds_all_and_keeps_its_lease() {
    let mut world = World::new(tasks(6));
    let first = world.acquire(0, "k", "w");
    assert_eq!((first.tasks.as_slice(), first.renewed, first.won), (&[1, 2, 3, 4, 5, 6][..], false, 6));
    assert_eq!((first.expires_at, first.after, first.pending), (at(60), 40, 0));
    let again = world.acquire(20, "k", "w");
    assert_eq!((again.lease, again.renewed, again.won, again.expires_at), (first.lease, true, 0, at(80)));
    let row = world.book.live_lease(TaskId::new(3), "k", at(79)).unwrap();
    assert_eq!((row.acquired_at, row.renewed_at, row.camera.as_str()), (NOW, at(20), "cam3"));
    assert!(world.book.live_lease(TaskId::new(3), "k", at(80)).is_none());
    assert!(world.book.live_lease(TaskId::new(3), "other", at(30)).is_none());
    // Wholly over: a new id.
    let late = world.acquire(80, "k", "w");
    assert!(!late.renewed && late.lease != first.lease && late.won == 6);
}

#[test]
fn an_empty_lease_keeps_its_id_until_it_is_over() {
    let mut world = World::new(Vec::new());
    let short = LeaseRequest { ttl: Micros::from_secs(15), ..request("w") };
    let first = world.ask(NOW, "k", &short);
    assert!(first.tasks.is_empty() && first.after == 10);
    assert_eq!(world.ask(at(14), "k", &short).lease, first.lease);
    assert_ne!(world.ask(at(29), "k", &short).lease, first.lease);
}

#[test]
fn a_second_worker_waits_for_the_handover() {
    let mut world = World::new(tasks(12));
    let first = world.acquire(0, "k", "a");
    assert_eq!(first.tasks.len(), 12);
    let second = world.acquire(1, "other", "b");
    assert!(second.tasks.is_empty() && second.pending >= 4 && second.after == 5, "{}", second.pending);
    // The first learns it at its next call; what it gives away is its own for 5 s more.
    let renewed = world.acquire(10, "k", "a");
    assert_eq!(renewed.tasks.len() + second.pending, 12);
    let given: Vec<u128> = (1..=12).filter(|n| !renewed.tasks.contains(n)).collect();
    assert!(given.iter().all(|n| world.book.live_lease(TaskId::new(*n), "k", at(14)).is_some()));
    assert_eq!(world.acquire(12, "other", "b").tasks.len(), 0);
    let second = world.acquire(15, "other", "b");
    assert_eq!((second.tasks, second.pending, second.after), (given, 0, 40));
    // Each has its own, and nothing moves any more.
    assert_eq!(world.acquire(20, "k", "a").tasks, renewed.tasks);
}

#[test]
fn a_worker_that_dies_is_replaced_when_its_lease_ends() {
    let mut world = World::new(tasks(10));
    world.acquire(0, "k", "a");
    world.acquire(1, "k", "b");
    world.acquire(5, "k", "a");
    let b = world.acquire(11, "k", "b");
    let (a_has, b_has) = (10 - b.tasks.len(), b.tasks.len());
    assert!(a_has > 0 && b_has > 0);
    // `a` is live until 65 by heartbeat and lease.
    assert_eq!(world.acquire(64, "k", "b").tasks.len(), b_has);
    assert_eq!(world.acquire(65, "k", "b").tasks.len(), 10);
}

#[test]
fn release_frees_the_tasks_at_once() {
    let mut world = World::new(tasks(8));
    let a = world.acquire(0, "k", "a");
    for (lease, credential, expect) in [(a.lease, "other", 0), (LeaseId::new(999), "k", 0), (a.lease, "k", 8)]
    {
        let released = world.book.release(lease, credential, at(1));
        assert_eq!(released.released, expect);
        world.book.apply(released.changes);
    }
    assert_eq!(world.acquire(2, "other", "b").tasks.len(), 8, "it left the live set, too");
    assert!(!world.acquire(3, "k", "a").renewed);
}

#[test]
fn what_is_outside_is_released_in_the_same_call() {
    let mut world = World::new(tasks(8));
    let a = world.acquire(0, "k", "a");
    world.scopes.insert("k".to_owned(), Scope::Cameras([camera(0), camera(1)].into()));
    let narrowed = world.acquire(1, "k", "a");
    assert_eq!((narrowed.tasks.as_slice(), narrowed.lease), (&[1, 4, 5, 8][..], a.lease));
    assert_eq!(world.book.leases(at(1)).count(), 4);
    // A type of its own, then a disabled task, then a deleted one.
    let typed = LeaseRequest { task_types: Some(vec!["yolo".to_owned()]), ..request("a") };
    assert_eq!(world.ask(at(2), "k", &typed).tasks, [1, 4, 5, 8]);
    world.tasks[3].spec.enabled = false;
    assert_eq!(world.ask(at(3), "k", &typed).tasks, [1, 5, 8]);
    world.tasks.remove(0);
    assert_eq!(world.ask(at(4), "k", &typed).tasks, [5, 8]);
    let none = LeaseRequest { task_types: Some(Vec::new()), ..request("a") };
    assert_eq!(world.ask(at(5), "k", &none).tasks, []);
    assert_eq!(world.book.leases(at(5)).count(), 0);
    assert_eq!(world.acquire(6, "k", "a").lease, a.lease, "the lease stays");
}

#[test]
fn fewer_tasks_are_handed_over() {
    let mut world = World::new(tasks(4));
    world.acquire(0, "k", "a");
    let two = LeaseRequest { max_tasks: 2, ..request("a") };
    assert_eq!(world.ask(at(1), "k", &two).tasks.len(), 2);
    assert_eq!(world.book.leases(at(5)).count(), 4);
    assert_eq!(world.book.leases(at(6)).count(), 2);
}

#[test]
fn discovery_shares_among_the_workers_of_a_credential() {
    let mut world = World::new(tasks(12));
    assert_eq!(world.discover(0, "k", "a").len(), 12);
    assert_eq!(world.discover(0, "other", "x").len(), 12, "another credential shares with nobody else");
    let b = world.discover(1, "k", "b");
    let a = world.discover(2, "k", "a");
    assert!(a.iter().chain(&b).copied().collect::<BTreeSet<_>>().len() == 12 && a.len() + b.len() == 12);
    // What somebody leases is left out.
    let leasing = LeaseRequest { task_types: Some(vec!["anpr".to_owned()]), ..request("l") };
    assert_eq!(world.ask(at(3), "z", &leasing).tasks, [3, 6, 9, 12]);
    assert_eq!(world.discover(4, "k", "a").len() + world.discover(4, "k", "b").len(), 8);
    assert!(world.discover(4, "k", "a").is_sorted());
    // A worker is live for a minute.
    assert_eq!(world.discover(63, "k", "a").len() + world.discover(64, "k", "b").len(), 12 - 4 + 4);
    assert_eq!(world.discover(124, "k", "b").len(), 12);
    world.scopes.insert("k".to_owned(), Scope::Cameras([camera(1)].into()));
    assert_eq!(world.discover(125, "k", "b"), [1, 5, 9]);
}

#[test]
fn a_leasing_worker_that_asks_stays_one() {
    let mut world = World::new(tasks(4));
    let a = world.acquire(0, "k", "a");
    assert_eq!(world.discover(10, "k", "a").len(), 4);
    assert!(world.acquire(11, "k", "a").lease == a.lease);
    assert_eq!(world.discover(12, "k", "b").len(), 0);
}

#[test]
fn a_name_is_anothers_while_that_one_is_live() {
    let mut world = World::new(tasks(1));
    world.acquire(0, "k", "a");
    let scope = Scope::All;
    let caller = |credential| Caller { credential, scope: &scope };
    let namesake =
        |credential, secs| world.book.discover(at(secs), &caller(credential), "a", &[]).unwrap().namesake;
    assert_eq!(namesake("other", 59), Some(Holder::new("k", "a")));
    assert_eq!(namesake("other", 60), None);
    assert_eq!(namesake("k", 1), None);
}

#[test]
fn a_task_says_who_serves_it() {
    let mut world = World::new(tasks(4));
    assert_eq!(world.service(1, 0), "nobody");
    world.discover(0, "d", "x");
    assert_eq!((world.service(1, 59), world.service(1, 60)), ("discovery", "nobody"));
    world.acquire(10, "k", "a");
    assert_eq!((world.service(1, 69), world.service(1, 70)), ("lease", "nobody"));
    world.scopes.insert("d".to_owned(), Scope::Cameras(BTreeSet::new()));
    world.discover(71, "d", "x");
    assert_eq!(world.service(1, 72), "nobody");
}

#[test]
fn lists() {
    let mut world = World::new(tasks(4));
    world.acquire(0, "k", "a");
    world.discover(0, "d", "x");
    let weight = |task| if task == TaskId::new(4) { 0.0 } else { 2.0 };
    let show = |secs| -> Vec<(String, &str, bool, usize, f64)> {
        let views = world.book.workers(at(secs), &weight);
        let show = |v: WorkerView<'_>| {
            (v.row.holder.worker.to_string(), v.row.transport.as_str(), v.live, v.leases, v.load)
        };
        views.into_iter().map(show).collect()
    };
    assert_eq!(
        show(1),
        [("x".to_owned(), "discovery", true, 0, 0.0), ("a".to_owned(), "lease", true, 4, 6.0)]
    );
    assert_eq!(show(61)[1], ("a".to_owned(), "lease", false, 0, 0.0));
}

#[test]
fn tasks_and_credentials_that_are_gone_leave_nothing() {
    let mut world = World::new(tasks(4));
    world.acquire(0, "k", "a");
    world.book.apply(world.book.forget_task(TaskId::new(2)));
    assert_eq!(world.book.leases(NOW).count(), 3);
    world.book.apply(world.book.forget_credential("k"));
    assert_eq!((world.book.leases.len(), world.book.workers.len()), (0, 0));
}

#[test]
fn a_credential_without_the_right_counts_no_longer() {
    let mut world = World::new(tasks(10));
    world.acquire(0, "gone", "a");
    world.book.apply(world.book.release(LeaseId::new(77), "gone", NOW).changes);
    let active: Vec<&Task> = world.tasks.iter().collect();
    let caller = Caller { credential: "k", scope: &Scope::All };
    let ask = |scope_of: &ScopeOf<'_>| {
        let got =
            world.book.acquire(at(1), &caller, &request("b"), LeaseId::new(5), &active, scope_of).unwrap();
        got.pending
    };
    assert!(ask(&|_| Some(Scope::All)) < 10);
    assert_eq!(ask(&|_| None), 10, "all is meant for the caller, as soon as the leases end");
}

#[test]
fn the_book_is_bounded() {
    let row = |n: usize| WorkerRow {
        holder: Holder::new("k", &format!("w{n}")),
        last_seen: at(n as i64 / 100),
        live_until: at(n as i64 / 100) + LIVE_FOR,
        transport: Transport::Discovery,
        task_types: None,
        capacity: 1.0,
        max_tasks: 512,
        lease: None,
    };
    let mut world = World::new(tasks(1));
    world.book = LeaseBook::load((0..MAX_WORKERS).map(row), []);
    let caller = Caller { credential: "k", scope: &Scope::All };
    let join = |secs| world.book.discover(at(secs), &caller, "new", &[]).map(|got| got.changes.len());
    assert_eq!(join(20), Err(TooManyWorkers));
    let active = world.book.acquire(at(20), &caller, &request("new"), LeaseId::new(1), &[], &|_| None);
    assert_eq!(active.unwrap_err(), TooManyWorkers);
    // The first of them are no longer live: one makes room.
    assert_eq!(join(65), Ok(2));
    world.discover(65, "k", "new");
    assert!(
        world.book.workers.len() == MAX_WORKERS && world.book.workers.contains_key(&Holder::new("k", "new"))
    );
    // All of them have been gone for long.
    world.discover(2_000, "k", "new");
    assert_eq!(world.book.workers.len(), 1);
}

#[test]
fn a_clock_that_is_set_back_binds_nobody() {
    let mut world = World::new(tasks(4));
    world.acquire(0, "k", "a");
    world.discover(0, "k", "d");
    let back = -7 * 86_400;
    assert_eq!(world.service(1, back), "nobody");
    assert_eq!(world.acquire(back, "k", "b").tasks.len(), 4);
    // A small correction changes nothing.
    let mut world = World::new(tasks(4));
    let a = world.acquire(0, "k", "a");
    assert_eq!(world.acquire(-2, "k", "a").lease, a.lease);
}

#[test]
fn what_is_loaded_is_what_was_applied() {
    let mut world = World::new(tasks(6));
    world.acquire(0, "k", "a");
    world.discover(3, "k", "d");
    let book = LeaseBook::load(world.book.workers.values().cloned(), world.book.leases.values().cloned());
    assert_eq!((&book.workers, &book.leases), (&world.book.workers, &world.book.leases));
    assert_eq!("discovery".parse(), Ok(Transport::Discovery));
    assert_eq!("stream".parse::<Transport>(), Err(()));
}

/// What somebody does, and how many seconds later.
#[derive(Clone, Debug)]
enum Act {
    Acquire { who: usize, types: Option<bool>, max: u32, ttl: i64 },
    Release(usize),
    Toggle(usize),
    Discover(usize),
}

fn act() -> impl Strategy<Value = (i64, Act)> {
    let max = prop_oneof![Just(512), 1..4u32];
    let act = prop_oneof![
        8 => (0..4usize, proptest::option::weighted(0.2, any::<bool>()), max, 15..90i64)
            .prop_map(|(who, types, max, ttl)| Act::Acquire { who, types, max, ttl }),
        1 => (0..4usize).prop_map(Act::Release),
        1 => (0..8usize).prop_map(Act::Toggle),
        1 => (0..4usize).prop_map(Act::Discover),
    ];
    (0..20i64, act)
}

fn who(n: usize) -> (&'static str, String) {
    (["k1", "k1", "k2", "k3"][n], format!("w{n}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nobody_gets_what_another_was_promised(acts in proptest::collection::vec(act(), 1..60)) {
        let mut world = World::new(tasks(8));
        // Who was told to hold a task, and until when: by its replies alone.
        let mut promised: BTreeMap<u128, (usize, WallTime)> = BTreeMap::new();
        let mut leases: [Option<LeaseId>; 4] = [None; 4];
        let mut secs = 0;
        for (later, act) in acts {
            secs += later;
            match act {
                Act::Acquire { who: n, types, max, ttl } => {
                    let (credential, worker) = who(n);
                    let types = types.map(|anpr| vec![if anpr { "anpr" } else { "yolo" }.to_owned()]);
                    let ttl = Micros::from_secs(ttl);
                    let request = LeaseRequest { task_types: types, max_tasks: max, ttl, ..request(&worker) };
                    let reply = world.ask(at(secs), credential, &request);
                    prop_assert!(reply.tasks.len() <= max as usize);
                    prop_assert!(reply.tasks.is_sorted());
                    for task in &reply.tasks {
                        if let Some((other, until)) = promised.get(task) {
                            prop_assert!(*other == n || *until <= at(secs), "{task} was promised");
                        }
                        let lease = world.book.live_lease(TaskId::new(*task), credential, at(secs)).unwrap();
                        prop_assert_eq!(lease.lease_id, reply.lease);
                    }
                    // What is left out is no longer promised, and is at most 5 s from being free.
                    for (task, (holder, _)) in promised.clone() {
                        if holder == n && !reply.tasks.contains(&task) {
                            promised.remove(&task);
                            let left = world.book.live_lease(TaskId::new(task), credential, at(secs + 5));
                            prop_assert!(left.is_none_or(|l| *l.holder.worker != *worker));
                        }
                    }
                    promised.extend(reply.tasks.iter().map(|task| (*task, (n, reply.expires_at))));
                    prop_assert!(leases[n] == Some(reply.lease) || !reply.renewed);
                    leases[n] = Some(reply.lease);
                }
                Act::Release(n) => {
                    let lease = leases[n].take().unwrap_or(LeaseId::new(0));
                    let released = world.book.release(lease, who(n).0, at(secs));
                    world.book.apply(released.changes);
                    promised.retain(|_, (holder, _)| *holder != n);
                    prop_assert!(world.book.leases(at(secs)).all(|row| row.lease_id != lease));
                }
                Act::Toggle(n) => world.tasks[n].spec.enabled ^= true,
                Act::Discover(n) => {
                    world.discover(secs, who(n).0, &format!("d{n}"));
                }
            }
        }
    }

    #[test]
    fn steady_workers_come_to_hold_everything_once(n in 1..5usize, count in 0..40u128, start in 0..30i64) {
        let mut world = World::new(tasks(count));
        let mut held: Vec<Vec<u128>> = vec![Vec::new(); n];
        // They start one after another and call every 10 s.
        for round in 0..6 {
            for (i, held) in held.iter_mut().enumerate() {
                let reply = world.acquire(start + round * 10 + i as i64 * 2, "k", &format!("w{i}"));
                *held = reply.tasks;
                prop_assert!(round < 3 || reply.pending == 0);
            }
        }
        let mut all: Vec<u128> = held.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (1..=count).collect::<Vec<_>>());
        let fair = count as f64 / n as f64;
        prop_assert!(held.iter().all(|h| h.len() as f64 <= (fair * 1.25).max(fair + 1.0)));
    }
}
