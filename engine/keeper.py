"""Which copy to keep: one that somebody chose to keep, else what a list of rules says.

Each rule is a way to order images; the first that tells two apart decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Protocol, TypeAlias

import numpy as np

from twinlens.engine.errors import InvalidValue
from twinlens.engine.similarity import Numbers


class KeeperFacts(Protocol):
    """What the rules know of an image."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def path(self) -> str:
        """Where it lies."""
        ...

    @property
    def width(self) -> int:
        """Pixels."""
        ...

    @property
    def height(self) -> int:
        """Pixels."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the file."""
        ...

    @property
    def sharpness(self) -> float:
        """Variance of the Laplacian at a common size; NaN where unknown, the least sharp of all."""
        ...

    @property
    def exif_tags(self) -> int:
        """How many."""
        ...

    @property
    def mtime_ns(self) -> int:
        """When the file was last changed, nanoseconds since the epoch."""
        ...


Rule: TypeAlias = Callable[[KeeperFacts], float | str]
"""A sort key of an image: the lower, the rather it is kept."""

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "pixels": lambda image: -image.width * image.height,
        "sharpness": lambda image: math.inf if math.isnan(image.sharpness) else -image.sharpness,
        "bytes": lambda image: -image.size,
        "exif": lambda image: -image.exif_tags,
        "newest": lambda image: -image.mtime_ns,
        "oldest": lambda image: image.mtime_ns,
        "path": lambda image: image.path,
    }
)
"""All rules by name: most pixels, sharpest, largest file, most EXIF tags, newest, oldest, first path."""

DEFAULT_RULES = ("pixels", "sharpness", "bytes", "exif", "path")


def keeper_order(
    images: Sequence[KeeperFacts],
    rules: Sequence[str] = DEFAULT_RULES,
    kept: AbstractSet[str] = frozenset(),
) -> Numbers:
    """Rank images by how much they are worth keeping.

    Args:
        images: n images.
        rules: names of `RULES`, the most important first; ties after the last break by id.
        kept: ids of images that somebody chose to keep: they come before all others, whatever the rules.

    Returns:
        int64 [n], the rank of each image; 0 is the first to keep.

    Raises:
        InvalidValue: a rule that does not exist.
    """
    for rule in rules:
        if rule not in RULES:
            raise InvalidValue(f"no keeper rule {rule!r}: choose from {', '.join(RULES)}")
    keys = [(image.id not in kept, *(RULES[rule](image) for rule in rules), image.id) for image in images]
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return ranks
