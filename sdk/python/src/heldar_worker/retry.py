"""When a failed request is repeated, and after how long.

Owns: row 9 of the worker's life: delay = min(cap, base * 2^(n-1)) plus up to a quarter of it, so that many
workers do not come back in step. Pure: the random number is an input.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Growing pauses, seconds."""

    base: float
    cap: float

    def delay(self, attempt: int, random: float, retry_after: float | None = None) -> float:
        """Pause before repetition `attempt` (from 1); `random` is within 0..1.

        What the server asks for with `Retry-After` is respected up to the cap.
        """
        # The exponent is bounded: a server may be away for days.
        plain = min(self.cap, self.base * 2.0 ** min(attempt - 1, 60))
        if retry_after is not None:
            plain = max(plain, min(retry_after, self.cap))
        return plain * (1.0 + 0.25 * random)
