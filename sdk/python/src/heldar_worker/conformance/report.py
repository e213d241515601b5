"""Checks and their outcomes.

Owns: how a check is named, counted and printed. Invariant: a report is good only when nothing failed and
something passed.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Callable


class Outcome(enum.Enum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One check; `group` is its number in the contract (W1..W5, S1..S5)."""

    group: str
    name: str
    outcome: Outcome
    detail: str = ""

    def line(self) -> str:
        """One line for people."""
        mark = {Outcome.PASSED: "ok  ", Outcome.FAILED: "FAIL", Outcome.SKIPPED: "skip"}[self.outcome]
        return f"{mark} {self.group} {self.name}" + (f": {self.detail}" if self.detail else "")


class SkippedError(Exception):
    """A check cannot be made here; the text says why."""


@dataclass
class Report:
    """Checks in the order in which they were made; `show` is called with each."""

    show: Callable[[Check], None] | None = None
    checks: list[Check] = field(default_factory=list)

    def add(self, group: str, name: str, outcome: Outcome, detail: str = "") -> None:
        """Note a check."""
        check = Check(group, name, outcome, " ".join(detail.split())[:500])
        self.checks.append(check)
        if self.show is not None:
            self.show(check)

    def expect(self, group: str, name: str, holds: object, detail: str = "") -> None:
        """Note a check that holds or not; `detail` is shown when it does not."""
        self.add(group, name, Outcome.PASSED if holds else Outcome.FAILED, "" if holds else detail)

    def skip(self, group: str, name: str, why: str) -> None:
        """Note a check that is not made."""
        self.add(group, name, Outcome.SKIPPED, why)

    @contextmanager
    def check(self, group: str, name: str) -> Iterator[None]:
        """A check made of assertions: passes when its block ends without one failing."""
        try:
            yield
        except SkippedError as reason:
            self.skip(group, name, str(reason))
        except AssertionError as error:
            self.add(group, name, Outcome.FAILED, str(error) or "an expectation did not hold")
        # A reply that has not the expected form is a failure of the other side, not of this program.
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            self.add(group, name, Outcome.FAILED, f"unexpected form: {error!r}")
        else:
            self.add(group, name, Outcome.PASSED)

    @property
    def good(self) -> bool:
        """Whether all required checks passed."""
        outcomes = [c.outcome for c in self.checks]
        return Outcome.FAILED not in outcomes and Outcome.PASSED in outcomes

    def to_json(self) -> str:
        """The whole report."""
        counts = {o.value: sum(c.outcome is o for c in self.checks) for o in Outcome}
        rows = [{"group": c.group, "name": c.name, "outcome": c.outcome.value, "detail": c.detail} for c in self.checks]
        return json.dumps({"good": self.good, **counts, "checks": rows}, indent=2)
