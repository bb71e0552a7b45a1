"""The quality benchmark on a small collection: its truth, its figures, its page."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts import bench_quality
from scripts.cuts import save_cuts
from scripts.pages import section_of, with_section
from scripts.quality_measure import Sources, measured
from scripts.quality_methods import Described, opencv_hashes, own_embedder
from scripts.quality_pictures import STAMPS, all_pictures, kin, scene_of
from scripts.quality_report import HEADING
from scripts.quality_semantics import agreement
from scripts.quality_truth import SETS, Item, Sizes, Truth, built
from tests.collections_of_pictures import fill, picture

SIZES = Sizes(originals=30, plain=51, hard=36, distractors=150, fillers=10, templates=2)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages of pictures, and stamps in three folders."""
    root = tmp_path_factory.mktemp("packages")
    fill(root / "scratch", 90)
    fill(root / "opencv-doc", 60, first=200)
    for place, category in enumerate(("birds", "fruit", "tools")):
        fill(root / STAMPS / category, 7, first=400 + 20 * place)
    return root


@pytest.fixture(scope="module")
def truth(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return built(tmp_path_factory.mktemp("truth") / "first", packages, SIZES, 1)


def test_the_collection_is_what_it_says(truth: Truth) -> None:
    assert truth.originals == 30 and [item.original for item in truth.references[:30]] == list(range(30))
    assert all(item.original is None for item in truth.references[30:])
    assert all((truth.folder / item.file).is_file() for item in truth.items)
    assert len({item.file for item in truth.items}) == len(truth.items)
    for name, families in SETS.items():
        copies = truth.copies[name]
        counts = Counter(item.family for item in copies)
        assert set(counts) == {family.name for family in families}
        assert max(counts.values()) - min(counts.values()) <= 1
        each = Counter((item.original, item.family) for item in copies)
        assert set(each.values()) == {1}
    assert not any(item.source.startswith(STAMPS) for item in truth.references[:30])


@pytest.mark.parametrize(
    ("name", "scene"),
    [
        ("opencv-doc/examples/data/left04.jpg", "view of chessboard"),
        ("opencv-doc/examples/data/graf3.png", "view of graffiti"),
        ("opencv-doc/examples/data/leuvenB.jpg", "view of leuven"),
        ("opencv-doc/html/Template_Result_3.jpg", "series opencv-doc template"),
        ("kgeography-data/usr/share/kgeography/flags/peru/lima.png", "style flags"),
        ("kgeography-data/usr/share/kgeography/peru.png", "style maps"),
        ("scratch/usr/share/scratch/Media/Costumes/Letters/stone/z.gif", "style Letters/stone"),
        ("scratch/usr/share/scratch/Media/Costumes/Animals/dog2-a.png", "style Animals/dog2"),
        ("scratch/usr/share/scratch/Media/Costumes/People/cassy-dancing-4.gif", "style People/cassy"),
        ("scratch/usr/share/scratch/Media/Costumes/Animals/cow1.gif", None),
        ("palapeli-data/usr/share/palapeli/collection/castle-maintenon.jpg", None),
    ],
)
def test_views_figures_and_drawings_in_one_style_are_of_one_scene(name: str, scene: str | None) -> None:
    assert scene_of(name) == scene


def test_of_a_wallpaper_in_several_colours_one_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "lxqt-themes"
    folder.mkdir()
    names = ("waves-logo.png", "waves-purple-logo.png", "plasma-logo-dark.png", "kde-plasma.png", "fog.png")
    for seed, name in enumerate(names):
        picture(seed).save(folder / name)
    drawn = all_pictures({"lxqt-themes": folder}, 100, seed=1)
    found = sorted(each.name for each in drawn if each.name.startswith("lxqt-themes"))
    assert len(found) == 3 and "lxqt-themes/fog.png" in found
    assert sum("waves" in name for name in found) == sum("plasma" in name for name in found) == 1


def test_a_figure_and_a_picture_that_it_may_show_are_neither_right_nor_wrong() -> None:
    files = ("opencv-doc/data/box.png", "opencv-doc/html/found.jpg", "python3-skimage/data/cat.png")
    items = [Item(name, name) for name in (*files, "python-skimage-doc/html/turned.png", "scratch/box.png")]
    undecided = Sources.of(items).undecided(np.arange(5))
    assert [tuple(pair) for pair in np.argwhere(undecided).tolist()] == [(0, 1), (1, 0), (2, 3), (3, 2)]


def test_the_same_seed_gives_the_same_files(truth: Truth, packages: Path, tmp_path: Path) -> None:
    again = built(tmp_path / "second", packages, SIZES, 1)
    assert again.items == truth.items
    assert all(
        (again.folder / item.file).read_bytes() == (truth.folder / item.file).read_bytes()
        for item in again.items
    )
    assert built(truth.folder, packages, SIZES, 1).items == truth.items


def test_a_cut_and_a_scaled_copy_are_kin_and_strangers_are_not(tmp_path: Path) -> None:
    save_cuts(tmp_path / "cuts", 1, (500, 380))
    (path,) = (tmp_path / "cuts").iterdir()
    photo = Image.open(path).convert("RGB")
    strangers = [picture(seed, 300, 200) for seed in range(4)]
    images = [photo, photo.crop((60, 40, 460, 350)), *strangers, photo.resize((300, 228))]
    assert kin(images) == {(0, 1), (0, 6), (1, 6)}


def test_a_perfect_method_has_perfect_figures(truth: Truth) -> None:
    rows = np.zeros((len(truth.items), len(truth.references)), np.float32)
    for place, item in enumerate(truth.items):
        rows[place, item.original if item.original is not None else place] = 1
    results = measured(truth, Described(rows, 0.9), 1)
    for name in SETS:
        figures = results[name]
        assert isinstance(figures, dict)
        assert figures["uAP"]["value"] == figures["R@P99"]["value"] == figures["best F1"]["value"] == 1
        assert all(family["recall"]["value"] == 1 for family in figures["families"].values())
        assert {grade["uAP"] for grade in figures["grades"].values()} == {1}
    clusters = results["clusters"]
    assert isinstance(clusters, dict) and clusters["count"] == 30 and clusters["with a pair below"] == 0


def test_a_grade_is_ranked_by_itself(truth: Truth) -> None:
    """A method that knows mild copies and takes all others for one wrong picture."""
    rows = np.zeros((len(truth.items), len(truth.references)), np.float32)
    for place, item in enumerate(truth.items):
        known = item.original is None or not item.set or item.grade == "mild"
        rows[place, (item.original if item.original is not None else place) if known else 29] = 1
    plain = measured(truth, Described(rows, 0.9), 1)["plain"]
    assert isinstance(plain, dict)
    grades = plain["grades"]
    assert sum(grade["copies"] for grade in grades.values()) == len(truth.copies["plain"])
    assert grades["mild"]["uAP"] == grades["mild"]["R@P99"] == 1
    assert max(grades[name]["uAP"] for name in ("medium", "strong")) < 0.2 > plain["uAP"]["value"]


def test_a_chain_is_a_cluster_with_a_pair_below_the_threshold(truth: Truth) -> None:
    rows = np.zeros((len(truth.items), len(truth.items)), np.float32)
    np.fill_diagonal(rows, 1)
    rows[0, :3], rows[1, :3], rows[2, :3] = (1, 0, 0), (0.8, 0.6, 0), (0.28, 0.96, 0)
    clusters = measured(truth, Described(rows, 0.75), 1)["clusters"]
    assert clusters == {"kind": "connected components", "count": 1, "largest": 3, "with a pair below": 1.0}


def test_embedders_and_hashes_are_measured_and_written_down(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_quality, "QUICK", SIZES)
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\n## Ingest\n\nfast\n")
    words = f"x --packages {packages} --work {tmp_path} --quick --semantics --page {page}"
    monkeypatch.setattr(sys, "argv", [*words.split(), "--embedder", "tests.fakes:ColourGridEmbedder"])
    bench_quality.main()
    (path,) = tmp_path.glob("*-results/*.json")
    result = json.loads(path.read_text())
    assert result["plain"]["uAP"]["value"] > 0.3 and result["semantics"]["categories"] == 3
    assert result["clusters"]["kind"] == "its own" and result["clusters"]["with a pair below"] == 0
    assert path.with_name(f"{path.stem}-plain.jpg").is_file()
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n## Ingest\n\nfast\n") and "| colour_grid |" in section_of(
        text, HEADING
    )
    assert "colour_grid" in capsys.readouterr().out


def test_rows_of_a_hash_give_hamming_distances(truth: Truth) -> None:
    files = [item.file for item in truth.items[:6]]
    hashes = list(opencv_hashes())
    assert len(hashes) == 5
    for each in hashes:
        rows = each.describe(truth.folder, files).rows
        assert set(np.unique(rows)) <= {-1.0, 1.0}
        distances = (rows.shape[1] - rows @ rows.T) / 2
        assert (distances == (rows[:, None] != rows[None]).sum(axis=2)).all()


def test_an_embedder_is_named_by_its_description() -> None:
    assert own_embedder("tests.fakes:ColourGridEmbedder").name == "colour_grid"


def test_agreement_is_the_share_of_neighbours_of_the_same_kind() -> None:
    rows = np.repeat(np.eye(2, dtype=np.float32), 6, axis=0)
    assert agreement(rows, ["a"] * 6 + ["b"] * 6, 1).value == 1
    assert agreement(rows, ["a", "b"] * 6, 1).value == pytest.approx(0.4)


def test_a_section_takes_the_place_of_the_one_before() -> None:
    page = f"# Page\n\n## One\n\n1\n\n{HEADING}\n\nold\n\n## Two\n\n2\n"
    new = with_section(page, HEADING, f"{HEADING}\n\nnew\n")
    assert new == page.replace("old", "new") and section_of(new, HEADING).strip() == f"{HEADING}\n\nnew"
    assert with_section("# Page\n", HEADING, section_of(new, HEADING)).strip().endswith("new")
