"""What made-up requests to `/api/v1` can hit: datasets with images, clusters, tags and exports."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from tests.explore import Client, done, jwt_of
from tests.models.checkpoints import save_folder_of
from tests.pictures import encode, picture
from tests.servers import RunningServer, running_server
from twinlens.engine.dataset import Dataset
from twinlens.models import load_model
from twinlens.service.keys import KeyStore, NewKey

SECONDS = 2 * 3600
"""How long the JWT of a run is good for."""


@dataclass(frozen=True)
class Place:
    """A dataset.

    Attributes:
        id: of the dataset.
        media, clusters, tags, exports: ids in it.
        transaction: open, of a dataset that takes uploads; 0 where there is none.
        signed: query parameters of signed URLs, by path.
    """

    id: str
    media: list[str]
    clusters: list[str]
    tags: list[str]
    exports: list[str]
    transaction: int
    signed: dict[str, dict[str, str]]


@dataclass(frozen=True)
class World:
    """What a run knows of its server.

    Attributes:
        url: of the server.
        bearer: JWT of the owner of all datasets; "" on a server without keys.
        token: the same key as image matching takes it.
        places: datasets that are READY and stay; all but the first hold pictures.
        intake: the one among them that takes uploads.
        folder: may be indexed by the server.
    """

    url: str
    bearer: str
    token: str
    places: list[Place]
    intake: Place
    folder: str

    def save(self, path: Path) -> None:
        """Write it for the process that makes requests up."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> World:
        """Read what `save` wrote."""
        held = json.loads(path.read_text())
        held["places"] = [Place(**each) for each in held["places"]]
        return cls(**{**held, "intake": Place(**held["intake"])})


@contextmanager
def fuzzed_server(home: Path, *, keys: bool, **settings: object) -> Iterator[tuple[RunningServer, World]]:
    """A server with a dataset of vectors and one of pictures made on the command line, and an uploaded one.

    Args:
        home: a folder for all of it.
        keys: True if it asks for a key.
        settings: of the server.
    """
    # A small model that takes texts.
    model = f"local-dir:{save_folder_of('twinlens-vit', home / 'weights')}"
    folder = home / "pictures"
    folder.mkdir()
    for name, data in PICTURES.items():
        (folder / name).write_bytes(data)
    mounts = _make_vectors(home / "vectors"), _make_index(home / "index", folder, model)
    key = _make_keys(home / "server") if keys else None
    options = ["--allow-root", str(folder), *(["--owner", "fuzz"] if keys else ())]
    options += [option for mount in mounts for option in ("--dataset", str(mount))]
    given = {"model": model, "device": "cpu", "workers": 2, "url_seconds": 2, **settings}
    with running_server(home / "server", *options, **given) as server, Client(server.url, key) as client:
        yield server, _world(server, client, key, folder)


PICTURES = {f"{seed}.png": encode(picture(seed=seed % 6), "PNG") for seed in range(8)}
LABELS = b"filename,label,caption\n0.png,even,a picture with a number\n1.png,odd,\n"


def _make_keys(home: Path) -> NewKey:
    """The key that is shown, and one that datasets can be shared with."""
    with closing(KeyStore(home)) as store:
        store.create("viewer")
        return store.create("fuzz")


def _make_vectors(folder: Path) -> Path:
    """60 vectors, a third of them near another one; ids are UUIDs, as those of images."""
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(60, 32)).astype(np.float32)
    rows[40:] = rows[:20] + rng.normal(size=(20, 32)).astype(np.float32) * 0.02
    ids = [str(uuid.UUID(int=number, version=4)) for number in range(1, 61)]
    Dataset.from_vectors(ids, rows, name="vectors", folder=folder, device="cpu").close()
    return folder


def _make_index(folder: Path, images: Path, model: str) -> Path:
    with Dataset.create(folder, load_model(model, device="cpu"), namespace="pictures") as data:
        data.add(images)
    return folder


def _world(server: RunningServer, client: Client, key: NewKey | None, folder: Path) -> World:
    by_name = {each["display_name"]: each["id"] for each in client.json("/datasets")}
    uploaded = client.make_dataset({**PICTURES, "image_annotations.csv": LABELS})
    places = [_place(client, each) for each in (by_name["vectors"], by_name["index"], uploaded)]
    bearer = jwt_of(key, exp=int(time.time()) + SECONDS) if key else ""
    return World(server.url, bearer, key.token if key else "", places, places[-1], str(folder))


def _place(client: Client, dataset: str) -> Place:
    media = list(client.ids(dataset).values())
    clusters = [
        each["cluster_id"]
        for answer in (client.explore(dataset), client.explore(dataset, duplicate_threshold=0.9))
        for each in answer["clusters"][:10]
    ]
    tag = done(client.post(f"/dataset/{dataset}/tags", json={"name": "kept"})).json()["id"]
    done(client.post(f"/dataset/{dataset}/tags/{tag}/media", json={"media_ids": media[:2]}))
    export = client.json(f"/dataset/{dataset}/export_context_async", file_name="all")["id"]
    urls = [_exported(client, dataset, export)]
    for each in client.explore(dataset)["clusters"][:3]:
        urls += [each["previews"][0][name] for name in ("media_uri", "media_thumb_uri")]
    mounted = client.status(dataset)["source_type"] == "LOCAL"
    return Place(
        id=dataset,
        media=media,
        clusters=clusters,
        tags=[tag],
        exports=[export],
        transaction=0 if mounted else client.begin(dataset),
        signed=dict(map(_split, urls)),
    )


def _exported(client: Client, dataset: str, export: str) -> str:
    """The URL of an export that is made."""
    until = time.monotonic() + 60
    while True:
        state = client.json(f"/dataset/{dataset}/export_status", export_task_id=export)
        if state["status"] == "COMPLETED":
            return str(state["download_uri"])
        assert state["status"] == "INIT" and time.monotonic() < until, state
        time.sleep(0.05)


def _split(url: str) -> tuple[str, dict[str, str]]:
    """Path and parameters of a URL."""
    parts = urlsplit(url)
    query: dict[str, Any] = parse_qs(parts.query)
    return parts.path, {name: values[0] for name, values in query.items()}
