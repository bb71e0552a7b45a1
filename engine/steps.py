"""From a plan to the steps of a journal: what goes where, and which files must stay after all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from twinlens.engine.archive_reading import find_archive
from twinlens.engine.catalog import ImageRecord
from twinlens.engine.curation import Plan
from twinlens.engine.filing import IndexedFile
from twinlens.engine.journal import Step
from twinlens.engine.sources import source_root

_LONGEST_CHAIN = 40


def steps_of(plan: Plan) -> list[Step]:
    """One step for each file to remove, in the order of the plan.

    A file that a kept one leads to, or is under another name, stays after all; so does what is no file of its
    own, in an archive or downloaded, and what only such an image would stand for.
    """
    places = _Places(removal.image.source for removal in plan.remove)
    names = _Names()
    needed = {entry: image.path for image in plan.keep for entry in names.chain(image.path)}

    def why_it_stays(image: ImageRecord, twin: ImageRecord) -> str:
        if (holder := _holder(image)) is not None:
            return f"it is no file of its own but {holder}: `twinlens export --plan` writes what is kept"
        if (holder := _holder(twin)) is not None:
            return f"its twin {twin.path} is {holder}, which is not watched over"
        kept = needed.get(names.entry(image.path))
        return "" if kept is None else f"{kept}, which is kept, is this very file or a link to it"

    return [
        Step(
            number,
            removal.image.id,
            removal.image.source,
            _indexed(removal.image),
            _indexed(removal.twin),
            places.inside(removal.image),
            why_it_stays(removal.image, removal.twin),
        )
        for number, removal in enumerate(plan.remove)
    ]


def protected_ids(images: Iterable[ImageRecord], folders: Sequence[Path]) -> dict[Path, set[str]]:
    """Images below each of some folders (or that are one of some files), by any of their names."""
    seen = _Names()
    roots = {folder: {os.path.abspath(folder), os.path.realpath(folder)} for folder in folders}
    found: dict[Path, set[str]] = {folder: set() for folder in folders}
    for image in images:
        names = {image.path, *seen.chain(image.path)}
        for folder, ends in roots.items():
            if any(name == end or name.startswith(end.rstrip("/") + "/") for name in names for end in ends):
                found[folder].add(image.id)
    return found


class _Places:
    """Where images go inside a folder: by their path in their source, and its name if there are several."""

    def __init__(self, sources: Iterable[str]) -> None:
        self._names: dict[str, str] = {}
        self._roots: dict[str, str] = {}
        several = sorted(set(sources))
        taken: set[str] = set()
        for source in several:
            name, number = os.path.basename(source), 1
            while name in taken:
                number += 1
                name = f"{os.path.basename(source)}-{number}"
            taken.add(name)
            self._names[source] = name if len(several) > 1 else ""
            self._roots[source] = os.fspath(source_root(Path(source))) if source else "/"

    def inside(self, image: ImageRecord) -> str:
        relative = os.path.relpath(image.path, self._roots[image.source])
        if relative.startswith(os.pardir):
            # A list may name files anywhere.
            relative = os.path.abspath(image.path).lstrip("/")
        return os.path.join(self._names[image.source], relative)


class _Names:
    """Directory entries behind paths; folders are looked up once."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}

    def entry(self, path: str) -> str:
        """The one name of a directory entry, whatever links the folders above it are reached by."""
        folder, name = os.path.split(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return os.path.join(self._real[folder], name)

    def chain(self, path: str) -> Iterator[str]:
        """Every entry that must stay for a path to lead to its file: symbolic links and what they lead to."""
        for _ in range(_LONGEST_CHAIN):
            path = self.entry(path)
            yield path
            if not os.path.islink(path):
                return
            path = os.path.join(os.path.dirname(path), os.readlink(path))


def _holder(image: ImageRecord) -> str | None:
    """What an image without a file of its own is part of."""
    if image.download:
        return "a download of this dataset"
    if os.path.lexists(image.path):
        return None
    try:
        found = find_archive(image.path)
    except OSError:
        return None
    return None if found is None else f"part of {os.fsdecode(found[0])}"


def _indexed(image: ImageRecord) -> IndexedFile:
    return IndexedFile(image.path, image.size, image.mtime_ns, image.digest.hex() if image.digest else "")
