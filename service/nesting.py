"""How deep JSON values nest: Python reads and writes them recursively, so somebody must look first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def nests_deeper(value: object, levels: int) -> bool:
    """True if objects and arrays nest more than `levels` deep; a number or a string has no level."""
    layer = containers([value])
    for _ in range(levels):
        layer = [inner for outer in layer for inner in containers(elements(outer))]
        if not layer:
            return False
    return bool(layer)


def containers(values: Iterable[object]) -> list[Any]:
    """The objects and arrays among values."""
    return [value for value in values if isinstance(value, dict | list)]


def elements(container: dict[str, Any] | list[Any]) -> Iterable[object]:
    """What an object or an array holds, one level down."""
    return container.values() if isinstance(container, dict) else container
