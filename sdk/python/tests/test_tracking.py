"""Objects keep their ids through crossing, hiding and missed frames."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from heldar_worker import Detection
from heldar_worker.assignment import Costs, assign
from heldar_worker.tracking import Tracker, TrackerOptions, overlaps

FPS = 5.0


def person(x: float, y: float = 0.5, score: float = 0.9, label: str = "person") -> Detection:
    return Detection(label, score, (x, y, 0.05, 0.2))


def follow(frames: list[list[Detection]], tracker: Tracker | None = None, fps: float = FPS) -> list[list[str | None]]:
    """The ids of each frame's detections, in the order of the input; None where a detection has none."""
    tracker = tracker or Tracker()
    out = []
    for number, detections in enumerate(frames):
        tracked = tracker.update(detections, 1000.0 + number / fps)
        by_box = {d.bbox: d.track_id for d in tracked}
        out.append([None if by_box.get(d.bbox) is None else str(by_box[d.bbox]) for d in detections])
    return out


def test_one_walk_is_one_object() -> None:
    ids = follow([[person(0.05 + 0.02 * n)] for n in range(40)])
    assert ids[0] == [None]
    assert {i[0] for i in ids[1:]} == {ids[-1][0]}


def test_two_that_cross_keep_their_ids() -> None:
    frames = [[person(0.1 + 0.02 * n, 0.50), person(0.9 - 0.02 * n, 0.53)] for n in range(40)]
    ids = follow(frames)
    left, right = ids[1]
    assert left != right
    assert all(row == [left, right] for row in ids[1:])


def test_hidden_for_a_second_is_the_same_object() -> None:
    frames = [[person(0.1 + 0.02 * n)] if not 10 <= n < 15 else [] for n in range(30)]
    ids = [i[0] for i in follow(frames) if i]
    assert set(ids[1:]) == {ids[-1]}


def test_hidden_behind_another_keeps_both_ids() -> None:
    # One stands, one passes behind; while they overlap only the one in front is seen.
    frames = []
    for n in range(40):
        x = 0.1 + 0.02 * n
        hidden = abs(x - 0.5) < 0.04
        frames.append([person(0.5, 0.5)] + ([] if hidden else [person(x, 0.48)]))
    ids = follow(frames)
    assert len({i[0] for i in ids[1:]}) == 1
    assert len({i[1] for i in ids[1:] if len(i) > 1}) == 1


def test_gone_for_long_is_a_new_object() -> None:
    frames = [[person(0.3)] if n < 5 or n > 20 else [] for n in range(30)]
    ids = [i[0] for i in follow(frames) if i and i[0]]
    assert len(set(ids)) == 2


def test_every_third_frame_missed() -> None:
    ids = [i[0] for i in follow([[person(0.1 + 0.015 * n)] if n % 3 else [] for n in range(45)]) if i]
    assert len(set(ids[1:])) == 1


def test_weak_boxes_continue_but_never_begin() -> None:
    weak = [[person(0.3 + 0.01 * n, score=0.2)] for n in range(10)]
    assert all(i == [None] for i in follow(weak))
    begun = [[person(0.1 + 0.01 * n, score=0.9 if n < 4 else 0.2)] for n in range(12)]
    ids = follow(begun)
    assert {i[0] for i in ids[1:]} == {ids[1][0]}


def test_noise_seen_once_gets_no_id() -> None:
    frames = [[person(0.5), person(0.1 + 0.06 * n % 0.8, 0.1)] for n in range(0, 30, 5)]
    assert all(i[1] is None for i in follow(frames))


def test_classes_are_not_mixed() -> None:
    frames = [[person(0.5, label="person" if n % 2 else "dog")] for n in range(10)]
    ids = [i[0] for i in follow(frames) if i[0]]
    assert ids == [] or len(set(ids)) == 2


def test_fast_and_rarely_seen() -> None:
    """At one frame a second a walker leaves his own box; direction is learnt from the widened match."""
    ids = follow([[person(0.05 + 0.055 * n)] for n in range(15)], fps=1.0)
    assert len({i[0] for i in ids[1:]}) == 1


def test_same_input_same_ids_and_apart_after_a_restart() -> None:
    rng = np.random.default_rng(7)
    frames = [[person(float(x), float(y)) for x, y in rng.uniform(0, 0.75, (8, 2))] for _ in range(30)]
    assert follow(frames) == follow(frames)
    first, later = Tracker(), Tracker()
    one = [first.update([person(0.5)], at)[0].track_id for at in (1000.0, 1000.2)][1]
    two = [later.update([person(0.5)], at)[0].track_id for at in (2000.0, 2000.2)][1]
    assert one != two


def test_ids_are_unique_within_each_frame_and_memory_is_bounded() -> None:
    rng = np.random.default_rng(3)
    tracker = Tracker()
    for number in range(300):
        boxes = [person(float(x), float(y), float(s)) for x, y, s in rng.uniform(0, 0.75, (12, 3))]
        ids = [d.track_id for d in tracker.update(boxes, 1000 + number / FPS) if d.track_id]
        assert len(ids) == len(set(ids))
        assert len(tracker._tracks) < 12 * (FPS * tracker.options.lost_seconds + 2)


def test_a_crowd_that_walks_together() -> None:
    rng = np.random.default_rng(1)
    starts = [(0.02 + 0.07 * k, 0.3 + 0.05 * (k % 3)) for k in range(8)]
    frames = []
    for n in range(40):
        jitter = rng.normal(0, 0.003, (8, 2))
        frames.append([person(x + 0.01 * n + dx, y + dy) for (x, y), (dx, dy) in zip(starts, jitter)])
    ids = follow(frames)
    assert all(row == ids[1] for row in ids[1:])
    assert len(set(ids[1])) == 8


def test_what_has_no_box_passes_and_a_clock_set_back_is_survived() -> None:
    tracker = Tracker(TrackerOptions(min_hits=1))
    (alone,) = tracker.update([Detection("scene")], 5000.0)
    assert alone.track_id is None
    before = tracker.update([person(0.5)], 5000.2)[0].track_id
    after = tracker.update([person(0.5)], 1000.0)[0].track_id
    assert before
    assert after
    assert before != after


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5), (5, 2), (4, 4), (0, 3), (3, 0)])
def test_assignment_is_the_best_there_is(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(11)
    for _ in range(60):
        costs = rng.uniform(-1, 1, shape).round(2)
        limit = float(rng.uniform(-0.5, 1))
        pairs = assign(costs, limit)
        assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
        assert all(costs[r, c] <= limit for r, c in pairs)
        got = (len(pairs), -sum(costs[r, c] for r, c in pairs))
        assert got == pytest.approx(_best(costs, limit))


def _best(costs: Costs, limit: float) -> tuple[int, float]:
    """By trying everything: most pairs first, then the least total."""
    rows, columns = costs.shape
    best = (0, 0.0)
    for count in range(1, min(rows, columns) + 1):
        for chosen in itertools.combinations(range(rows), count):
            for order in itertools.permutations(range(columns), count):
                values = [costs[r, c] for r, c in zip(chosen, order)]
                if all(v <= limit for v in values):
                    best = max(best, (count, -float(sum(values))))
    return best


def test_overlaps_of_known_boxes() -> None:
    boxes = np.array([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 2.0, 2.0], [5.0, 5.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    table = overlaps(boxes, boxes)
    assert table[0, 0] == pytest.approx(1)
    assert table[0, 1] == pytest.approx(1 / 3)
    assert table[0, 2] == 0
    assert table[3, 3] == 0
    assert overlaps(boxes[:1], boxes[1:2], 0.5)[0, 0] == pytest.approx(0.5)
