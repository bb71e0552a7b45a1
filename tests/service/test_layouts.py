"""WebDatasets in and out: 20 shards with a broken one, and what a plan keeps in the formats of others."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from scripts.make_demo import photographs
from tests.archives import Files, jpeg, save_tar
from tests.fakes import ColourGridEmbedder
from tests.service.test_cli import MODEL, twinlens
from twinlens.engine.dataset import Dataset
from twinlens.engine.errors import InvalidValue
from twinlens.service.cli_layouts import Layout
from twinlens.service.layouts import Written, export_choice
from twinlens.service.plans import read_choice

CUT, BAD = 11, 7


def members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


def sample(key: str, extension: str, data: bytes) -> Files:
    return [
        (f"{key}.{extension}", data),
        (f"{key}.json", b'{"key": "%b"}' % key.encode()),
        (f"{key}.cls", b"3"),
    ]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 shards of two samples: a photograph, and the same one in the shard after it; one cut, one bad."""
    folder = tmp_path_factory.mktemp("web") / "shards"
    chosen = sorted(photographs(), key=lambda path: path.stat().st_size)[:20]
    assert len(chosen) == 20
    for number in range(20):
        first, second = chosen[number], chosen[number - 1]
        data = b"this is no image" if number == BAD else first.read_bytes()
        files = [*sample(f"a{number:03}", first.suffix[1:], data)]
        files += sample(f"dir/b{number:03}.x", second.suffix[1:], second.read_bytes())
        save_tar(folder / f"train-{number:03}.tar", files)
    shard = folder / f"train-{CUT:03}.tar"
    shard.write_bytes(shard.read_bytes()[: -(len(shard.read_bytes()) // 4)])
    return folder


@pytest.fixture(scope="module")
def data(shards: Path) -> Path:
    folder = shards.parent / "data"
    report = json.loads(twinlens("index", shards, "--dataset", folder, "--model", MODEL, "--json"))
    assert (report["images"], len(report["failures"])) == (38, 2)
    return folder


@pytest.fixture(scope="module")
def plan(data: Path) -> Path:
    """Keeps the first copy of what has identical bytes, and removes the others."""
    first: dict[bytes | None, str] = {}
    removed: list[dict[str, Any]] = []
    with Dataset.open(data) as dataset:
        for image in sorted(dataset.images(), key=lambda image: image.path):
            twin = first.setdefault(image.digest, image.path)
            if twin != image.path:
                removed.append({"path": image.path, "twin": twin, "similarity": 1.0, "rule": "path"})
    path = data.parent / "plan.json"
    path.write_text(json.dumps({"keep": list(first.values()), "remove": removed}))
    return path


def export(
    data: Path, plan: Path | None, layout: Layout, to: Path, coco: Path | None = None, null: bool = False
) -> Written:
    with Dataset.open(data) as dataset:
        return export_choice(dataset, plan, layout, to, coco=coco, null=null)


def test_a_truncated_shard_and_a_bad_image_are_named_and_the_rest_is_indexed(
    shards: Path, data: Path
) -> None:
    out = twinlens("index", shards, "--dataset", data)
    assert "38 unchanged, 2 failed, 78 skipped" in out and "2 files could not be read" in out
    with Dataset.open(data) as dataset:
        reasons = {os.path.relpath(each.path, shards): each.reason for each in dataset.failures()}
        assert len(dataset) == 38
    (bad,) = set(reasons) - {f"train-{CUT:03}.tar"}
    assert bad.startswith(f"train-{BAD:03}.tar/a{BAD:03}.") and "it is text" in reasons[bad]
    assert f"inside dir/b{CUT:03}" in reasons[f"train-{CUT:03}.tar"]
    assert f"train-{CUT:03}.tar: it ends after" in out and bad in out


def test_lists_of_paths(data: Path, plan: Path, tmp_path: Path) -> None:
    answer = export(data, plan, Layout.TEXT, tmp_path)
    chosen = json.loads(plan.read_text())
    kept = (tmp_path / "kept.txt").read_text().splitlines()
    removed = (tmp_path / "removed.txt").read_text().splitlines()
    assert sorted(kept) == sorted(chosen["keep"]) and removed == [r["path"] for r in chosen["remove"]]
    assert answer.counts == {"kept": len(kept), "removed": len(removed)}
    export(data, plan, Layout.TEXT, tmp_path, null=True)
    assert (tmp_path / "removed.txt").read_bytes().split(b"\0")[:-1] == [os.fsencode(r) for r in removed]


def test_a_filtered_webdataset_holds_the_kept_samples_unchanged(
    shards: Path, data: Path, plan: Path, tmp_path: Path
) -> None:
    command = ("export", "--dataset", data, "--plan", plan, "--as", "webdataset", "--to", tmp_path / "out")
    answer = json.loads(twinlens(*command, "--json"))
    kept = json.loads(plan.read_text())["keep"]
    assert answer["counts"]["samples"] == len(kept)
    assert "1 images failed" in answer["notices"][0]
    (failure,) = answer["failures"]
    assert f"train-{CUT:03}.tar" in failure and f"dir/b{CUT:03} is left out" in failure
    written = {f"{shard.name}/{name}" for shard in (tmp_path / "out").iterdir() for name in members(shard)}
    images = {name for name in written if not name.endswith((".json", ".cls"))}
    assert images == {os.path.relpath(path, shards) for path in kept}
    assert len(written) == 3 * len(images)
    for shard in (tmp_path / "out").iterdir():
        if shard.name != f"train-{CUT:03}.tar":
            before = members(shards / shard.name)
            assert all(before[name] == content for name, content in members(shard).items())
        assert shard.stat().st_size % 10240 == 0
    for place, words in ((tmp_path / "out", "is not empty"), (shards / "out", "lies in")):
        with pytest.raises(InvalidValue, match=words):
            export(data, plan, Layout.WEBDATASET, place)


def test_coco_of_the_kept_and_of_annotations(shards: Path, data: Path, plan: Path, tmp_path: Path) -> None:
    chosen = json.loads(plan.read_text())
    export(data, plan, Layout.COCO, tmp_path / "new")
    document = json.loads((tmp_path / "new" / "annotations.json").read_text())
    assert {image["file_name"] for image in document["images"]} == {
        os.path.relpath(path, shards) for path in chosen["keep"]
    }
    assert all(image["width"] > 0 and image["height"] > 0 for image in document["images"])
    removed = chosen["remove"][0]["path"]
    images = [
        {"id": 7, "file_name": os.path.relpath(chosen["keep"][0], shards), "licence": 1},
        {"id": 8, "file_name": os.path.basename(removed)},
        {"id": 9, "file_name": "elsewhere.jpg"},
    ]
    annotations = [{"id": number, "image_id": 7 + number % 3, "bbox": [0, 0, 1, 1]} for number in range(6)]
    given = {"info": {"year": 2024}, "images": images, "annotations": annotations, "categories": [{"id": 1}]}
    (tmp_path / "old.json").write_text(json.dumps(given))
    answer = export(data, plan, Layout.COCO, tmp_path / "filtered", tmp_path / "old.json")
    filtered = json.loads((tmp_path / "filtered" / "annotations.json").read_text())
    assert filtered == {
        **given,
        "images": [images[0], images[2]],
        "annotations": [each for each in annotations if each["image_id"] != 8],
    }
    assert "1 images of old.json are not in the plan" in answer.notices[0]


def test_fiftyone_finds_every_image(data: Path, plan: Path, tmp_path: Path) -> None:
    export(data, plan, Layout.FIFTYONE, tmp_path)
    labels = json.loads((tmp_path / "labels.json").read_text())["labels"]
    assert len(labels) == len(json.loads(plan.read_text())["keep"])
    assert {path.stem for path in (tmp_path / "data").iterdir()} == set(labels)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("not json", "neither JSON nor CSV"),
        ('{"remove": []}', 'lacks a list called "keep"'),
        ('{"keep": ["/elsewhere/a.jpg"], "remove": []}', "the dataset holds none of them"),
        ('{"keep": ["a"], "remove": [{"path": "a"}]}', "both keeps and removes a"),
        ('{"keep": [{"twin": 1}]}', "entry 0 of 'keep' has no path"),
    ],
)
def test_plans_that_are_none(content: str, words: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(content)
    with Dataset.open(data) as dataset, pytest.raises(InvalidValue, match=words):
        read_choice(tmp_path / "plan.json", dataset.images())


def test_images_outside_of_shards_make_no_webdataset(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(1))
    with Dataset.create(tmp_path / "data", ColourGridEmbedder()) as dataset:
        dataset.add(tmp_path / "photos")
    with pytest.raises(InvalidValue, match=r"a\.jpg lies in no tar archive"):
        export(tmp_path / "data", None, Layout.WEBDATASET, tmp_path / "out")
    with pytest.raises(InvalidValue, match="goes with --as text"):
        export(tmp_path / "data", None, Layout.COCO, tmp_path / "out", null=True)
    with pytest.raises(InvalidValue, match="goes with --as coco"):
        export(tmp_path / "data", None, Layout.TEXT, tmp_path / "out", coco=tmp_path / "a.json")
