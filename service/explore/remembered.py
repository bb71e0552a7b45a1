"""What was given out and must be known again: anchors of searches, and cluster ids.

A cluster id is remembered with the questions whose answers it was part of. Asked for its members, the
server answers them again, from its cache or anew: an id that is part of none of the answers any more has
changed its members, and is gone.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from twinlens.engine.types import Probe
from twinlens.service.database import Database
from twinlens.service.explore.failures import NotFound

_MOST_ANCHORS = 10_000
_MOST_CLUSTERS = 1_000_000
_MOST_QUESTIONS = 8
_PRUNE_EVERY = 1000


@dataclass(frozen=True, slots=True)
class Anchor:
    """What an uploaded image searches for, by a model, in a dataset."""

    dataset: str
    fingerprint: str
    probe: Probe


class Remembered:
    """Anchors and cluster ids of all datasets. Threads may share it; every method is one transaction."""

    def __init__(self, database: Database, *, anchor_seconds: int) -> None:
        """Reads nothing yet.

        Args:
            database: where they are.
            anchor_seconds: how long an anchor can be used.
        """
        self._database = database
        self._anchor_seconds = anchor_seconds

    def add_anchors(self, anchors: Sequence[Anchor]) -> list[str | Exception]:
        """Remember what is searched for; an id for each, or NotFound where its dataset is gone."""
        moment = int(time.time())
        with self._database.writing() as db:
            for dataset in sorted({anchor.dataset for anchor in anchors}):
                db.execute(
                    "DELETE FROM anchors WHERE dataset = ? AND created < ?",
                    (dataset, moment - self._anchor_seconds),
                )
                db.execute(
                    "DELETE FROM anchors WHERE id IN (SELECT id FROM anchors WHERE dataset = ?"
                    " ORDER BY created DESC, id LIMIT -1 OFFSET ?)",
                    (dataset, _MOST_ANCHORS - len(anchors)),
                )
            return [_add_anchor(db, anchor, moment) for anchor in anchors]

    def anchor(self, dataset: str, id_: str, fingerprint: str) -> Probe:
        """What was remembered.

        Raises:
            NotFound: nothing, too long ago, or by another model.
        """
        with self._database.reading() as db:
            found = db.execute(
                "SELECT vector, digest, pixel_digest FROM anchors"
                " WHERE id = ? AND dataset = ? AND fingerprint = ? AND created >= ?",
                (id_, dataset, fingerprint, int(time.time()) - self._anchor_seconds),
            ).fetchone()
        if found is None:
            raise NotFound(f"anchor_media_id {id_} is no uploaded image of this dataset: upload it (again)")
        vector, digest, pixel_digest = found
        return Probe(None if vector is None else np.frombuffer(vector, "<f8"), digest, pixel_digest)

    def remember_clusters(self, dataset: str, question: str, start: int, ids: Iterable[str]) -> None:
        """Remember cluster ids as part of the answer to a question, from place `start` of it on."""
        with self._database.writing() as db:
            db.execute("INSERT OR IGNORE INTO recipes (dataset, text) VALUES (?, ?)", (dataset, question))
            number = db.execute(
                "SELECT number FROM recipes WHERE dataset = ? AND text = ?", (dataset, question)
            ).fetchone()[0]
            db.executemany(
                "INSERT OR REPLACE INTO clusters VALUES (?, ?, ?, ?)",
                ((dataset, id_, number, place) for place, id_ in enumerate(ids, start)),
            )
            if number % _PRUNE_EVERY == 0:
                db.execute(
                    "DELETE FROM recipes WHERE dataset = ? AND number NOT IN (SELECT number FROM recipes"
                    " WHERE dataset = ? ORDER BY number DESC LIMIT ?)",
                    (dataset, dataset, _MOST_CLUSTERS // 100),
                )

    def questions_of(self, dataset: str, cluster: str) -> list[tuple[str, int]]:
        """Questions whose answers a cluster was part of, and at which place; the last 8 that came up.

        Raises:
            NotFound: no such cluster was given out.
        """
        with self._database.reading() as db:
            found = db.execute(
                "SELECT text, place FROM clusters JOIN recipes ON recipe = number"
                " WHERE clusters.dataset = ? AND id = ? ORDER BY number DESC LIMIT ?",
                (dataset, cluster, _MOST_QUESTIONS),
            ).fetchall()
        if not found:
            raise NotFound("Cluster not found: ids are known once an answer of explore held them")
        return [(str(text), int(place)) for text, place in found]


def _add_anchor(db: sqlite3.Connection, anchor: Anchor, moment: int) -> str | Exception:
    id_, probe = str(uuid.uuid4()), anchor.probe
    vector = None if probe.vector is None else probe.vector.astype("<f8").tobytes()
    row = (id_, anchor.dataset, moment, anchor.fingerprint, vector, probe.digest, probe.pixel_digest)
    try:
        db.execute("INSERT INTO anchors VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        return NotFound("Dataset not found")
    return id_
