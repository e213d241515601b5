"""Which rows go with which columns at the least total cost.

Owns: the assignment problem, solved exactly by shortest augmenting paths with potentials (the "Hungarian"
method), O(n^2 m). Pure and deterministic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]


def assign(costs: Costs, limit: float) -> list[tuple[int, int]]:
    """Pairs (row, column), by row, none dearer than `limit`.

    As many pairs within the limit as there can be, and among those the least total. `costs` is any rows x columns
    matrix of finite numbers.
    """
    rows, columns = costs.shape
    if rows == 0 or columns == 0:
        return []
    # A pair beyond the limit costs more than all allowed pairs together, so one is only ever taken when a row
    # has no other choice, and is dropped below.
    allowed = costs <= limit
    span = float(np.abs(costs[allowed]).sum()) if allowed.any() else 0.0
    gated = np.where(allowed, costs, 1.0 + 2.0 * span)
    pairs = _solve(gated) if rows <= columns else [(r, c) for c, r in _solve(gated.T)]
    return sorted((r, c) for r, c in pairs if allowed[r, c])


def _solve(costs: Costs) -> list[tuple[int, int]]:
    """Every row gets a column; at least as many columns as rows."""
    rows, columns = costs.shape
    row_price = np.zeros(rows)
    column_price = np.zeros(columns)
    row_of = np.full(columns, -1)
    for first in range(rows):
        # Dijkstra over columns from `first` to the nearest free column, in reduced costs.
        distance = np.full(columns, np.inf)
        came_from = np.full(columns, -1)
        settled = np.zeros(columns, dtype=bool)
        row, column, reached = first, -1, 0.0
        while True:
            through = reached + costs[row] - row_price[row] - column_price
            better = ~settled & (through < distance)
            distance[better] = through[better]
            came_from[better] = column
            column = int(np.argmin(np.where(settled, np.inf, distance)))
            reached = float(distance[column])
            settled[column] = True
            if row_of[column] < 0:
                break
            row = int(row_of[column])
        # Keep reduced costs of matched pairs at zero and of all others at or above it.
        inner = settled.copy()
        inner[column] = False
        row_price[first] += reached
        row_price[row_of[inner]] += reached - distance[inner]
        column_price[inner] -= reached - distance[inner]
        # Shift the pairs along the path.
        while True:
            before = int(came_from[column])
            row_of[column] = first if before < 0 else row_of[before]
            if before < 0:
                break
            column = before
    return [(int(row_of[c]), c) for c in range(columns) if row_of[c] >= 0]
