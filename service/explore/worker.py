"""The process that indexes: `python -m twinlens.service.explore.worker`, started by the server's supervisor.

Its first line on standard input says what to do, as JSON; what it has to say goes to standard output, one
JSON object a line. When its input ends, the server is gone, and so is the process: what it had committed
stays, and the next start goes on from there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

_NICENESS = 10
_SECONDS_BETWEEN_REPORTS = 0.25
_SECONDS_FOR_THE_LOCK = 15.0
_NAMED_FAILURES = 3
NO_ROOM = "no room is left on the disk of the server: free some, and a POST to .../reindex goes on"
"""What clients are told, who need not know where the server keeps what it has."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done.

    Attributes:
        folder: the dataset folder; made if there is no dataset in it.
        sources: folders of images.
        model: of a new dataset.
        device: where it runs.
        compare: compare what was added.
        max_bytes, max_pixels: of one image.
    """

    folder: str
    sources: tuple[str, ...]
    model: str
    device: str
    compare: bool
    max_bytes: int
    max_pixels: int

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Order:
        """Read what `to_json` wrote."""
        fields = json.loads(line)
        return cls(**fields | {"sources": tuple(fields["sources"])})


def main() -> int:
    """Follow one order."""
    os.nice(_NICENESS)
    order = Order.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    from twinlens.engine.errors import StorageFull, TwinLensError

    try:
        _say(done=_follow(order))
    except StorageFull:
        _say(failed=NO_ROOM)
        return 1
    except TwinLensError as error:
        _say(failed=str(error))
        return 1
    except Exception as error:
        traceback.print_exc()
        _say(failed=f"{type(error).__name__}: {error}")
        return 1
    return 0


def _follow(order: Order) -> dict[str, int]:
    # Imported late: a server that is gone is noticed while torch loads.
    from twinlens.engine.dataset import Dataset
    from twinlens.engine.decode import DecodeLimits
    from twinlens.engine.errors import InvalidValue
    from twinlens.engine.ingest import IngestOptions, Progress
    from twinlens.models import resolve_auto
    from twinlens.service.wiring import create_dataset, has_dataset, open_dataset

    folder = Path(order.folder)
    if has_dataset(folder):
        data = open_dataset(folder, device=order.device)
    else:
        model = resolve_auto().name if order.model == "auto" else order.model
        data = create_dataset(folder, model, device=order.device)
    # Archives that clients send are unpacked within limits of their own; those in them are files like others.
    options = IngestOptions(
        limits=DecodeLimits(max_bytes=order.max_bytes, max_pixels=order.max_pixels), shards=False
    )
    last = 0.0

    def report(progress: Progress, source: int = 0, sources: int = 1) -> None:
        nonlocal last
        moment = time.monotonic()
        if moment - last >= _SECONDS_BETWEEN_REPORTS or progress.done in (0, progress.total):
            last = moment
            share = progress.done / progress.total if progress.total else 1.0
            _say(progress={"stage": progress.stage, "share": (source + share) / sources})

    with data:

        def work(dataset: Dataset) -> None:
            for number, source in enumerate(order.sources):
                told = partial(report, source=number, sources=len(order.sources))
                dataset.add(source, options, told, relate=False)
            if order.compare:
                dataset.relate(report)

        _when_unlocked(work, data)
        failures = data.failures()
        if not len(data):
            raise InvalidValue(_nothing(failures))
        return {"images": len(data), "failures": len(failures)}


def _when_unlocked(work: Any, data: Any) -> None:
    """Wait for the process of a killed server: it ends as soon as it sees that its server is gone."""
    from twinlens.engine.errors import DatasetLocked

    until = time.monotonic() + _SECONDS_FOR_THE_LOCK
    while True:
        try:
            work(data)
            return
        except DatasetLocked:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _nothing(failures: Any) -> str:
    if not failures:
        return "it holds no image: upload JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF files"
    named = "; ".join(
        f"{os.path.basename(failure.path)}: {failure.reason}" for failure in failures[:_NAMED_FAILURES]
    )
    return f"none of its {len(failures)} files could be read: {named}"


def _say(**message: Any) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _end_with_the_server() -> None:
    while os.read(sys.stdin.fileno(), 1 << 16):
        pass
    os._exit(1)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Everything is on disk. Python's own end would abort on the thread that still reads standard input.
    os._exit(code)
