"""Measure searches by an image beside the bare model, and write their part of docs/benchmarks.md.

One query: what `Dataset.search` does until it knows what to search for, beside the decoder with the model's
policy and the network's forward of one image, in one process and on the same threads. Many clients: each
uploads 800 x 600 JPEGs of its own to a real server over HTTP, one after the other, beside what the same cores
decode alone and embed alone. A CLIP model of the size of ViT-B-32 gets random weights: they take as long.

usage: python -m scripts.bench_queries [--quick] [--models NAME ...]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from scripts.cuts import photographs_of
from scripts.load import Connection, run_together
from scripts.processes import cpu_seconds, processor
from tests.servers import RunningServer, running_server
from twinlens import __version__, create_dataset, load_model
from twinlens.engine.decode import DecodeLimits, decode
from twinlens.engine.embedding import embed_few, embed_padded
from twinlens.engine.probes import embed, glimpse
from twinlens.engine.similarity import unit_rows
from twinlens.models.embedder import TorchEmbedder

HEADING = "## Queries"
PHOTO = (800, 600)
PHOTOS = 256
MODELS = ("twinlens_copy512", "twinlens_fast512", "efficientnet_lite0")
CLIP = "ViT-B-32"
CLIENTS = (1, 8, 32)
CALL = 16
BOUNDARY = "twinlens-bench"

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--models", nargs="+", default=[*MODELS, CLIP])
    options = parser.parse_args()
    text, figures = queries_section(quick=options.quick, models=options.models)
    print(text)
    print(json.dumps(figures), file=sys.stderr)


def queries_section(
    *, quick: bool, models: Sequence[str] = (*MODELS, CLIP)
) -> tuple[str, dict[str, dict[str, Figures]]]:
    """Measure; this part of the page, and its figures by model."""
    photos = photographs_of(PHOTOS, PHOTO)
    figures: dict[str, dict[str, Figures]] = {}
    with tempfile.TemporaryDirectory(prefix="twinlens-bench-") as scratch:
        for name in models:
            model = name if name != CLIP else f"local-dir:{save_random_clip(Path(scratch) / 'clip')}"
            home = Path(scratch) / name
            figures[name] = {
                "one": one_query(model, photos, rounds=1 if quick else 5),
                **many_clients(model, photos, home, rounds=1 if quick else 3, seconds=3 if quick else 6),
            }
    return "\n".join(page(figures)), figures


def save_random_clip(folder: Path) -> Path:
    """A checkpoint of a CLIP model with random weights, as `local-dir:` takes it."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = open_clip.create_model(CLIP, load_weights=False)
    config = {"model_cfg": open_clip.get_model_config(CLIP), "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return folder


# -- one query -------------------------------------------------------------------------------------------


def one_query(model: str, photos: Sequence[bytes], rounds: int) -> Figures:
    """Milliseconds, medians over all images and rounds."""
    embedder = load_model(model, device="cpu")
    assert isinstance(embedder, TorchEmbedder)
    policy, limits = embedder.description.decode, DecodeLimits()
    prepared = embedder.prepare(decode(photos[0], policy=policy).rgb)
    pixels = torch.from_numpy(np.stack([prepared])).permute(0, 3, 1, 2)

    def bare(photo: bytes) -> None:
        decode(photo, policy=policy)
        with torch.inference_mode():
            embedder.features(pixels)

    def query(photo: bytes) -> None:
        embed(embedder, [glimpse(embedder, photo, limits)], most=1)

    def resized(photo: bytes) -> None:
        pixels = embedder.prepare(decode(photo, policy=policy).rgb)
        with torch.inference_mode():
            embedder.features(torch.from_numpy(np.stack([pixels])).permute(0, 3, 1, 2))

    contenders: dict[str, Callable[[bytes], object]] = {
        "bare": bare,
        "query": query,
        "resized": resized,
        "decode": lambda photo: decode(photo, policy=policy),
    }
    taken: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        # They take turns at every image: whatever disturbs one of them disturbs the next one too.
        for photo in photos[:32]:
            for name, contender in contenders.items():
                started = time.perf_counter()
                contender(photo)
                if number:
                    taken[name].append(1000 * (time.perf_counter() - started))
    medians = {name: statistics.median(each) for name, each in taken.items()}
    return medians | {
        "furthest": furthest(embedder, photos[:32]),
        "ratio": medians["query"] / medians["bare"],
        "ratio_resized": medians["query"] / medians["resized"],
        "threads": float(torch.get_num_threads()),
    }


def furthest(embedder: TorchEmbedder, photos: Sequence[bytes]) -> float:
    """How far similarities move when images are embedded one by one, and not as stored ones are."""
    policy = embedder.description.decode
    prepared = [embedder.prepare(decode(photo, policy=policy).rgb) for photo in photos]
    stored, alone = (
        unit_rows(rows.astype(np.float16))
        for rows in (embed_padded(embedder, prepared, CALL), embed_few(embedder, prepared, most=1))
    )
    return float(np.abs(alone @ stored.T - stored @ stored.T).max())


# -- many clients ----------------------------------------------------------------------------------------


class SearchingClient:
    """Uploads one image after another to search for."""

    def __init__(self, server: RunningServer, dataset: str, photos: Sequence[bytes]) -> None:
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        self.connection = Connection(f"{server.url}/api/v1", headers)
        self.images = 0
        self._path = f"dataset/{dataset}/search-image-similarity"
        self._bodies = [form(photo) for photo in photos]

    def call(self) -> None:
        """Send one request and see that it is answered with an anchor."""
        answer = json.loads(self.connection.post(self._path, self._bodies[self.images % len(self._bodies)]))
        assert answer["anchor_type"] == "UPLOAD", answer
        self.images += 1


def form(photo: bytes) -> bytes:
    head = 'Content-Disposition: form-data; name="file"; filename="query.jpg"\r\nContent-Type: image/jpeg'
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


def many_clients(
    model: str, photos: Sequence[bytes], home: Path, rounds: int, seconds: float
) -> dict[str, Figures]:
    """Images per second of the server and of its parts alone, and CPU milliseconds an image."""
    embedder = load_model(model, device="cpu")
    home.mkdir(parents=True)
    (home / "photos").mkdir()
    (home / "photos" / "one.jpg").write_bytes(photographs_of(PHOTOS + 1, PHOTO)[-1])
    with create_dataset(home / "data", model, device="cpu") as data:
        data.add(home / "photos")
    measured: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with running_server(home / "home", "--dataset", str(home / "data"), device="cpu") as server:
        dataset = httpx.get(f"{server.url}/api/v1/datasets", verify=False).json()[0]["id"]
        load_of(server, dataset, photos, 1, 1.0)
        for _ in range(rounds):
            measured["parts"]["decode"].append(decode_rate(embedder, photos))
            measured["parts"]["forward"].append(forward_rate(embedder, photos))
            for count in CLIENTS:
                for name, value in load_of(server, dataset, photos, count, seconds).items():
                    measured[f"{count} clients"][name].append(value)
    return {
        part: {name: statistics.median(values) for name, values in each.items()}
        for part, each in measured.items()
    }


def load_of(
    server: RunningServer, dataset: str, photos: Sequence[bytes], count: int, seconds: float
) -> Figures:
    callers = [SearchingClient(server, dataset, photos[number::count]) for number in range(count)]
    spent, own = cpu_seconds(server.process.pid), time.process_time()
    load = run_together(callers, seconds)
    if load.failure is not None:
        raise load.failure
    latencies = sorted(each for some in load.latencies.values() for each in some) or [0.0]
    return {
        "rate": load.images / load.seconds,
        "p50": 1000 * statistics.median(latencies),
        "p99": 1000 * latencies[min(len(latencies) - 1, int(0.99 * len(latencies)))],
        "server_cpu": 1000 * (cpu_seconds(server.process.pid) - spent) / load.images,
        "clients_cpu": 1000 * (time.process_time() - own) / load.images,
    }


def decode_rate(embedder: TorchEmbedder | Any, photos: Sequence[bytes]) -> float:
    """The bare decoder on all cores, images a second."""
    policy = embedder.description.decode
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = time.perf_counter()
        for _ in pool.map(lambda photo: decode(photo, policy=policy) and None, photos):
            pass
        return len(photos) / (time.perf_counter() - started)


def forward_rate(embedder: TorchEmbedder | Any, photos: Sequence[bytes]) -> float:
    """The bare forward in calls of 16, one core to each, images a second: faster than a call on all cores."""
    policy = embedder.description.decode
    prepared = [embedder.prepare(decode(photo, policy=policy).rgb) for photo in photos[:CALL]]
    workers = os.cpu_count() or 1
    calls = 4 * workers
    with ThreadPoolExecutor(workers, initializer=embedder.use_one_core) as pool:
        list(pool.map(lambda _: embedder.embed_prepared(prepared), range(workers)))
        started = time.perf_counter()
        list(pool.map(lambda _: embedder.embed_prepared(prepared), range(calls)))
        return calls * CALL / (time.perf_counter() - started)


# -- the page --------------------------------------------------------------------------------------------


def page(figures: dict[str, dict[str, Figures]]) -> Iterator[str]:
    yield f"{HEADING}\n"
    yield (
        f"Written by `python -m scripts.bench_queries` of TwinLens {__version__}: {processor()}, "
        f"{os.cpu_count()} cores, torch {torch.__version__}, Python {platform.python_version()}. "
        f"JPEGs of {PHOTO[0]} x {PHOTO[1]}; `{CLIP}` has random weights. Medians; what is compared took "
        "turns."
    )
    yield "\nOne query in one process, from the bytes of a file to what is searched for, in ms:\n"
    yield (
        "| model | bare decoder | bare decoder and forward | the same and the model's resizing | query "
        "| ratio to decoder and forward | with resizing | similarities differ from stored ones by |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, each in figures.items():
        one = each["one"]
        yield (
            f"| {name} | {one['decode']:.1f} | {one['bare']:.1f} | {one['resized']:.1f} | {one['query']:.1f} "
            f"| {one['ratio']:.2f} | {one['ratio_resized']:.2f} | {one['furthest']:.0e} |"
        )
    yield "\nClients that upload images to a server over HTTP, on the same cores, images per second:\n"
    yield (
        "| model | decoder alone | forward alone, calls of 16 | limit of both | "
        + " | ".join(f"{count} clients" for count in CLIENTS)
        + f" | {CLIENTS[-1]} clients: of the limit | of the forward |"
    )
    yield "|---|---|---|---|" + "---|" * len(CLIENTS) + "---|---|"
    for name, each in figures.items():
        decoded, forward = each["parts"]["decode"], each["parts"]["forward"]
        limit = 1 / (1 / decoded + 1 / forward)
        rates = [each[f"{count} clients"]["rate"] for count in CLIENTS]
        yield (
            f"| {name} | {decoded:.0f} | {forward:.0f} | {limit:.0f} | "
            + " | ".join(f"{rate:.0f}" for rate in rates)
            + f" | {rates[-1] / limit:.0%} | {rates[-1] / forward:.0%} |"
        )
    yield (
        "\nWhat one request takes: milliseconds, p50 / p99; with the most clients, CPU of the server, and of "
        "its clients beside it:\n"
    )
    yield (
        "| model | " + " | ".join(f"{count} clients" for count in CLIENTS) + " | server CPU | clients' CPU |"
    )
    yield "|---|" + "---|" * len(CLIENTS) + "---|---|"
    for name, each in figures.items():
        loads = [each[f"{count} clients"] for count in CLIENTS]
        yield (
            f"| {name} | "
            + " | ".join(f"{load['p50']:.0f} / {load['p99']:.0f}" for load in loads)
            + f" | {loads[-1]['server_cpu']:.1f} | {loads[-1]['clients_cpu']:.1f} |"
        )


if __name__ == "__main__":
    main()
