"""Brace patterns that name the shards of a WebDataset: `train-{000..019}.tar`, `{train,val}.tar`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from twinlens.engine.errors import SourceError

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
MAX_NAMES = 100_000


def is_pattern(text: str) -> bool:
    """True if a text holds braces that stand for several texts."""
    return any(_RANGE.fullmatch(inside) or "," in inside for inside in _BRACES.findall(text))


def expand(pattern: str) -> list[str]:
    """All texts that a pattern stands for, in its order; numbers keep their leading zeros.

    Raises:
        SourceError: more than `MAX_NAMES`.
    """
    names = list(islice(_expanded(pattern), MAX_NAMES + 1))
    if len(names) > MAX_NAMES:
        raise SourceError(f"{pattern} stands for more than {MAX_NAMES:,} names: split it")
    return names


def _expanded(pattern: str) -> Iterator[str]:
    for found in _BRACES.finditer(pattern):
        if (choices := _choices(found[1])) is None:
            continue
        before, after = pattern[: found.start()], pattern[found.end() :]
        for choice in choices:
            yield from (before + choice + rest for rest in _expanded(after))
        return
    yield pattern


def _choices(inside: str) -> Iterator[str] | list[str] | None:
    if (found := _RANGE.fullmatch(inside)) is not None:
        first, last = int(found[1]), int(found[2])
        width = len(found[1]) if found[1].startswith("0") else 0
        step = 1 if first <= last else -1
        return (f"{number:0{width}}" for number in range(first, last + step, step))
    return inside.split(",") if "," in inside else None
