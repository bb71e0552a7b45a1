"""A WebDataset without the samples that a plan removes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from twinlens.engine.archive_names import is_shard
from twinlens.engine.archive_reading import find_archive
from twinlens.engine.entries import extension_of
from twinlens.engine.errors import InvalidValue
from twinlens.engine.formats import IMAGE_EXTENSIONS
from twinlens.engine.shards import copy_shard
from twinlens.service.image_names import ImageNames
from twinlens.service.plans import Choice


@dataclass(frozen=True, slots=True)
class CopiedShards:
    """What came of the shards.

    Attributes:
        shards: that were written.
        samples: in them.
        dropped: samples that were left out: none of their images is kept.
        unplanned: images that are neither kept nor removed: they failed, or are newer than the plan.
        failures: shards of which not all was copied, and why.
    """

    shards: int
    samples: int
    dropped: int
    unplanned: int
    failures: tuple[str, ...]


def write_webdataset(choice: Choice, failed: Iterable[str], names: ImageNames, folder: Path) -> CopiedShards:
    """Copy every shard of a dataset into a folder, sample by sample.

    Args:
        choice: what is removed.
        failed: paths of failures; shards without any image are copied too.
        names: how shards are called below the folder.
        folder: empty.

    Raises:
        InvalidValue: images do not lie in shards.
    """
    kept = {os.fsencode(image.path) for image in choice.kept}
    removed = {os.fsencode(path) for path in choice.removed}
    shards, loose = _shards(kept | removed)
    if loose:
        raise InvalidValue(
            f"{loose} lies in no tar archive: only the shards of a WebDataset are written as one; "
            "write the lists with --as text"
        )
    shards |= _shards(map(os.fsencode, failed))[0]
    unplanned: set[bytes] = set()
    written = samples = dropped = 0
    failures: list[str] = []
    for shard in sorted(shards):
        target = folder / _plain(names.relative(os.fsdecode(shard)))
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = shard + b"/"

        def fate(path: bytes, prefix: bytes = prefix) -> bool | None:
            whole = prefix + path
            if whole in kept or extension_of(path) not in IMAGE_EXTENSIONS:
                return True if whole in kept else None
            if whole not in removed:
                unplanned.add(whole)
            return False

        try:
            copied = copy_shard(Path(os.fsdecode(shard)), target, fate)
        except OSError as error:
            failures.append(f"{os.fsdecode(shard)}: it cannot be copied ({error.strerror})")
            continue
        written += copied.samples > 0
        samples += copied.samples
        dropped += copied.dropped
        if copied.damage is not None:
            failures.append(f"{os.fsdecode(shard)}: {copied.damage}")
    return CopiedShards(written, samples, dropped, len(unplanned), tuple(failures))


def _shards(paths: Iterable[bytes]) -> tuple[set[bytes], str | None]:
    """The shards that paths lie in, and a path that lies in none."""
    shards: set[bytes] = set()
    loose: str | None = None
    last = b""
    for path in sorted(paths):
        if last and path.startswith(last):
            continue
        archive = _shard_of(path)
        if archive is None:
            loose = loose or os.fsdecode(path)
        else:
            shards.add(archive)
            last = archive + b"/"
    return shards, loose


def _shard_of(path: bytes) -> bytes | None:
    try:
        found = (path, b"") if is_shard(path) and os.path.isfile(path) else find_archive(path)
    except OSError:
        return None
    return found[0] if found is not None and is_shard(found[0]) else None


def _plain(name: str) -> str:
    """The name of a shard that is not compressed."""
    stem = name[: name.lower().rindex(".t")]
    return stem + ".tar"
