"""Voronoi cells of points in a plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def voronoi_cells(centres: ArrayLike, view: tuple[float, float]) -> list[Array]:
    """Return the corners (n, 2) of each centre's cell, as far as it lies in the square `view` × `view`.

    A cell holds what is nearer to its centre than to any other: the square, cut along the line half-way to each other
    centre, the nearest first, until no other is near enough to reach it. A cell that lies outside has no corners.

    Example:
        >>> [cell.tolist() for cell in voronoi_cells([[0.0, 0.0], [4.0, 0.0]], (-1.0, 3.0))]
        [[[-1.0, -1.0], [2.0, -1.0], [2.0, 3.0], [-1.0, 3.0]], [[2.0, -1.0], [3.0, -1.0], [3.0, 3.0], [2.0, 3.0]]]
    """
    points = np.asarray(centres, np.float64).reshape(-1, 2)
    low, high = view
    square = np.array([[low, low], [high, low], [high, high], [low, high]])
    return [_cell(points, number, square) for number in range(len(points))]


def _cell(points: Array, number: int, square: Array) -> Array:
    centre, cell = points[number], square
    distances = np.hypot(*(points - centre).T)
    for other in np.argsort(distances, kind="stable"):
        if not len(cell) or distances[other] > 2 * np.hypot(*(cell - centre).T).max():
            break
        if distances[other] > 0:
            cell = _cut(cell, points[other] - centre, 0.5 * (points[other] + centre))
    return cell


def _cut(polygon: Array, normal: Array, middle: Array) -> Array:
    """Return the part of a convex polygon on the near side of the line through `middle` (Sutherland and Hodgman)."""
    beyond = (polygon - middle) @ normal
    corners = []
    for here, there, a, b in zip(polygon, np.roll(polygon, -1, axis=0), beyond, np.roll(beyond, -1), strict=True):
        if a <= 0:
            corners.append(here)
        if min(a, b) < 0 < max(a, b):
            corners.append(here + (there - here) * (a / (a - b)))
    return np.array(corners).reshape(-1, 2)
