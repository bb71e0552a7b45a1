"""Clients of `/api/v1`: they sign their own JWTs and make datasets in the four documented calls."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import httpx
import jwt
import numpy as np
from numpy.typing import NDArray

from tests.servers import RunningServer, running_server
from twinlens.engine.dataset import Dataset
from twinlens.service.keys import KeyStore, NewKey

PREFIX = "/api/v1"
FILES_A_REQUEST = 50
"""As the documented client uploads them."""

JsonObject: TypeAlias = dict[str, Any]
Vql: TypeAlias = Sequence[Mapping[str, Any]]


def jwt_of(key: NewKey, **changes: Any) -> str:
    """A JWT as the documented client makes it, good for ten minutes; a claim changed to None is left out."""
    now = int(time.time())
    claims = {"sub": key.api_key, "iat": now, "exp": now + 600, "iss": "sdk"} | changes
    held = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(held, key.api_secret, algorithm="HS256", headers={"kid": key.api_key})


def refusal(response: httpx.Response, code: int) -> str:
    """The one sentence that a refused request is answered with."""
    assert response.status_code == code, f"{response.status_code}: {response.text[:500]}"
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["detail"] and isinstance(body["detail"], str) and body["detail"], body
    return str(body["detail"])


def names(cluster: JsonObject) -> list[str]:
    """File names of the previews of a cluster."""
    return [preview["file_name"] for preview in cluster["previews"]]


def all_names(answer: JsonObject) -> list[set[str]]:
    """File names of the previews of each cluster of an answer."""
    return [set(names(cluster)) for cluster in answer["clusters"]]


class Client:
    """Speaks to one server with one key; without a key it sends none. To be used in a `with` block.

    Args:
        url: of the server.
        key: signs a new JWT for each request.
    """

    def __init__(self, url: str, key: NewKey | None = None) -> None:
        self.url = url
        self.key = key
        # Without `verify=False` the machine's certificates are read, which takes longer than most calls.
        self._http = httpx.Client(base_url=url + PREFIX, timeout=120, verify=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # -- verbs --------------------------------------------------------------------------------

    def request(self, verb: str, path: str, /, **options: Any) -> httpx.Response:
        """Call `/api/v1` + path; options as those of httpx."""
        signed = {"Authorization": f"Bearer {jwt_of(self.key)}"} if self.key else {}
        headers = signed | dict(options.pop("headers", {}))
        return self._http.request(verb, path, headers=headers, **options)

    def get(self, path: str, /, **params: Any) -> httpx.Response:
        """GET with these parameters in the URL."""
        return self.request("GET", path, params=params or None)

    def post(self, path: str, /, **options: Any) -> httpx.Response:
        """POST; options as those of httpx."""
        return self.request("POST", path, **options)

    def put(self, path: str, /, **options: Any) -> httpx.Response:
        """PUT; options as those of httpx."""
        return self.request("PUT", path, **options)

    def delete(self, path: str, /, **options: Any) -> httpx.Response:
        """DELETE; options as those of httpx."""
        return self.request("DELETE", path, **options)

    def json(self, path: str, /, **params: Any) -> Any:
        """What GET answers with 200."""
        return done(self.get(path, **params)).json()

    # -- datasets -----------------------------------------------------------------------------

    def new_dataset(self, name: str = "photographs") -> str:
        """Begin a dataset; its id."""
        created = self.json("/ingestion/new_dataset", dataset_name=name)
        return str(created["dataset_id"])

    def begin(self, dataset: str) -> int:
        """Begin a transaction; its number."""
        number: int = self.json(f"/ingestion/{dataset}/data_files")["trans_id"]
        return number

    def upload(self, dataset: str, transaction: int, files: Mapping[str, bytes]) -> None:
        """Upload files, some in each request."""
        listed = list(files.items())
        for start in range(0, len(listed), FILES_A_REQUEST):
            form = [("files", file) for file in listed[start : start + FILES_A_REQUEST]]
            sent = self.post(f"/ingestion/{dataset}/data_files/{transaction}", files=form)
            assert sent.status_code == 202, sent.text

    def process(self, dataset: str, transaction: int) -> None:
        """Have a transaction indexed."""
        sent = self.post(f"/ingestion/{dataset}/process_files/{transaction}")
        assert sent.status_code == 202, sent.text

    def status(self, dataset: str) -> JsonObject:
        """State of a dataset."""
        state: JsonObject = self.json(f"/dataset/{dataset}")
        return state

    def wait_ready(self, dataset: str, *, until: str = "READY", seconds: float = 240) -> JsonObject:
        """State of a dataset when it is READY, or in another state that is waited for.

        Raises:
            AssertionError: it failed, or it took longer.
        """
        deadline = time.monotonic() + seconds
        while (state := self.status(dataset))["status_new"] != until:
            assert state["status_new"] != "ERROR", state
            assert time.monotonic() < deadline, f"after {seconds} s: {state}"
            time.sleep(0.05)
        return state

    def make_dataset(self, files: Mapping[str, bytes], name: str = "photographs") -> str:
        """A READY dataset of files, by the four documented calls; its id."""
        dataset = self.new_dataset(name)
        transaction = self.begin(dataset)
        self.upload(dataset, transaction, files)
        self.process(dataset, transaction)
        self.wait_ready(dataset)
        return dataset

    # -- questions ----------------------------------------------------------------------------

    def ask(self, dataset: str, vql: Vql | str | None = None, **params: Any) -> httpx.Response:
        """Ask explore; the VQL may be text that is none."""
        sent = {} if vql is None else {"vql": vql if isinstance(vql, str) else json.dumps(list(vql))}
        return self.get(f"/explore/{dataset}", **sent, **params)

    def explore(self, dataset: str, vql: Vql | str | None = None, **params: Any) -> JsonObject:
        """What explore answers with 200."""
        answer: JsonObject = done(self.ask(dataset, vql, **params)).json()
        return answer

    def ids(self, dataset: str) -> dict[str, str]:
        """Media ids of all images by their names."""
        lines = done(self.get(f"/dataset/{dataset}/export_media_id")).text.splitlines()
        return dict(line.rsplit(",", 1) for line in lines[1:])


def done(response: httpx.Response) -> httpx.Response:
    """See that a request was answered with 200."""
    assert response.status_code == 200, f"{response.status_code}: {response.text[:500]}"
    return response


# -- filters of VQL --------------------------------------------------------------------------------


def duplicates(value: Any) -> JsonObject:
    return {"duplicates": {"op": "duplicates", "value": value}}


def uniqueness(value: Any) -> JsonObject:
    return {"uniqueness": {"op": "uniqueness", "value": value}}


def labels(*values: str, op: str = "one_of") -> JsonObject:
    return {"labels": {"op": op, "value": list(values)}}


def tags(*ids: str) -> JsonObject:
    return {"tags": {"op": "is", "value": list(ids)}}


def issue(name: str, **extras: Any) -> JsonObject:
    return {"issues": {"op": "issue", "value": name, **extras}}


def text(value: str, op: str = "semantic", **extras: Any) -> JsonObject:
    return {"text": {"op": op, "value": value, **extras}}


# -- servers ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lab:
    """A server with two keys and a dataset.

    Attributes:
        server: it runs.
        ann: owns the dataset.
        bob: has another key.
        dataset: id of the dataset, which is READY.
    """

    server: RunningServer
    ann: Client
    bob: Client
    dataset: str

    @property
    def folder(self) -> Path:
        """Where the dataset is, if it was made over REST."""
        return self.server.home / "datasets" / self.dataset / "index"


@contextmanager
def two_keys(home: Path) -> Iterator[tuple[NewKey, NewKey]]:
    """Keys named ann and bob, of the server that runs there or will."""
    with closing(KeyStore(home)) as store:
        yield store.create("ann"), store.create("bob")


Running: TypeAlias = tuple[RunningServer, Client, Client]
"""A server, and clients with the keys ann and bob."""


@contextmanager
def laboratory(home: Path, *options: str, **settings: object) -> Iterator[Running]:
    """A server with the keys ann and bob; options and settings as `running_server` takes them."""
    settings = {"model": "efficientnet_lite0", **settings}
    with (
        two_keys(home) as (ann, bob),
        running_server(home, *options, **settings) as server,
        Client(server.url, ann) as anns,
        Client(server.url, bob) as bobs,
    ):
        yield server, anns, bobs


@contextmanager
def mounted(
    folder: Path, ids: Sequence[str], rows: NDArray[np.floating[Any]], **settings: object
) -> Iterator[Lab]:
    """A server for a dataset of vectors made on the command line, which belongs to ann."""
    Dataset.from_vectors(ids, rows, name="vectors", folder=folder / "vectors", device="cpu").close()
    options = ("--dataset", str(folder / "vectors"), "--owner", "ann")
    with laboratory(folder / "home", *options, **settings) as (server, ann, bob):
        (dataset,) = ann.json("/datasets")
        yield Lab(server, ann, bob, dataset["id"])
