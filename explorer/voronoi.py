"""Voronoi cells of points in a plane."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Corners = list[tuple[float, float]]


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
    square = [(low, low), (high, low), (high, high), (low, high)]
    return [np.array(_cell(points, number, square)).reshape(-1, 2) for number in range(len(points))]


def _cell(points: Array, number: int, square: Corners) -> Corners:
    """Return the corners of one cell; they are few, and plain numbers quicker than arrays of them."""
    x, y = points[number].tolist()
    distances = np.hypot(*(points - points[number]).T)
    cell = square
    for other in np.argsort(distances, kind="stable"):
        if not cell or distances[other] > 2 * max(math.hypot(a - x, b - y) for a, b in cell):
            break
        if distances[other] > 0:
            cell = _cut(cell, (x, y), points[other].tolist())
    return cell


def _cut(polygon: Corners, near: Sequence[float], far: Sequence[float]) -> Corners:
    """Return the part of a convex polygon that is nearer to one point than to another (Sutherland and Hodgman)."""
    across, up = far[0] - near[0], far[1] - near[1]
    middle = 0.5 * (near[0] + far[0]), 0.5 * (near[1] + far[1])
    beyond = [(x - middle[0]) * across + (y - middle[1]) * up for x, y in polygon]
    corners = []
    for place, (x, y) in enumerate(polygon):
        following = (place + 1) % len(polygon)
        a, b = beyond[place], beyond[following]
        if a <= 0:
            corners.append((x, y))
        if min(a, b) < 0 < max(a, b):
            share, there = a / (a - b), polygon[following]
            corners.append((x + (there[0] - x) * share, y + (there[1] - y) * share))
    return corners
