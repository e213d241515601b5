"""Which worker gets which task.

Owns: the sharing rule of the contract (4.4): rendezvous hashing weighted by capacity, bounded by 1.25 times
the fair share. Pure: the same tasks and workers always give the same answer.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

_BOUND = 1.25


@dataclass(frozen=True)
class Job:
    """A task as sharing sees it."""

    id: str
    task_type: str
    weight: float


@dataclass(frozen=True)
class Peer:
    """A live worker as sharing sees it; `task_types` None = any."""

    credential: str
    worker_id: str
    task_types: frozenset[str] | None = None
    capacity: float = 1.0
    max_tasks: int = 512

    def covers(self, job: Job) -> bool:
        """Whether this worker may get the job at all."""
        return self.task_types is None or job.task_type in self.task_types


def weight(fps: float, width: int) -> float:
    """Work of a task: pictures a second times pixels of each."""
    return fps * width * width * 9 / 16


def share(jobs: Sequence[Job], peers: Sequence[Peer]) -> dict[str, Peer]:
    """The worker of each task id; tasks nobody covers are left out."""
    load = {(p.credential, p.worker_id): 0.0 for p in peers}
    count = dict.fromkeys(load, 0)
    fair = _fair_shares(jobs, peers)
    out: dict[str, Peer] = {}
    for job in sorted(jobs, key=lambda j: (-j.weight, j.id)):
        candidates = sorted((p for p in peers if p.covers(job)), key=lambda p: (-_score(job, p), p.worker_id))
        chosen: Peer | None = None
        for peer in candidates:
            key = (peer.credential, peer.worker_id)
            if count[key] < peer.max_tasks and load[key] + job.weight <= _BOUND * fair[key] + 1e-9:
                chosen = peer
                break
        if chosen is None:
            able = [p for p in candidates if count[p.credential, p.worker_id] < p.max_tasks]
            if not able:
                continue
            chosen = min(able, key=lambda p: load[p.credential, p.worker_id] / p.capacity)
        key = (chosen.credential, chosen.worker_id)
        load[key] += job.weight
        count[key] += 1
        out[job.id] = chosen
    return out


def _fair_shares(jobs: Sequence[Job], peers: Sequence[Peer]) -> dict[tuple[str, str], float]:
    """Work each worker would have if every task were divided among those that cover it, by capacity."""
    fair = {(p.credential, p.worker_id): 0.0 for p in peers}
    for job in jobs:
        able = [p for p in peers if p.covers(job)]
        total = sum(p.capacity for p in able)
        for peer in able:
            fair[peer.credential, peer.worker_id] += job.weight * peer.capacity / total
    return fair


def _score(job: Job, peer: Peer) -> float:
    digest = hashlib.sha256("\n".join((job.id, peer.credential, peer.worker_id)).encode()).digest()
    # Uniform in (0, 1); -capacity / ln(u) makes the odds proportional to capacity.
    uniform = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 2)
    return -peer.capacity / math.log(uniform)
