"""Index a folder with the test embedder, writing down every image that is embedded.

usage: index_folder.py FOLDER DATASET JOURNAL [SECONDS_PER_BATCH]
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fakes import ColourGridEmbedder
from twinlens.engine.catalog import catalog_path
from twinlens.engine.dataset import Dataset
from twinlens.engine.types import Embedder, Embeddings, Prepared


class JournallingEmbedder(ColourGridEmbedder):
    """Appends one line for each different image of a batch, before it is embedded."""

    def __init__(self, journal: Path, pause: float) -> None:
        self._journal = journal
        self._pause = pause

    def embed_prepared(self, batch: Sequence[Prepared]) -> Embeddings:
        digests = dict.fromkeys(hashlib.sha256(image.tobytes()).hexdigest() for image in batch)
        with self._journal.open("a") as journal:
            journal.write("".join(f"{digest}\n" for digest in digests))
        time.sleep(self._pause)
        return super().embed_prepared(batch)


def main(photos: Path, folder: Path, journal: Path, pause: float = 0.0) -> None:
    embedder = JournallingEmbedder(journal, pause)

    def load(name: str) -> Embedder:
        return embedder

    print("ready", flush=True)
    if catalog_path(folder).exists():
        dataset = Dataset.open(folder, models=load)
    else:
        dataset = Dataset.create(folder, embedder, namespace=photos.name)
    with dataset:
        dataset.add(photos)
    print("done", flush=True)


if __name__ == "__main__":
    photos, folder, journal, *pause = sys.argv[1:]
    main(Path(photos), Path(folder), Path(journal), *map(float, pause))
