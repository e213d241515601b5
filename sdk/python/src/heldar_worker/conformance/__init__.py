"""The contract as checks, in two directions.

Owns: `worker` starts a worker under a testing kernel and watches it; `server` plays a worker against a
server. One line per check; a check that cannot be made from here is listed as skipped with its reason, never
left out.
"""

from .report import Check, Outcome, Report

__all__ = ["Check", "Outcome", "Report"]
