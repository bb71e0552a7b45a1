"""Names of images below the folders that were indexed: what annotation files call them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from twinlens.engine.entries import is_url
from twinlens.engine.sources import source_root


class ImageNames:
    """Relative names of images of a dataset, and back."""

    def __init__(self, sources: Sequence[Path]) -> None:
        """Sources of the dataset: folders, archives, lists."""
        self.roots = sorted({str(source_root(source)) for source in sources})
        self._common = os.path.commonpath(self.roots) if self.roots else ""

    def relative(self, path: str) -> str:
        """The path below the folder that all sources share, "/" between its parts; a URL as it is."""
        if is_url(os.fsencode(path)):
            return path
        inside = self._common and os.path.commonpath((self._common, path)) == self._common
        return os.path.relpath(path, self._common) if inside else path


class NameLookup:
    """Finds images by names that other programs wrote.

    A name is that of an image if it is its path or its URL, or its path below one of the roots, or else if
    its last part is the last part of the path of exactly one image.
    """

    def __init__(self, paths: Iterable[str], roots: Sequence[str]) -> None:
        self._paths = frozenset(paths)
        self._roots = roots
        self._by_last: dict[str, str | None] = {}
        for path in self._paths:
            last = os.path.basename(path)
            self._by_last[last] = None if last in self._by_last else path

    def find(self, name: str) -> str | None:
        """The path of the image of that name; None if there is none, or more than one."""
        if name in self._paths:
            return name
        for root in self._roots:
            if (path := os.path.normpath(os.path.join(root, name))) in self._paths:
                return path
        return self._by_last.get(os.path.basename(name))
