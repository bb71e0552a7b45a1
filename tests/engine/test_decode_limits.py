"""What hostile files cost: milliseconds and no memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broken import INDEXED, make_broken
from tests.encoders import TiffTags, tiff_directory
from twinlens.engine.decode import decode
from twinlens.engine.errors import DecodeError

MEASURE = """
import json, resource, sys, time, warnings
from twinlens.engine.decode import DecodeError, decode
warnings.simplefilter("error")
decode(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
try:
    reason = decode(sys.argv[2]) and "indexed"
except DecodeError as error:
    reason = error.reason
seconds = time.perf_counter() - start
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps([reason, seconds, grown]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bombs")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[bytes, str]:
    return make_broken(folder)


PROMISES = ["bomb.png", "bomb.jpg", "bomb.webp", "bomb.gif", "bomb.bmp", "bomb.tif", "bomb_tile.tif"]
OTHERS = ["bomb_strips.tif", "bomb_text.png", "bomb_profile.png", "scans.jpg"]


@pytest.mark.parametrize("name", PROMISES + OTHERS)
def test_a_bomb_costs_nothing(folder: Path, expected: dict[bytes, str], name: str) -> None:
    harmless = folder / ("jpeg.png" if name.endswith("png") else "junk_behind.jpg")
    command = [sys.executable, "-c", MEASURE, str(harmless), str(folder / name)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    reason, seconds, grown_kib = json.loads(run.stdout)
    words = expected[name.encode()]
    assert words in reason
    assert words == INDEXED or reason.endswith(("raise max_pixels", "export it again"))
    assert seconds < 0.5
    assert grown_kib < 20_000


def test_a_tiff_with_millions_of_offsets_is_not_unpacked() -> None:
    strips = 4_000_000
    tags: TiffTags = {256: (4, [1]), 257: (4, [strips]), 258: (3, [8]), 262: (3, [1]), 278: (4, [1])}
    head = b"II*\0" + (8).to_bytes(4, "little")
    data = head + tiff_directory("<", tags | {273: (4, [8] * strips)}, 8)
    start = time.perf_counter()
    with pytest.raises(DecodeError, match="more than any real file"):
        decode(data)
    assert time.perf_counter() - start < 0.1
