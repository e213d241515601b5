use std::collections::BTreeMap;

use heldar_base::Scope;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Worker {
    name: String,
    types: Option<Vec<String>>,
    cameras: Option<Vec<usize>>,
    capacity: f64,
    max_tasks: usize,
}

#[derive(Clone, Debug)]
struct Task {
    id: u128,
    kind: &'static str,
    camera: usize,
    weight: f64,
}

fn worker(name: &str) -> Worker {
    Worker { name: name.to_owned(), types: None, cameras: None, capacity: 1.0, max_tasks: 512 }
}

fn workers(n: usize) -> Vec<Worker> {
    (0..n).map(|i| worker(&format!("host-{i}:1"))).collect()
}

/// `n` tasks of equal weight; ids as random as those of real tasks.
fn tasks(n: usize, kind: &'static str) -> Vec<Task> {
    let id = |i: usize| (u128::from(mix(i as u64)) << 64) | u128::from(mix(!(i as u64)));
    (0..n).map(|i| Task { id: id(i), kind, camera: i % 40, weight: 1.0 }).collect()
}

fn camera(n: usize) -> CameraId {
    CameraId::new(&format!("cam{n}")).unwrap()
}

/// Task id to name of its worker; tasks that nobody can take are left out.
fn assign(tasks: &[Task], workers: &[Worker]) -> BTreeMap<u128, String> {
    let cameras: Vec<CameraId> = tasks.iter().map(|task| camera(task.camera)).collect();
    let loads: Vec<Load<'_>> = tasks
        .iter()
        .zip(&cameras)
        .map(|(t, camera)| Load { task: TaskId::new(t.id), task_type: t.kind, camera, weight: t.weight })
        .collect();
    let scopes: Vec<Scope> = workers
        .iter()
        .map(|w| match &w.cameras {
            None => Scope::All,
            Some(list) => Scope::Cameras(list.iter().map(|n| camera(*n)).collect()),
        })
        .collect();
    let candidates: Vec<Candidate<'_>> = workers
        .iter()
        .zip(&scopes)
        .map(|(w, scope)| Candidate {
            credential: "key_1",
            worker: &w.name,
            types: w.types.as_deref(),
            scope,
            capacity: w.capacity,
            max_tasks: w.max_tasks,
        })
        .collect();
    let given = share(&loads, &candidates);
    assert_eq!(given.len(), tasks.len());
    let held = tasks.iter().zip(given).filter_map(|(t, w)| Some((t.id, workers[w?].name.clone())));
    held.collect()
}

fn load(tasks: &[Task], given: &BTreeMap<u128, String>, worker: &str) -> f64 {
    tasks.iter().filter(|t| given.get(&t.id).is_some_and(|w| w == worker)).map(|t| t.weight).sum()
}

fn moved(before: &BTreeMap<u128, String>, after: &BTreeMap<u128, String>, from: Option<&str>) -> usize {
    let moved = before.iter().filter(|(id, w)| after.get(id) != Some(w));
    moved.filter(|(_, w)| from.is_none_or(|name| *w != name)).count()
}

#[test]
fn equal_tasks_on_as_many_workers_are_one_each() {
    let given = assign(&tasks(7, "x"), &workers(7));
    let mut names: Vec<&String> = given.values().collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 7);
}

#[test]
fn one_worker_gets_all_and_nobody_none() {
    assert_eq!(assign(&tasks(9, "x"), &workers(1)).len(), 9);
    assert!(assign(&tasks(9, "x"), &[]).is_empty());
    assert!(assign(&[], &workers(3)).is_empty());
}

#[test]
fn workers_of_disjoint_types_get_all_of_theirs() {
    let mut all = tasks(30, "yolo");
    all.extend(tasks(33, "anpr").into_iter().skip(30));
    let mut two = workers(2);
    two[0].types = Some(vec!["yolo".to_owned()]);
    two[1].types = Some(vec!["anpr".to_owned()]);
    let given = assign(&all, &two);
    assert_eq!(given.len(), 33);
    assert!(all.iter().all(|t| given[&t.id] == two[usize::from(t.kind == "anpr")].name));
}

#[test]
fn a_group_shares_evenly_beside_a_larger_one() {
    // Two workers for four light tasks, and one for many others: the bound of the two is that of their own tasks.
    let mut all = tasks(4, "anpr");
    all.extend(tasks(64, "yolo").into_iter().skip(4));
    let mut three = workers(3);
    three[0].types = Some(vec!["anpr".to_owned()]);
    three[1].types = three[0].types.clone();
    three[2].types = Some(vec!["yolo".to_owned()]);
    let given = assign(&all, &three);
    assert_eq!([load(&all, &given, &three[0].name), load(&all, &given, &three[1].name)], [2.0, 2.0]);
}

#[test]
fn max_tasks_is_never_passed() {
    let mut two = workers(2);
    two[0].max_tasks = 3;
    let all = tasks(20, "x");
    let given = assign(&all, &two);
    assert_eq!((given.len(), load(&all, &given, &two[0].name)), (20, 3.0));
    two[1].max_tasks = 5;
    assert_eq!(assign(&all, &two).len(), 8);
}

#[test]
fn scopes_are_kept() {
    let mut two = workers(2);
    two[0].cameras = Some(vec![1, 2]);
    let all = tasks(80, "x");
    let given = assign(&all, &two);
    assert_eq!(given.len(), 80);
    assert!(all.iter().all(|t| given[&t.id] != two[0].name || [1, 2].contains(&t.camera)));
    two[1].cameras = Some(vec![3]);
    assert_eq!(assign(&all, &two).len(), 6);
}

#[test]
fn capacity_decides_how_much() {
    let mut three = workers(3);
    three[1].capacity = 4.0;
    let all = tasks(600, "x");
    let given = assign(&all, &three);
    let loads: Vec<f64> = three.iter().map(|w| load(&all, &given, &w.name)).collect();
    assert!((350.0..=450.0).contains(&loads[1]), "{loads:?}");
    assert!(loads[0] <= 125.0 && loads[2] <= 125.0, "{loads:?}");
}

#[test]
fn joining_takes_about_one_nth_and_leaving_moves_little_else() {
    let all = tasks(500, "x");
    for n in [2, 5, 10, 19] {
        let many = workers(n + 1);
        let (without, with) = (assign(&all, &many[..n]), assign(&all, &many));
        let joined = moved(&without, &with, None);
        let fair = 500 / (n + 1);
        assert!((fair * 7 / 10..=fair * 17 / 10).contains(&joined), "{joined} moved to the one of {}", n + 1);
        // Seen the other way: the last one leaves, and little moves that was not its own.
        let others = moved(&with, &without, Some(&many[n].name));
        assert!(others <= fair / 2 + 2, "{others} of others moved, {fair} are a fair share");
    }
}

#[test]
fn heavy_tasks_come_first_and_the_least_loaded_takes_what_nobody_bears() {
    let mut all = tasks(3, "x");
    all[1].weight = 10.0;
    let given = assign(&all, &workers(2));
    let heavy = given[&all[1].id].clone();
    assert!([0, 2].iter().all(|t| given[&all[*t].id] != heavy), "{given:?}");
}

#[test]
fn the_choice_is_stable_across_versions() {
    // Workers keep what they have when the server is replaced by a newer one: these values must not change.
    let given = assign(&tasks(8, "x"), &workers(3));
    let names: String = tasks(8, "x").iter().map(|t| given[&t.id].chars().nth(5).unwrap()).collect();
    assert_eq!(names, PINNED);
}

const PINNED: &str = "11022210";

fn any_tasks() -> impl Strategy<Value = Vec<Task>> {
    let one = (any::<u128>(), 0..3usize, 0..6usize, 1..50u32).prop_map(|(id, kind, camera, weight)| Task {
        id,
        kind: ["a", "b", "c"][kind],
        camera,
        weight: f64::from(weight),
    });
    proptest::collection::vec(one, 0..60).prop_map(|mut tasks| {
        tasks.sort_by_key(|t| t.id);
        tasks.dedup_by_key(|t| t.id);
        tasks
    })
}

fn any_workers() -> impl Strategy<Value = Vec<Worker>> {
    let types = proptest::option::of(proptest::sample::subsequence(
        vec!["a".to_owned(), "b".into(), "c".into()],
        0..3,
    ));
    let cameras =
        proptest::option::weighted(0.3, proptest::sample::subsequence((0..6).collect::<Vec<_>>(), 0..6));
    let one = (types, cameras, 1..20u32, prop_oneof![Just(512usize), 1..8usize]);
    proptest::collection::vec(one, 0..9).prop_map(|list| {
        let numbered = list.into_iter().enumerate();
        numbered
            .map(|(i, (types, cameras, capacity, max_tasks))| Worker {
                name: format!("w{i}"),
                types,
                cameras,
                capacity: f64::from(capacity) / 4.0,
                max_tasks,
            })
            .collect()
    })
}

fn is_candidate(w: &Worker, t: &Task) -> bool {
    w.types.as_ref().is_none_or(|types| types.iter().any(|k| k == t.kind))
        && w.cameras.as_ref().is_none_or(|list| list.contains(&t.camera))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_task_goes_to_a_candidate_whenever_one_has_room(tasks in any_tasks(), workers in any_workers()) {
        let given = assign(&tasks, &workers);
        let count = |w: &Worker| given.values().filter(|name| **name == w.name).count();
        for task in &tasks {
            match given.get(&task.id) {
                Some(name) => {
                    let holder = workers.iter().find(|w| w.name == *name).unwrap();
                    prop_assert!(is_candidate(holder, task));
                }
                None => prop_assert!(
                    workers.iter().filter(|w| is_candidate(w, task)).all(|w| count(w) == w.max_tasks)
                ),
            }
        }
        prop_assert!(workers.iter().all(|w| count(w) <= w.max_tasks));
    }

    #[test]
    fn the_order_of_the_inputs_does_not_matter(
        tasks in any_tasks(), workers in any_workers(), by in 1..50usize
    ) {
        let given = assign(&tasks, &workers);
        let (mut tasks, mut workers) = (tasks, workers);
        let (n, m) = (tasks.len().max(1), workers.len().max(1));
        tasks.rotate_left(by % n);
        workers.rotate_left(by % m);
        workers.reverse();
        prop_assert_eq!(assign(&tasks, &workers), given);
    }

    #[test]
    fn nobody_is_above_the_bound_while_another_could_bear_it(tasks in any_tasks(), n in 1..8usize) {
        // All workers alike: fair is the same for all, and only a task that fits nowhere passes the bound.
        let workers = workers(n);
        let given = assign(&tasks, &workers);
        let total: f64 = tasks.iter().map(|t| t.weight).sum();
        let heaviest = tasks.iter().map(|t| t.weight).fold(0.0, f64::max);
        let bound = (total / n as f64 * BOUND).max(total / n as f64 + heaviest) + 1e-6;
        for w in &workers {
            prop_assert!(load(&tasks, &given, &w.name) <= bound);
        }
    }

    #[test]
    fn a_worker_without_tasks_in_common_changes_nothing(tasks in any_tasks(), workers in any_workers()) {
        let given = assign(&tasks, &workers);
        let mut more = workers.clone();
        more.push(Worker { types: Some(vec!["other".to_owned()]), ..worker("stranger") });
        prop_assert_eq!(assign(&tasks, &more), given);
    }
}
