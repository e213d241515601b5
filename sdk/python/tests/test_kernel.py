"""The testing kernel itself: sharing, tickets, ring."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heldar_worker.http import Client, TransportError
from heldar_worker.kernel import Kernel, Reply
from heldar_worker.kernel.ring import Demand, Unit
from heldar_worker.kernel.share import Job, Peer, share
from heldar_worker.kernel.sources import DrawnSource, SourceError, encode_jpeg, open_source, resized
from heldar_worker.kernel.tickets import Ticket, mint

from .conftest import CAMERA, small_pictures


def _jobs(count: int, kind: str = "t") -> list[Job]:
    return [Job(f"{kind}{i}", kind, 1.0 + i % 3) for i in range(count)]


@pytest.mark.parametrize("peers", [1, 2, 3, 5])
def test_every_task_has_one_worker_within_the_bound(peers: int) -> None:
    jobs = _jobs(40)
    team = [Peer("key", f"w{i}") for i in range(peers)]
    shared = share(jobs, team)
    assert set(shared) == {j.id for j in jobs}
    assert shared == share(list(reversed(jobs)), list(reversed(team)))
    loads = [sum(j.weight for j in jobs if shared[j.id] == p) for p in team]
    assert max(loads) <= 1.25 * sum(loads) / peers + 1e-9


def test_a_worker_that_leaves_moves_little_but_its_own() -> None:
    jobs = _jobs(60)
    team = [Peer("key", f"w{i}") for i in range(4)]
    before, after = share(jobs, team), share(jobs, team[:3])
    moved = [j for j in jobs if before[j.id] != after[j.id] and before[j.id] != team[3]]
    assert len(moved) <= len(jobs) // 4


def test_types_limits_and_capacity_count() -> None:
    jobs = _jobs(30, "a") + _jobs(30, "b")
    only_b = Peer("key", "b", frozenset({"b"}))
    few = Peer("key", "few", None, 1.0, 3)
    shared = share(jobs, [Peer("key", "any"), only_b, few])
    assert all(shared[j.id] != only_b for j in jobs if j.task_type == "a")
    assert sum(p == few for p in shared.values()) == 3
    assert share(_jobs(3, "a"), [only_b]) == {}
    strong, weak = Peer("key", "strong", None, 4.0), Peer("key", "weak", None, 1.0)
    counts = list(share(_jobs(100), [strong, weak]).values())
    assert counts.count(strong) > 2.5 * counts.count(weak)


def test_a_ticket_holds_for_its_key_camera_and_time_only() -> None:
    secret = b"s" * 32
    text = mint(secret, "key", "cam", "ai_1", 1234567890123, 2000)
    assert text is not None
    ticket = Ticket.parse(text)
    assert ticket is not None
    assert (ticket.task_id, ticket.captured_ms, ticket.expiry) == ("ai_1", 1234567890123, 2000)
    assert ticket.holds(secret, "key", "cam", 1999.9)
    assert not ticket.holds(secret, "key", "cam", 2000)
    assert not ticket.holds(secret, "other", "cam", 1999)
    assert not ticket.holds(secret, "key", "other", 1999)
    assert not ticket.holds(b"t" * 32, "key", "cam", 1999)
    for changed in (text.replace("ai_1", "ai_2"), text.replace("2000", "9000"), text[:-1] + "é"):
        forged = Ticket.parse(changed)
        assert forged is not None
        assert not forged.holds(secret, "key", "cam", 1999)
    for malformed in ("", "f1", "f2.a.1.2.x", "f1.a.b.2.x", "f1.a.1.2.", "f1.a.1.2.x.y", "f1..1.2.x"):
        assert Ticket.parse(malformed) is None
    assert mint(secret, "key", "cam.1", "ai_1", 1, 2) is None


def test_a_unit_picks_for_each_task_on_its_own_grid() -> None:
    unit = Unit(small_pictures)
    unit.demand({"fast": Demand(30, 320), "slow": Demand(10, 320)})
    entry, _ = unit.find("slow", None, False, 5)
    assert entry is not None
    first, seqs = entry.seq, []
    for _ in range(6):
        entry, _ = unit.find("slow", entry.seq, False, 5)
        assert entry is not None
        seqs.append(entry.seq)
    steps = np.diff([first, *seqs])
    assert set(steps) <= {2, 3, 4}
    assert 14 <= seqs[-1] - first <= 22
    # Another task's edit leaves numbers and ring alone.
    unit.demand({"fast": Demand(30, 320), "slow": Demand(5, 320)})
    newer, _ = unit.find("fast", seqs[-1], False, 5)
    assert newer is not None
    assert newer.seq - seqs[-1] < 10
    assert unit.exactly(seqs[-1]) is not None
    unit.close()


def test_numbers_times_and_pictures_belong_together(kernel: Kernel) -> None:
    task = kernel.add_task(fps=30, width=160)
    client = Client(kernel.url, None, 5)
    after, seen = "", {}
    for _ in range(15):
        answer = client.request(
            "GET", f"/api/v1/cameras/{CAMERA}/frame?task={task.id}&wait_ms=1000{after}", extra_time=1
        )
        seq = int(answer.headers["x-frame-seq"])
        after = f"&after={seq}"
        from heldar_worker.frame import decode_jpeg

        seen[seq] = DrawnSource.read_code(decode_jpeg(answer.body))
    assert {s - c for s, c in seen.items()} == {min(seen) - seen[min(seen)]}
    client.close()


def test_the_long_wait_of_a_paused_camera_ends_by_abort(kernel: Kernel) -> None:
    task = kernel.add_task(fps=30)
    unit = kernel.unit(CAMERA)
    assert unit is not None
    entry, _ = unit.find(None, None, False, 5)
    assert entry is not None
    unit.pause(True)
    client, cancel = Client(kernel.url, None, 5), threading.Event()
    trouble: list[Exception] = []

    def pull() -> None:
        try:
            client.request(
                "GET", f"/api/v1/cameras/{CAMERA}/frame?task={task.id}&after={10**14}&wait_ms=20000", cancel=cancel
            )
            client.request("GET", f"/api/v1/cameras/{CAMERA}/frame?seq=1&wait_ms=20000", cancel=cancel)
            newest = unit.newest()
            assert newest is not None
            after = f"after={newest.seq}&wait_ms=20000"
            client.request("GET", f"/api/v1/cameras/{CAMERA}/frame?{after}", cancel=cancel, extra_time=20)
        except TransportError as error:
            trouble.append(error)

    thread = threading.Thread(target=pull)
    thread.start()
    kernel.wait_for(lambda k: len(k.seen("GET", "/frame")) >= 2, 5)
    cancel.set()
    until = time.monotonic() + 5
    # The request may not have begun to wait yet; who stops a loop calls once, after the event is set.
    while thread.is_alive() and time.monotonic() < until:
        client.abort()
        thread.join(0.05)
    assert not thread.is_alive()
    assert trouble


def test_a_kept_connection_that_was_closed_is_replaced_without_notice(kernel: Kernel) -> None:
    client = Client(kernel.url, None, 5)
    path = f"/api/v1/cameras/{CAMERA}/ai-tasks"
    assert client.request("GET", path).status == 200
    # Like a server that closes idle connections: the next request finds it shut.
    connection = client._connection
    assert connection is not None
    connection.sock.shutdown(2)
    assert client.request("GET", path).status == 200
    kernel.intercept = lambda _: Reply(0, hang_up=True)
    with pytest.raises(TransportError):
        client.request("GET", path)
    client.close()


@pytest.mark.parametrize("path", ["/other", "/api/v1/other", "/api/v1/ai/leases/x/y"])
def test_unknown_routes_are_404_and_known_ones_405(kernel: Kernel, path: str) -> None:
    client = Client(kernel.url, None, 5)
    assert client.request("GET", path).status == 404
    assert client.request("DELETE", "/api/v1/ai/tasks").status == 405
    client.close()


def test_sources_of_pictures(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        open_source(tmp_path / "none.avi")
    with pytest.raises(SourceError, match=r"no \.jpg"):
        open_source(tmp_path)
    for number in range(3):
        picture = np.full((90, 160, 3), number * 80, dtype=np.uint8)
        (tmp_path / f"{number}.jpg").write_bytes(encode_jpeg(picture))
    source = open_source(tmp_path)
    assert [source.read() is not None for _ in range(4)] == [True, True, True, False]
    data, width, height = resized((tmp_path / "1.jpg").read_bytes(), 64)
    assert (width, height) == (64, 36)
    assert resized(data, 640)[1:] == (64, 36)
    assert resized(b"broken", 64) == (b"broken", 0, 0)


def test_one_pass_over_a_folder_ends_the_unit(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(encode_jpeg(np.zeros((90, 160, 3), dtype=np.uint8)))
    with Kernel({CAMERA: lambda: open_source(tmp_path)}, loop=False) as kernel:
        kernel.add_task(fps=30)
        unit = kernel.unit(CAMERA)
        assert unit is not None
        assert unit.ended.wait(5)


def test_a_lease_is_one_holders_until_it_ends(kernel: Kernel) -> None:
    state = kernel.state
    task = kernel.add_task("t", fps=1)
    body: dict[str, Any] = {"worker_id": "a", "ttl_secs": 15}
    first = state.lease("one", body, 1000.0)
    assert [t["id"] for t in first["tasks"]] == [task.id]
    # Another credential's worker gets nothing while the lease lives, whatever sharing says.
    other = state.lease("two", {"worker_id": "b", "ttl_secs": 15}, 1001.0)
    again = state.lease("one", body, 1002.0)
    assert other["tasks"] == []
    assert again["lease_id"] == first["lease_id"]
    holder = state.lease("two", {"worker_id": "b"}, 1000.0 + 200)
    assert len(holder["tasks"]) == 1
    late = state.lease("one", body, 1000.0 + 201)
    assert late["lease_id"] != first["lease_id"]
    assert state.release("one", holder["lease_id"]) == 0
    assert state.release("two", holder["lease_id"]) == 1
