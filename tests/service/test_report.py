from __future__ import annotations

import base64
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.service.reports import ROOT, cluster, identifier, picture, report, unique
from twinlens.engine.catalog import Failure
from twinlens.engine.results import Cluster
from twinlens.service.page import human_bytes, number_text, similarity_text
from twinlens.service.report import MEMBERS_SHOWN, PICTURES, Report, write_report

HOSTILE = (
    "<img src=x onerror=alert(1)>.jpg",
    "<script>alert(2)<\\script>.jpg",
    '"><svg onload=alert(3)>.jpg',
)


@dataclass
class Page(HTMLParser):
    """What a browser would make of a report, as far as the standard library can tell."""

    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    _inside: tuple[str, dict[str, str | None]] = ("", {})

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = (tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ("", {})

    def handle_data(self, data: str) -> None:
        tag, attributes = self._inside
        if tag == "script" and attributes.get("type") == "application/json":
            self.data[str(attributes["id"])] = json.loads(data)
        elif tag in ("script", "style"):
            self.code[tag] = data
        else:
            self.text += f" {data}"

    def attributes(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.tags if name in attributes]


def render(out: Path, content: Report) -> Page:
    write_report(out / "report.html", content)
    page = Page()
    page.feed((out / "report.html").read_text("utf-8"))
    page.close()
    return page


def test_the_page_holds_all_that_it_shows(tmp_path: Path) -> None:
    clusters = [cluster("2019/a.jpg", "2020/b.jpg")]
    page = render(
        tmp_path, report(clusters, unique=[unique("c.jpg")], nearest=[0.5], preview=lambda _: picture(1))
    )
    assert all(link.startswith(("#", "data:", "file:///photos/")) for link in page.attributes("href"))
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.attributes("src"))
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {
        tag for tag, attributes in page.tags if attributes.get("rel") != "icon"
    }
    assert "@import" not in page.code["style"] and "url(" not in page.code["style"]


def test_the_policy_allows_nothing_but_our_own_script_and_style(tmp_path: Path) -> None:
    page = render(tmp_path, report([cluster("a.jpg", "b.jpg")]))
    (policy,) = [content for content in page.attributes("content") if "default-src" in content]
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.code[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    content = report(
        [cluster(*HOSTILE)],
        title=HOSTILE[0],
        unique=[unique(HOSTILE[1], nearest=HOSTILE[2])],
        failures=[Failure(f"{ROOT}/{HOSTILE[0]}", "decode", HOSTILE[1], False)],
        notices=[HOSTILE[2]],
    )
    page = render(tmp_path, content)
    assert [member["name"] for member in page.data["cluster-0"]["members"]] == list(HOSTILE)
    assert page.data["index"][0][4] == list(HOSTILE)
    assert all(name in page.text for name in HOSTILE)
    assert sum(tag == "script" and "type" not in attributes for tag, attributes in page.tags) == 1
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_an_end_of_script_cannot_leave_its_json(tmp_path: Path) -> None:
    # No file name holds a slash, but a folder and a name together do.
    page = render(tmp_path, report([cluster("<", "</script><script>alert(1)", "x")]))
    assert page.data["cluster-0"]["members"][1]["path"] == f"{ROOT}/</script><script>alert(1)"
    raw = (tmp_path / "report.html").read_text()
    assert raw.count("</script>") == raw.count("<script")


def test_names_that_are_not_utf8_are_shown_and_linked(tmp_path: Path) -> None:
    name = os.fsdecode(b"n\xff.jpg")
    failures = [Failure(f"{ROOT}/{name}", "open", f"no {name}", True)]
    scores = [unique(name, nearest=name)]
    content = report([cluster(name, "b.jpg")], failures=failures, unique=scores, title=name)
    page = render(tmp_path, content)
    shown = page.data["cluster-0"]["members"][0]
    assert (shown["name"], shown["path"]) == ("n\\udcff.jpg", f"{ROOT}/n\\udcff.jpg")
    assert shown["href"] == f"file://{ROOT}/n%FF.jpg"
    assert page.data["index"][0][4] == ["n\\udcff.jpg", "b.jpg"]
    assert "no n\\udcff.jpg" in page.text


def test_a_path_that_is_no_file_has_no_link(tmp_path: Path) -> None:
    own = cluster("a", "b")
    ids = [f"sku-{number}" for number in range(2)]
    members = tuple(
        type(member)(id, id, 0, 0, 0, "", 0.0, member.similarity_to_keeper, member.evidence, member.keeper)
        for member, id in zip(own.members, ids, strict=True)
    )
    vectors = Cluster(own.cluster_id, members, 0.9, 0.9, True, own.evidence, 0)
    page = render(tmp_path, report([vectors], unique=[unique("c.jpg")]))
    shown = page.data["cluster-0"]["members"][0]
    assert (shown["name"], shown["folder"], shown["href"]) == ("sku-0", "", None)
    assert (shown["size"], shown["kind"], shown["picture"]) == ("", "", None)


def test_paths_are_shown_below_the_folder_they_share(tmp_path: Path) -> None:
    page = render(tmp_path, report([cluster("2019/a.jpg", "2020/x/b.jpg")]))
    assert [m["folder"] for m in page.data["cluster-0"]["members"]] == ["2019", "2020/x"]
    assert page.data["index"] == [[2, 0.96, 1_000_000, "embedding", ["2019/a.jpg", "2020/x/b.jpg"]]]
    assert ROOT in page.text


def test_a_cluster_shows_what_decides_about_it(tmp_path: Path) -> None:
    page = render(tmp_path, report([cluster("a.jpg", "b.jpg", similarity=0.9496, links_out=3, exact=False)]))
    shown = page.data["cluster-0"]
    keeper, copy = shown.pop("members")
    assert shown == {
        "id": cluster("a.jpg", "b.jpg").cluster_id,
        "lowest": "≥\N{NO-BREAK SPACE}0.949",
        "mean": "0.974",
        "links": 3,
        "spare": "1.0 MB",
    }
    assert (keeper["keeper"], keeper["evidence"]) == (True, "")
    assert (copy["keeper"], copy["evidence"], copy["similarity"]) == (False, "embedding", "0.949")
    assert (copy["size"], copy["kind"]) == ("4000 × 3000 · 1.0 MB", "JPEG · sharpness 123")


def test_the_summary_adds_up(tmp_path: Path) -> None:
    failures = [Failure(f"{ROOT}/x.jpg", "decode", "it is cut off", False)]
    clusters = [cluster("a.jpg", "b.jpg", "c.jpg"), cluster("d.jpg", "e.jpg")]
    words = render(tmp_path, report(clusters, failures=failures, notices=["Mind the gap."])).text.split()
    text = " ".join(words)
    assert "5 of 12,345 images have a twin; the copies beside the best one of each take 3.0 MB." in text
    assert "Images 12,345 Clusters 2 Images in clusters 5 Copies that could go 3 3.0 MB" in text
    assert "Failed files 1 Non-image files 7" in text
    assert "Mind the gap." in text
    assert "x.jpg it is cut off decode permanent" in text
    assert "1 March 2025, 09:05 UTC" in text


def test_an_empty_report_says_so(tmp_path: Path) -> None:
    page = render(tmp_path, report())
    assert "No two images are at least 0.92 similar" in page.text
    assert "Every image file could be read." in page.text
    assert "script" not in page.code


def test_a_big_cluster_shows_some_members_and_names_all(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(MEMBERS_SHOWN + 10)]
    page = render(tmp_path, report([cluster(*names)]))
    assert [member["name"] for member in page.data["cluster-0"]["members"]] == names[:MEMBERS_SHOWN]
    assert page.data["index"][0][4] == names


def test_the_file_says_when_clusters_go_without_pictures(tmp_path: Path) -> None:
    one = cluster(*[f"{number}.jpg" for number in range(MEMBERS_SHOWN)])
    asked: list[str] = []

    def preview(id: str) -> bytes:
        asked.append(id)
        return b"picture"

    page = render(tmp_path, report([one] * (PICTURES // MEMBERS_SHOWN + 3), preview=preview))
    assert len(asked) == PICTURES
    assert "only the first 1,250 of 1,253 clusters have pictures" in page.text
    assert page.data["cluster-1250"]["members"][0]["picture"] is None


def test_pictures_are_written_while_they_are_read(tmp_path: Path) -> None:
    sizes: list[int] = []

    def preview(_: str) -> bytes:
        sizes.append((tmp_path / "report.html.new").stat().st_size)
        return b"x" * 20_000

    write_report(tmp_path / "report.html", report([cluster("a", "b")] * 40, preview=preview))
    assert sizes[-1] > 0.9 * (tmp_path / "report.html").stat().st_size


def test_a_report_that_breaks_off_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")

    def preview(_: str) -> bytes:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        write_report(tmp_path / "report.html", report([cluster("a", "b")], preview=preview))
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "old")]


def test_links_stay_links_and_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "latest.html").symlink_to("deep/down/report.html")
    write_report(tmp_path / "latest.html", report())
    assert (tmp_path / "latest.html").is_symlink()
    assert (tmp_path / "deep/down/report.html").read_text("utf-8").startswith("<!doctype html>")


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    # Never a real device: a regression would replace it for the whole machine.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Opened for both, so that a regression that replaces the pipe fails instead of waiting for a reader.
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    with ThreadPoolExecutor(1) as pool, os.fdopen(descriptor, "rb", buffering=0) as reader:
        writing = pool.submit(write_report, pipe, report())
        read = b""
        while not writing.done():
            read += reader.read() or b""
        read += reader.read() or b""
        writing.result()
    assert pipe.is_fifo()
    assert read.startswith(b"<!doctype html>") and read.rstrip().endswith(b"</html>")


def test_scores_of_images_without_one_are_dashes(tmp_path: Path) -> None:
    text = " ".join(
        render(tmp_path, report(unique=[unique("flat.png", None, None), unique("c.jpg")])).text.split()
    )
    assert "– percentile – flat.png" in text
    assert "0.800 percentile 98 c.jpg nearest 0.512 near.jpg" in text


@given(st.integers(0, 1_000_000))
def test_a_similarity_is_never_shown_above_itself(millionths: int) -> None:
    shown = similarity_text(millionths / 1e6)
    assert round(float(shown) * 1000) == millionths // 1000
    assert len(shown) == 5


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (9_940, "9.9 kB"),
        (9_960, "10 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (2_449_000_000, "2.4 GB"),
        (5 * 10**15, "5,000 TB"),
    ],
)
def test_sizes_are_short(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_small_numbers_keep_a_decimal() -> None:
    assert [number_text(number) for number in (0.04, 9.94, 12.5, 1234.5)] == ["0.0", "9.9", "12", "1,234"]


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_every_picture_is_a_data_uri(kind: str, tmp_path: Path) -> None:
    names = ("a.jpg", "b.jpg", "c.jpg")
    pictures = {identifier(name): picture(seed, kind=kind) for seed, name in enumerate(names)}
    page = render(
        tmp_path, report([cluster("a.jpg", "b.jpg")], unique=[unique("c.jpg")], preview=pictures.get)
    )
    sources = [member["picture"] for member in page.data["cluster-0"]["members"]]
    for name, source in zip(names, sources + page.attributes("src"), strict=True):
        start, encoded = source.split(",")
        assert start == f"data:image/{kind};base64"
        assert base64.b64decode(encoded) == pictures[identifier(name)]
