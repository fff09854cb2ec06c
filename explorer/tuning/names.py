"""Short names for a column that has no room for whole ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

MAX = 13  # characters


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return names without the beginning and end that nearly all share, the middle left out where they are still long.

    >>> short_names(["conv2d_10.w_0", "conv2d_157.w_0"])
    {'conv2d_10.w_0': 'conv2d_10', 'conv2d_157.w_0': 'conv2d_157'}
    >>> short_names(["encoder.layer.0.attention.self.query", "encoder.layer.1.attention.self.key"]).values()
    dict_values(['0…self.query', '1…self.key'])
    """
    full = [*names]
    ends = Counter(name.rpartition(".")[2] for name in full if "." in name)
    end, times = ends.most_common(1)[0] if ends else ("", 0)
    shared = f".{end}" if times > 0.8 * len(full) and _apart(name.removesuffix(f".{end}") for name in full) else ""
    return {name: _cut(name.removesuffix(shared)) for name in full}


def _apart(names: Iterable[str]) -> bool:
    listed = [*names]
    return len({*listed}) == len(listed)


def _cut(name: str) -> str:
    if len(name) <= MAX:
        return name
    parts = name.split(".")
    number = next((part for part in parts[:-1] if part.isdecimal()), "")
    tail = name[-(MAX - 1 - len(number)) :]
    whole = tail.partition(".")[2] if "." in tail and not tail.startswith(".") else tail.lstrip(".")
    return f"{number}…{whole or tail}"
