"""What people say of images: labels and captions by file name, tags by image.

They outlive every re-indexing.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from twinlens.service.database import Database
from twinlens.service.explore.datasets import now
from twinlens.service.explore.failures import Conflict, NotFound
from twinlens.service.explore.values import name_in_text

LONGEST_TAG = 100
"""Characters in the name of a tag."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag of a dataset; `media` says how many images carry it."""

    id: str
    name: str
    media: int


@dataclass(frozen=True, slots=True)
class Notes:
    """All that is noted in one dataset at one moment.

    Attributes:
        labels, captions: by file name as it was written: a base name, or the end of a path.
        tags: by image id: (tag id, tag name, when it was assigned).
    """

    labels: Mapping[str, Sequence[str]]
    captions: Mapping[str, Sequence[str]]
    tags: Mapping[str, Sequence[tuple[str, str, str]]]

    def labels_of(self, path: str) -> list[str]:
        """Labels of the image at a path, sorted."""
        return _of(self.labels, path)

    def captions_of(self, path: str) -> list[str]:
        """Captions of the image at a path, sorted."""
        return _of(self.captions, path)


class NoteBook:
    """Tags, labels and captions of all datasets. Threads may share it; every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, dataset: str) -> Notes:
        """All notes of a dataset."""
        with self._database.reading() as db:
            texts = db.execute("SELECT filename, kind, text FROM annotations WHERE dataset = ?", (dataset,))
            by_kind: dict[str, dict[str, list[str]]] = {"label": {}, "caption": {}}
            for filename, kind, text in texts:
                by_kind[kind].setdefault(filename, []).append(text)
            tagged = db.execute(
                "SELECT media, id, name, assigned FROM tagged JOIN tags ON tag = id WHERE dataset = ?"
                " ORDER BY name",
                (dataset,),
            )
            tags: dict[str, list[tuple[str, str, str]]] = {}
            for media, id_, name, assigned in tagged:
                tags.setdefault(media, []).append((id_, name, assigned))
        return Notes(by_kind["label"], by_kind["caption"], tags)

    def tags(self, dataset: str) -> list[Tag]:
        """All tags of a dataset, by name."""
        query = (
            "SELECT id, name, count(media) FROM tags LEFT JOIN tagged ON tag = id WHERE dataset = ?"
            " GROUP BY id ORDER BY name"
        )
        with self._database.reading() as db:
            return [Tag(*found) for found in db.execute(query, (dataset,))]

    def make_tag(self, dataset: str, name: str) -> Tag:
        """A new tag.

        Raises:
            InvalidValue: no such name is served.
            Conflict: the dataset has one of that name.
        """
        name = name_in_text("name", name, LONGEST_TAG)
        id_ = str(uuid.uuid4())
        with self._database.writing() as db:
            if db.execute("SELECT 1 FROM tags WHERE dataset = ? AND name = ?", (dataset, name)).fetchone():
                raise Conflict(f"the dataset has a tag named {name!r} already")
            db.execute("INSERT INTO tags VALUES (?, ?, ?, ?)", (id_, dataset, name, now()))
            _next_edition(db, dataset)
        return Tag(id_, name, 0)

    def drop_tag(self, dataset: str, tag: str) -> None:
        """Remove a tag, from all images as well.

        Raises:
            NotFound: the dataset has no such tag.
        """
        with self._database.writing() as db:
            _check_tag(db, dataset, tag)
            db.execute("DELETE FROM tags WHERE id = ?", (tag,))
            _next_edition(db, dataset)

    def assign(self, dataset: str, tag: str, media: Iterable[str]) -> None:
        """Put a tag on images.

        Raises:
            NotFound: the dataset has no such tag.
        """
        moment = now()
        with self._database.writing() as db:
            _check_tag(db, dataset, tag)
            db.executemany(
                "INSERT OR IGNORE INTO tagged VALUES (?, ?, ?)", ((tag, id_, moment) for id_ in media)
            )
            _next_edition(db, dataset)

    def unassign(self, dataset: str, tag: str, media: Iterable[str]) -> None:
        """Take a tag off images; harmless where it is not on them.

        Raises:
            NotFound: the dataset has no such tag.
        """
        with self._database.writing() as db:
            _check_tag(db, dataset, tag)
            db.executemany("DELETE FROM tagged WHERE tag = ? AND media = ?", ((tag, id_) for id_ in media))
            _next_edition(db, dataset)


def _check_tag(db: sqlite3.Connection, dataset: str, tag: str) -> None:
    if not db.execute("SELECT 1 FROM tags WHERE id = ? AND dataset = ?", (tag, dataset)).fetchone():
        raise NotFound("Tag not found")


def _next_edition(db: sqlite3.Connection, dataset: str) -> None:
    db.execute("UPDATE datasets SET edition = edition + 1 WHERE id = ?", (dataset,))


def _of(texts: Mapping[str, Sequence[str]], path: str) -> list[str]:
    """Texts under every end of a path: the base name, then with one folder more, and so on."""
    if not texts:
        return []
    found: set[str] = set()
    parts = path.split("/")
    for start in range(len(parts) - 1, -1, -1):
        found.update(texts.get("/".join(parts[start:]), ()))
    return sorted(found)
