"""A dataset: one folder with a catalog, rows, an index and previews, and what can be asked of it."""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinlens.engine import duplicates, relations, search
from twinlens.engine.calibration import (
    DEFAULT_SAMPLE,
    LEVELS,
    Calibration,
    Ignored,
    forget_calibration,
    read_calibration,
    write_calibration,
)
from twinlens.engine.catalog import Catalog, Failure, ImageRecord, NewImage, catalog_path
from twinlens.engine.cores import usable_cores
from twinlens.engine.decode import DecodeLimits
from twinlens.engine.embedding import largest_call
from twinlens.engine.errors import DatasetExists, DatasetReadOnly, InvalidValue, ModelMismatch
from twinlens.engine.explain import explain_pair
from twinlens.engine.hash_links import establish_hashes, linked_units
from twinlens.engine.index import Index, stated_recall
from twinlens.engine.ingest import Ingest, IngestOptions, IngestReport, OnProgress, Progress
from twinlens.engine.issues import Measures
from twinlens.engine.join_plan import JoinMethod, JoinPlan
from twinlens.engine.keeper import DEFAULT_RULES
from twinlens.engine.lock import WriterLock
from twinlens.engine.pixels import establish_pixels
from twinlens.engine.previews import Previews
from twinlens.engine.probes import probe_image
from twinlens.engine.results import (
    MAX_PAIRS,
    Cluster,
    EvidenceMode,
    Explanation,
    Linkage,
    Neighbour,
    Pair,
    Uniqueness,
)
from twinlens.engine.scores import score_images
from twinlens.engine.similarity import unit_rows
from twinlens.engine.snapshot import Snapshot, isolation_of
from twinlens.engine.storage import is_writable, storage_errors
from twinlens.engine.types import DecodePolicy, Embedder, ModelDescription, ModelLoader, OperatingPoints
from twinlens.engine.vectors import VectorFile

_NAMESPACE = uuid.UUID("5d2a1f0e-8f3b-5c7d-9a64-1f6f0f7c1f10")
_UNCALIBRATED = OperatingPoints(strict=0.98, default=0.95, loose=0.90, measured=False)
_VECTOR_FLOOR = 0.80
_ABOUT_UNIT = 1e-3
_CPU_CALLS = 2
"""Of a commit: what a killed run loses is little."""
_CUDA_MOST = 256
"""Images of a call and of a commit; a large model may leave less room."""


class Dataset:
    """Images, their rows, and what they are to each other, in one folder.

    Any number of processes may read; one at a time may write, and holds a lock while it does.
    Threads share a Dataset only with their own lock around it.
    """

    def __init__(self, folder: Path, catalog: Catalog, models: ModelLoader | None, device: str) -> None:
        self.folder = folder
        self._catalog = catalog
        self._models = models
        self._device = device
        self._lock = WriterLock(folder)
        self._previews = Previews(folder)
        self._embedder: Embedder | None = None
        self._snapshot: Snapshot | None = None
        self._searched: tuple[Snapshot, Index] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.description = ModelDescription.from_json(catalog.meta("model"))
        self._model_points = self.description.points
        self._read_calibration()
        committed = int(catalog.meta("rows"))
        path = folder / "vectors.f16"
        self._vectors = VectorFile.open(path, self.description.dim, self.description.fingerprint, committed)

    # -- life ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: str | Path, embedder: Embedder, *, namespace: str | None = None) -> Dataset:
        """Make an empty dataset whose vectors come from `embedder`.

        Args:
            folder: where; made if it is not there.
            embedder: the model; pinned for the life of the dataset.
            namespace: what ids are derived from, beside the path; random if None.

        Raises:
            DatasetExists: the folder holds one already.
            DatasetReadOnly, StorageFull: the folder cannot be written.
        """
        if embedder.device.startswith("cuda"):
            shape = batch = largest_call(embedder, _CUDA_MOST)
        else:
            shape = embedder.cpu_call
            batch = _CPU_CALLS * shape
        meta = {"shape": str(shape), "batch": str(batch), "precision": embedder.precision}
        _make(Path(folder).absolute(), embedder.description, namespace, meta)
        dataset = cls.open(folder, device=embedder.device)
        dataset._embedder = embedder
        return dataset

    @classmethod
    def open(cls, folder: str | Path, *, models: ModelLoader | None = None, device: str = "auto") -> Dataset:
        """Open a dataset for reading and, where the folder can be written, for writing.

        Args:
            folder: where it is.
            models: loads the pinned model when something must be embedded.
            device: where joins run: "cpu", "cuda", or "auto" for CUDA where there is one.

        Raises:
            NotADataset, DatasetCorrupt, DatasetUnfinished, FormatTooNew: it cannot be opened.
        """
        folder = Path(folder).absolute()
        catalog = Catalog.open(folder, read_only=not is_writable(folder) if folder.is_dir() else False)
        try:
            return cls(folder, catalog, models, device)
        except BaseException:
            catalog.close()
            raise

    @classmethod
    def from_vectors(
        cls,
        ids: Sequence[str],
        vectors: NDArray[np.floating],
        *,
        name: str,
        folder: str | Path | None = None,
        device: str = "auto",
    ) -> Dataset:
        """Make a dataset from embeddings of your own: everything but embedding works.

        Args:
            ids: n names, each once.
            vectors: [n, dim], any float type, any length but zero; float16 and unit rows are stored as
                they are, others are divided by their length before they are rounded to float16.
            name: of the model they come from; vectors of other names are never compared with them.
            folder: where to keep it; a temporary folder that goes when the dataset is closed if None.
            device: where joins run.

        Raises:
            InvalidValue: lengths differ, an id twice, a row that is zero or not finite.
        """
        rows = _as_stored(np.asarray(vectors))
        if len(ids) != len(rows) or len(set(ids)) != len(ids):
            raise InvalidValue(f"{len(rows)} vectors need as many different ids, got {len(set(ids))}")
        scratch = tempfile.TemporaryDirectory(prefix="twinlens-") if folder is None else None
        target = Path(folder if folder is not None else scratch.name if scratch else "").absolute()
        description = _own_vectors(name, rows.shape[1])
        _make(target, description, name, {"shape": "1", "batch": "1", "precision": "float16"})
        dataset = cls.open(target, device=device)
        dataset._scratch = scratch
        images = [_vector_record(id_, row) for row, id_ in enumerate(ids)]
        with dataset._writing():
            dataset._vectors.write(0, rows)
            with dataset._catalog.transaction():
                dataset._catalog.add_images(images)
                dataset._catalog.set_meta("rows", str(len(rows)))
            dataset._relate(_ignore)
        return dataset

    def close(self) -> None:
        """Fold the write-ahead log in, give the lock back, close the files."""
        self._lock.release()
        self._catalog.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def __enter__(self) -> Dataset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what it holds ------------------------------------------------------------------------

    def __len__(self) -> int:
        return self._catalog.count_images()

    def images(self) -> list[ImageRecord]:
        """All images, ordered by id."""
        return self._catalog.images()

    def failures(self) -> list[Failure]:
        """Files that are not part of it, and why, ordered by source and path."""
        return self._catalog.failures()

    def sources(self) -> list[Path]:
        """Folders and lists that were indexed."""
        return [location for _, location, _ in self._catalog.sources()]

    def preview(self, id_: str) -> bytes | None:
        """A small JPEG or WebP of an image, None where there is none."""
        row = self._catalog.rows_of([id_]).get(id_)
        return None if row is None else self._previews.read(row, id_)

    def vectors(self) -> NDArray[np.float16]:
        """Rows of all images, float16 [n, dim], in the order of `images()`."""
        snapshot = self.snapshot()
        return snapshot.rows[[image.row for image in snapshot.images]]

    def snapshot(self) -> Snapshot:
        """The generation that the catalog holds now."""
        if self._snapshot is None or self._snapshot.generation != int(self._catalog.meta("generation")):
            self._snapshot = Snapshot.read(self._catalog, self._vectors, self.description, self._device)
        return self._snapshot

    def copy_snapshot(self) -> Snapshot:
        """The generation that the catalog holds now, apart from it: any thread may ask it at any later time.

        Images that were added and not compared yet are left out.
        """
        return Snapshot.copy(self._catalog, self._vectors, self.description, self._device)

    def measures(self, images: Sequence[ImageRecord]) -> Measures:
        """What is stored of the look of some images, for `issues`."""
        return Measures.of(images, self._catalog.signatures())

    @property
    def generation(self) -> int:
        """Counts changes of what the dataset holds or answers."""
        return int(self._catalog.meta("generation"))

    # -- changes ------------------------------------------------------------------------------

    def add(
        self,
        source: str | Path,
        options: IngestOptions | None = None,
        on_progress: OnProgress | None = None,
        *,
        relate: bool = True,
    ) -> IngestReport:
        """Bring the dataset up to date with a folder of images, an archive or a list of paths.

        New and changed files are embedded, moved ones keep their id, images whose file is gone are
        removed, and files that fail become failures. Safe to interrupt and to run again.

        Args:
            source: the folder, the archive, the list, or a brace pattern of archives.
            options: how the ingest runs.
            on_progress: is told how far it is.
            relate: compare what is new at once. Without it, new images can be looked at and searched for,
                but are nobody's twins (their bytes aside) until `relate` compared them.

        Raises:
            SourceError: the source cannot be read.
            DatasetLocked: another process writes.
            DatasetReadOnly, StorageFull: the folder cannot be written.
            ModelError: there is something to embed, and the pinned model cannot be had or is another one now.
        """
        progress = on_progress or _ignore
        location = Path(os.path.abspath(source))
        with self._writing():
            ingest = Ingest(
                self._catalog,
                self._vectors,
                self._previews,
                self.embedder,
                options or IngestOptions(),
                location,
            )
            report = ingest.run(progress)
            if relate:
                self._relate(progress, (options or IngestOptions()).join)
        return report

    def relate(self, on_progress: OnProgress | None = None, join: JoinMethod = "auto") -> None:
        """Compare whatever is new since images were compared last; done at once where nothing is.

        Args:
            on_progress: is told how far it is.
            join: as in `IngestOptions`.

        Raises:
            DatasetLocked: another process writes.
            DatasetReadOnly, StorageFull: the folder cannot be written.
        """
        with self._writing():
            self._relate(on_progress or _ignore, join)

    @property
    def join(self) -> dict[str, Any] | None:
        """How pairs were found and the recall that was measured; None where all were compared."""
        stored = self._catalog.meta(relations.JOIN, "")
        return json.loads(stored) if stored else None

    @property
    def related(self) -> bool:
        """True if nothing was added or removed since images were compared."""
        with self._catalog.reading():
            return len(self) == 0 or self._catalog.meta("related", "") == self._catalog.meta("generation")

    def remove(self, ids: Sequence[str]) -> None:
        """Forget images; their files stay where they are.

        Raises:
            InvalidValue: no such image.
        """
        for id_ in ids:
            self.snapshot().find(id_)
        with self._writing():
            rows = self._catalog.rows_of(ids)
            with self._catalog.transaction():
                self._catalog.remove_images(ids)
                self._catalog.next_generation()
            for id_, row in rows.items():
                self._previews.remove(row, id_)
            self._relate(_ignore)

    def reject(self, a: str, b: str) -> None:
        """Remember that two images are not duplicates of each other, whatever their similarity.

        Raises:
            InvalidValue: no such image, or one image twice.
        """
        self.reject_pairs([(a, b)])

    def reject_pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Remember several pairs of images that are not duplicates of each other: all of them, or none.

        Raises:
            InvalidValue: no such image, or one image twice.
        """
        for a, b in pairs:
            if self.snapshot().find(a).id == self.snapshot().find(b).id:
                raise InvalidValue(f"an image cannot be rejected as a duplicate of itself: {a}")
        with self._deciding():
            self._catalog.reject(pairs)

    def unreject(self, a: str, b: str) -> None:
        """Forget a rejection."""
        self.unreject_pairs([(a, b)])

    def unreject_pairs(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Forget several rejections."""
        with self._deciding():
            self._catalog.unreject(pairs)

    def keep(self, ids: Sequence[str]) -> None:
        """Remember images to keep: each comes before all other images of its cluster, whatever the rules.

        Like a rejection, that holds when their files move or change, and when they are indexed again.

        Raises:
            InvalidValue: no such image.
        """
        for id_ in ids:
            self.snapshot().find(id_)
        with self._deciding():
            self._catalog.keep(ids)

    def unkeep(self, ids: Sequence[str]) -> None:
        """Forget that images are to be kept.

        Raises:
            InvalidValue: no such image.
        """
        for id_ in ids:
            self.snapshot().find(id_)
        with self._deciding():
            self._catalog.unkeep(ids)

    def resolve(self, name: str) -> str:
        """The id of an image that is named by its id or by its path.

        Raises:
            InvalidValue: no such image.
        """
        if name in self.snapshot().position:
            return name
        path = os.path.abspath(name)
        for image in self.snapshot().images:
            if image.path in (path, name):
                return image.id
        raise InvalidValue(f"{name} is neither the id nor the path of an image in {self.folder}")

    @property
    def kept_from(self) -> float:
        """All pairs at or above this similarity are kept; a lower threshold costs a join."""
        return float(self._catalog.meta("kept_from"))

    @property
    def isolation(self) -> float:
        """The b of the uniqueness formula: the model's, else as measured on this dataset, else the prior."""
        return isolation_of(self._catalog, self.description)

    # -- answers ------------------------------------------------------------------------------

    @property
    def default_threshold(self) -> float:
        """The default operating point: as calibrated on this dataset, else the model's."""
        return self.description.points.default

    @property
    def threshold_source(self) -> str:
        """Where the default threshold comes from, in a few words."""
        calibration = self.calibration
        if calibration is None or not self.description.points.measured:
            measured = "" if self.description.points.measured else ", uncalibrated"
            return f"model {self.description.name}{measured}"
        level = calibration.levels[list(LEVELS).index("default")]
        if level.threshold is None:
            return (
                f"the stricter of model and calibration, as {level.precision:.0%} precision was not reached"
            )
        return (
            f"calibrated on {calibration.sample:,} images on {calibration.made[:10]}, "
            f"{level.precision:.0%} precision"
        )

    def calibrate(
        self, *, sample: int = DEFAULT_SAMPLE, seed: int = 0, on_progress: OnProgress | None = None
    ) -> Calibration:
        """Measure thresholds for 99, 95 and 90 % precision on edits of the dataset's own images.

        Nothing is stored: `keep_calibration` does that.

        Args:
            sample: how many images are edited.
            seed: of sample and edits; the same one gives the same thresholds.
            on_progress: is told how far it is.

        Raises:
            InvalidValue: a sample that is not served, or too few images that can be used.
            ModelError: the pinned model cannot be had, or is another one now.
        """
        from twinlens.engine.calibrate import calibrate

        return calibrate(
            self.snapshot(),
            self.embedder,
            sample=sample,
            seed=seed,
            shape=self.shape,
            strict=self._model_points.strict,
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            on_progress=on_progress or _ignore,
        )

    def keep_calibration(self, calibration: Calibration) -> None:
        """Store a calibration with the dataset: from now on its thresholds are the defaults.

        Raises:
            ModelMismatch: it was measured with another model.
            DatasetLocked: another process writes.
            DatasetReadOnly, StorageFull: the folder cannot be written.
        """
        if calibration.fingerprint != self.description.fingerprint:
            raise ModelMismatch(
                f"{self.folder} holds vectors of {_model(self.description)}, the calibration is of "
                f"{calibration.model} ({calibration.fingerprint[:12]}): calibrate this dataset"
            )
        with self._writing():
            write_calibration(self.folder, calibration)
        self._read_calibration()

    def forget_calibration(self) -> bool:
        """Drop the calibration: the model's thresholds are the defaults again. False if there was none.

        Raises:
            DatasetLocked: another process writes.
            DatasetReadOnly: the folder cannot be written.
        """
        with self._writing():
            there = forget_calibration(self.folder)
        self._read_calibration()
        return there

    def duplicates(
        self,
        threshold: float | None = None,
        *,
        linkage: Linkage | str = Linkage.COMPLETE,
        rules: Sequence[str] = DEFAULT_RULES,
        evidence: EvidenceMode | str = EvidenceMode.EMBEDDING,
        max_pairs: int = MAX_PAIRS,
    ) -> list[Cluster]:
        """Clusters of twins, largest first.

        Args:
            threshold: in (0, 1]; the model's default if None. Hashes have a range of their own: with
                them alone there is no threshold to choose.
            linkage: complete, star or single.
            rules: which copy is kept, the first rule decides first.
            evidence: embedding; hash; or any, to let near-equal hashes count as well.
            max_pairs: refuse thresholds with more pairs than this.

        Raises:
            InvalidValue: a threshold, linkage or rule that is not served.
            TooManyPairs: so low a threshold that its pairs explode.
        """
        chosen = self.threshold_of(threshold, evidence)
        snapshot = self._with_evidence(EvidenceMode(evidence))
        with self._catalog.reading():
            return duplicates.find_clusters(snapshot, chosen, Linkage(linkage), rules, max_pairs=max_pairs)

    def pairs(
        self, threshold: float | None = None, evidence: EvidenceMode | str = EvidenceMode.EMBEDDING
    ) -> Iterator[Pair]:
        """Every pair of images that some evidence makes twins at a threshold, once, streamed."""
        chosen = self.threshold_of(threshold, evidence)
        return duplicates.iterate_pairs(self._with_evidence(EvidenceMode(evidence)), chosen)

    def count_pairs(
        self, threshold: float | None = None, evidence: EvidenceMode | str = EvidenceMode.EMBEDDING
    ) -> int:
        """How many pairs `pairs` yields."""
        chosen = self.threshold_of(threshold, evidence)
        return duplicates.count_pairs(self._with_evidence(EvidenceMode(evidence)), chosen)

    def refuse_too_many_pairs(self, threshold: float, limit: int) -> None:
        """Refuse a threshold with more pairs of images than `limit`; below the kept pairs, as estimated.

        Raises:
            TooManyPairs: naming the lowest threshold that is served.
            InvalidValue: copies alone make more pairs, so that no threshold helps.
        """
        duplicates.refuse_too_many_pairs(self.snapshot(), self._checked(threshold), limit)

    def threshold_of(
        self, threshold: float | None, evidence: EvidenceMode | str = EvidenceMode.EMBEDDING
    ) -> float:
        """The threshold that a question is answered at: the given one, else what the evidence has.

        Raises:
            InvalidValue: outside (0, 1], no such evidence, or a threshold for hashes alone.
        """
        modes = [mode.value for mode in EvidenceMode]
        if evidence not in modes:
            raise InvalidValue(f"no evidence is named {str(evidence)!r}: choose from {', '.join(modes)}")
        if evidence != EvidenceMode.HASH:
            return self._checked(threshold)
        if threshold not in (None, 1.0):
            raise InvalidValue(
                f"threshold {threshold:g} is of similarities, and hashes have a range of their own: leave it "
                "out, or ask for the evidence any"
            )
        return 1.0

    def uniqueness(self) -> list[Uniqueness]:
        """How unique each image is: most unique first, images without a score last, ties by id."""
        with self._catalog.reading():
            return score_images(self.snapshot())

    def search(
        self,
        *,
        image: str | Path | bytes | None = None,
        text: str | None = None,
        id: str | None = None,
        k: int = 10,
    ) -> list[Neighbour]:
        """The k images most similar to an image, a text or an image of the dataset, most similar first.

        An image of the dataset is not its own neighbour; low-information images are nobody's.

        Raises:
            InvalidValue: not exactly one query, an unknown id, or k below 1.
            DecodeError: the query image cannot be read.
            TextNotSupported: the model takes images only.
        """
        if sum(query is not None for query in (image, text, id)) != 1:
            raise InvalidValue("give exactly one of image, text and id")
        if k < 1:
            raise InvalidValue(f"k is {k}, and must be 1 or more")
        snapshot = self.snapshot()
        index = self._index_of(snapshot)
        if id is not None:
            return search.by_id(snapshot, index, id, k)
        if image is not None:
            probe = probe_image(snapshot, self.embedder, image)
        else:
            (probe,) = search.probe_texts(self.embedder(), [text or ""])
        return search.by_probe(snapshot, index, probe, k)

    def _index_of(self, snapshot: Snapshot) -> Index:
        """The search index, opened for the first search in a generation and kept for those that follow."""
        if self._searched is None or self._searched[0] is not snapshot:
            self._searched = None
            index = search.open_index(snapshot.rows, self.description.fingerprint, self.folder)
            self._searched = snapshot, index
        return self._searched[1]

    @property
    def search_recall(self) -> float | None:
        """Of the 10 most similar images, the share that `search` finds, as measured; 1 is exact.

        None while there is no index.
        """
        return stated_recall(self.folder / search.INDEX_FILE)

    def explain(
        self, a: str, b: str, threshold: float | None = None, *, linkage: Linkage | str = Linkage.COMPLETE
    ) -> Explanation:
        """Why two images (by id) are together or apart at a threshold."""
        clusters = self.duplicates(threshold, linkage=linkage)
        return explain_pair(self.snapshot(), a, b, self._checked(threshold), Linkage(linkage), clusters)

    # -- inside -------------------------------------------------------------------------------

    @property
    def shape(self) -> int:
        """Images embedded in one call; pinned, since it may change the last bits of a vector."""
        return int(self._catalog.meta("shape"))

    def embedder(self) -> Embedder:
        """The pinned model, loaded when first needed.

        Raises:
            ModelError: it cannot be had.
            ModelMismatch: what goes by its name now gives other vectors.
        """
        if self._embedder is None:
            if self._models is None:
                raise ModelMismatch(
                    f"{self.folder} was opened without a way to load model {self.description.name}"
                )
            embedder = self._models(self.description.name)
            if embedder.description.fingerprint != self.description.fingerprint:
                raise ModelMismatch(
                    f"{self.folder} holds vectors of {_model(self.description)}, "
                    f"what loads now is {_model(embedder.description)}: they cannot be compared"
                )
            self._embedder = embedder
        return self._embedder

    def _read_calibration(self) -> None:
        found = read_calibration(self.folder, self.description.fingerprint)
        self.calibration = found if isinstance(found, Calibration) else None
        self.calibration_ignored = found.reason if isinstance(found, Ignored) else None
        points = self.calibration.points(self._model_points) if self.calibration else self._model_points
        self.description = replace(self.description, points=points)
        self._snapshot = None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not is_writable(self.folder):
            raise DatasetReadOnly(f"the dataset in {self.folder} cannot be written")
        self._lock.acquire()
        try:
            self._vectors.truncate(int(self._catalog.meta("rows")))
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _deciding(self) -> Iterator[None]:
        """One change of what is answered that leaves what was compared as it is."""
        with self._writing(), self._catalog.transaction():
            related = self.related
            yield
            self._catalog.next_generation()
            if related:
                self._catalog.set_meta("related", self._catalog.meta("generation"))

    def _relate(self, progress: OnProgress, join: JoinMethod = "auto") -> None:
        progress(Progress("compare", 0, 1))
        if self._catalog.meta("related", "") == self._catalog.meta("generation"):
            progress(Progress("compare", 1, 1))
            return
        rows = self._vectors.rows(int(self._catalog.meta("rows")))

        def tell(plan: JoinPlan) -> None:
            progress(Progress("compare", 0, 1, note=f"comparing {plan}"))

        relations.update(self._catalog, rows, self.description, self._device, join, tell)
        establish_pixels(self._catalog, DecodeLimits(), usable_cores())
        progress(Progress("compare", 1, 1))
        search.open_index(rows, self.description.fingerprint, self.folder)
        with self._catalog.transaction():
            # Written last: a run that was killed on the way compares again, an idle one does not.
            self._catalog.set_meta("related", self._catalog.meta("generation"))

    def _with_evidence(self, mode: EvidenceMode) -> Snapshot:
        """The snapshot, with hash links where they were asked for."""
        if mode is EvidenceMode.EMBEDDING:
            return self.snapshot()
        if is_writable(self.folder):
            with self._writing():
                establish_hashes(self._catalog, DecodeLimits())
        snapshot = self.snapshot()
        return replace(snapshot, linked=frozenset(linked_units(snapshot)))

    def _checked(self, threshold: float | None) -> float:
        value = self.default_threshold if threshold is None else threshold
        if not 0.0 < value <= 1.0:
            raise InvalidValue(f"threshold is {value}, and must be above 0 and at most 1")
        return value


def _make(folder: Path, description: ModelDescription, namespace: str | None, meta: dict[str, str]) -> None:
    if catalog_path(folder).exists():
        raise DatasetExists(f"{folder} holds a dataset already: open it, or choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetReadOnly(f"{folder} cannot be made: {error.strerror}") from error
    with storage_errors(folder):
        VectorFile.create(folder / "vectors.f16", description.dim, description.fingerprint)
    Catalog.create(
        folder,
        {
            "model": description.to_json(),
            "fingerprint": description.fingerprint,
            "namespace": str(uuid.uuid5(_NAMESPACE, namespace) if namespace else uuid.uuid4()),
            "rows": "0",
            "generation": "0",
            "kept_from": str(description.floor),
            **meta,
        },
    ).close()


def _own_vectors(name: str, dim: int) -> ModelDescription:
    return ModelDescription(
        name=name,
        revision="own vectors",
        dim=dim,
        preprocess="{}",
        decode=DecodePolicy(),
        licence="",
        text_capable=False,
        isolation=None,
        points=_UNCALIBRATED,
        floor=_VECTOR_FLOOR,
        weights_digest="",
    )


def _as_stored(vectors: NDArray[np.floating]) -> NDArray[np.float16]:
    units = unit_rows(vectors)
    if vectors.dtype == np.float16:
        return vectors.astype(np.float16)
    lengths = np.linalg.norm(vectors, axis=1)
    return np.where(np.abs(lengths - 1.0)[:, None] < _ABOUT_UNIT, vectors, units).astype(np.float16)


def _vector_record(id_: str, row: int) -> NewImage:
    return NewImage(
        id=id_,
        row=row,
        source=None,
        relative=id_.encode(),
        size=0,
        mtime_ns=0,
        digest=None,
        pixel_digest=None,
        width=0,
        height=0,
        format="",
        exif_tags=0,
        sharpness=0.0,
        contrast=0.0,
        brightness=0.0,
        signature=None,
        low_information=False,
        bmh1=None,
        phash=None,
    )


def _model(description: ModelDescription) -> str:
    return f"{description.name} ({description.fingerprint[:12]})"


def _ignore(progress: Progress) -> None:
    """Nobody watches."""
