"""Images of an export, as its caller makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from twinlens.service.explore.exports import (
    ExportFormat,
    ExportInfo,
    ExportOutcome,
    IssueEntry,
    LabelEntry,
    MediaItem,
    TagEntry,
    write_export,
)

CAT = MediaItem(
    media_id="300dad2c-1234-41f1-8483-5a879df30de4",
    file_name="cat.jpg",
    file_path="pets/cat.jpg",
    file_size=49_428,
    uniqueness_score=0.25,
    width=1920,
    height=1080,
    url="http://localhost:8000/media/cat",
    cluster_id="d0470097-0c77-4a9c-9edf-289680df7f71",
    issues=(IssueEntry("blur", 0.75), IssueEntry("duplicates", 1.0, "d0470097", 0.95)),
    tags=(TagEntry("review", "2024-06-08T12:34:56Z"),),
    labels=(LabelEntry("cat", "User"), LabelEntry("animal", "User", 7)),
    captions=("a cat on a mat",),
)
DOG = MediaItem(
    media_id="9c1f4b60-1234-41f1-8483-5a879df30de4",
    file_name="dog.jpg",
    file_path="pets/dog.jpg",
    file_size=512,
    uniqueness_score=None,
    width=64,
    height=48,
    url="http://localhost:8000/media/dog",
    cluster_id=None,
    issues=(),
    tags=(),
    labels=(),
    captions=(),
)


def head(total: int) -> ExportInfo:
    """The head of an export of so many images."""
    return ExportInfo(
        dataset="pets",
        description="two pets",
        dataset_url="http://localhost:8000/dataset/1",
        export_time="2024-06-08 12:34:56",
        dataset_creation_time="2024-01-01 00:00:00",
        exported_by="ann",
        total_media_items=total,
    )


def many(count: int, **changes: Any) -> Iterator[MediaItem]:
    """So many cats, each with an id, a name and a path of its own."""
    for number in range(count):
        name = f"cat_{number}.jpg"
        identity = {"media_id": f"{number:08x}-0000-4000-8000-000000000000"}
        yield replace(CAT, **{**identity, "file_name": name, "file_path": f"pets/{name}", **changes})


def export(
    target: Path, items: Iterable[MediaItem], fmt: str = "json", *, images: bool = False
) -> ExportOutcome:
    """Export without a stop and without looking at the progress."""
    listed = list(items)
    return write_export(
        target,
        head(len(listed)),
        listed,
        ExportFormat(fmt),
        include_images=images,
        stop=lambda: False,
        on_progress=lambda count: None,
    )
