"""A plan keeps two promises: what goes has a twin that stays, and of what stays no two are twins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rows import arc, brute_similarity, clustered_rows, lattice_rows
from tests.snapshots import image, snapshot_of
from twinlens.engine.catalog import ImageRecord
from twinlens.engine.credit import FRAMED, UPSCALED, Looks
from twinlens.engine.curation import Curation, Plan
from twinlens.engine.dataset import Dataset
from twinlens.engine.detail import Look
from twinlens.engine.errors import InvalidValue
from twinlens.engine.keeper import DEFAULT_RULES, keeper_order
from twinlens.engine.snapshot import Snapshot

THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.86, 0.9, 0.95, 0.99, 1.0)


def brute(images: Sequence[ImageRecord], rows: np.ndarray, rejections: Sequence[tuple[str, str]]) -> Any:
    """Similarity of all images as the design defines it, float64 [n, n]."""
    n = len(images)
    similarity = brute_similarity(rows[[each.row for each in images]]) if n else np.zeros((0, 0))
    flat = np.array([each.low_information for each in images], bool)
    similarity[flat] = similarity[:, flat] = 0.0
    same = np.eye(n, dtype=bool)
    for keys in (
        [each.digest or each.id for each in images],
        [each.pixel_digest or each.id for each in images],
        [each.id if each.low_information else each.unit for each in images],
    ):
        same |= np.array([[a == b for b in keys] for a in keys], bool).reshape(n, n)
    while (further := same @ same).sum() > same.sum():
        same = further
    similarity[same] = 1.0
    place = {each.id: number for number, each in enumerate(images)}
    for a, b in rejections:
        similarity[place[a], place[b]] = similarity[place[b], place[a]] = 0.0
    return similarity


def check(plan: Plan, snapshot: Snapshot, threshold: float, protected: frozenset[str]) -> None:
    """Both promises, what is protected, and the star that they come from, by brute force."""
    images = snapshot.images
    similarity = brute(images, np.asarray(snapshot.rows), snapshot.rejections)
    place = {each.id: number for number, each in enumerate(images)}
    keep = [place[each.id] for each in plan.keep]
    protected |= snapshot.kept
    shielded = np.array([each.id in protected for each in images], bool)

    assert sorted([*keep, *(place[r.image.id] for r in plan.remove)]) == list(range(len(images)))
    for removal in plan.remove:
        to_kept = similarity[place[removal.image.id], keep]
        assert removal.similarity == to_kept.max() >= threshold
        assert removal.similarity == similarity[place[removal.image.id], place[removal.twin.id]]
        assert place[removal.twin.id] in keep and removal.image.id not in protected
    twins = np.triu(similarity[np.ix_(keep, keep)] >= threshold, 1)
    excused = {place[conflict.image.id] for conflict in plan.conflicts}
    for a, b in np.argwhere(twins).tolist():
        assert shielded[keep[a]] and shielded[keep[b]]
        assert {keep[a], keep[b]} & excused
    for conflict in plan.conflicts:
        a, b = place[conflict.image.id], place[conflict.twin.id]
        assert a != b and shielded[a] and shielded[b] and conflict.similarity == similarity[a, b] >= threshold
        assert b not in excused

    star: list[int] = []
    for number in np.argsort(keeper_order(images, plan.rules, protected)).tolist():
        if shielded[number] or not (similarity[number, star] >= threshold).any():
            star.append(number)
    assert sorted(star) == sorted(keep)


@st.composite
def collections(draw: st.DrawFn) -> tuple[Snapshot, frozenset[str]]:
    """Copies, re-encodings, flat pictures, rejections, images to keep and protected ones."""
    rows = draw(lattice_rows(max_rows=12).filter(len))
    first = {row.tobytes(): number for number, row in reversed(list(enumerate(rows)))}
    contents = [
        {
            "row": number,
            "unit": first[rows[number].tobytes()],
            "digest": b"%d" % number,
            "pixel_digest": draw(st.sampled_from([None, None, b"p", b"q"])),
            "low_information": draw(st.integers(0, 5)) == 0,
        }
        for number in range(len(rows))
    ]
    drawn = draw(st.lists(st.sampled_from(contents), min_size=1, max_size=20))
    images = [
        image(
            f"{number:02}",
            **content,
            width=draw(st.integers(1, 3)),
            sharpness=draw(st.sampled_from([1.0, 2.0, float("nan")])),
            path=f"/photos/{draw(st.sampled_from('abc'))}/{number}",
        )
        for number, content in enumerate(drawn)
    ]
    ids = st.sampled_from([each.id for each in images])
    pairs = st.lists(st.tuples(ids, ids).filter(lambda pair: pair[0] < pair[1]), max_size=4, unique=True)
    rejections = draw(pairs) if len(images) > 1 else []
    kept, protected = draw(st.frozensets(ids, max_size=4)), draw(st.frozensets(ids, max_size=4))
    return snapshot_of(images, rows, rejections, kept), protected


@settings(deadline=None, max_examples=40)
@given(collections(), st.sampled_from([DEFAULT_RULES, ("path",), ("sharpness", "oldest"), ()]))
def test_both_promises_hold_at_every_threshold(
    drawn: tuple[Snapshot, frozenset[str]], rules: tuple[str, ...]
) -> None:
    snapshot, protected = drawn
    for threshold in THRESHOLDS:
        check(Curation(snapshot, threshold, rules, protected).plan(), snapshot, threshold, protected)


@pytest.mark.parametrize("threshold", [0.5, 0.86])
def test_both_promises_hold_for_a_crowd(threshold: float) -> None:
    """More units in one component than are compared at once."""
    rows = clustered_rows(3, 1200, 12, groups=9, noise=0.5)
    rng = np.random.default_rng(4)
    images = [image(f"{number:04}", number, size=int(rng.integers(1, 9))) for number in range(len(rows))]
    protected = frozenset(f"{number:04}" for number in range(0, len(rows), 50))
    snapshot = snapshot_of(images, rows, [("0001", "0002"), ("0100", "0150")], frozenset({"0777"}))
    plan = Curation(snapshot, threshold, ("bytes",), protected).plan()
    check(plan, snapshot, threshold, protected)


def test_a_dataset_is_planned_from_the_pairs_that_it_keeps() -> None:
    rows = clustered_rows(5, 400, 16, groups=40, noise=0.5)
    with Dataset.from_vectors([f"{number:03}" for number in range(400)], rows, name="own") as dataset:
        snapshot = dataset.copy_snapshot()
        for threshold in THRESHOLDS:
            check(Curation(snapshot, threshold).plan(), snapshot, threshold, frozenset())


# -- stars, protection, twins --------------------------------------------------------------------------


def planned(snapshot: Snapshot, threshold: float, *rules: str, **options: Any) -> dict[str, tuple[str, str]]:
    """The twin of each removed image and the rule that decided, by its id."""
    looks = options.pop("looks", Looks())
    plan = Curation(snapshot, threshold, rules or DEFAULT_RULES, **options).plan(looks)
    return {removal.image.id: (removal.twin.id, removal.rule) for removal in plan.remove}


CHAIN = arc(np.radians([0.0, 20.0, 35.0]))
"""a ~ b ~ c at 0.93, but not a ~ c; b is nearer to c."""


def chain(*sizes: int) -> Snapshot:
    return snapshot_of([image("abc"[n], n, size=size) for n, size in enumerate(sizes)], CHAIN)


def test_what_no_kept_image_is_a_twin_of_stays() -> None:
    """As a cluster, a and b would lose one of them, and c would stay beside its twin b."""
    assert planned(chain(3, 2, 1), 0.93, "bytes").keys() == {"b"}
    assert planned(chain(2, 3, 1), 0.93, "bytes") == {"a": ("b", "bytes"), "c": ("b", "bytes")}


def test_the_twin_is_the_kept_image_that_is_most_similar() -> None:
    """It need not come before the image that goes; the rule is that of the one that does."""
    (removal,) = Curation(chain(3, 2, 1), 0.93, ("bytes",)).plan().remove
    assert [each.id for each in (removal.image, removal.twin, removal.winner)] == ["b", "c", "a"]
    (removal,) = Curation(chain(2, 1, 3), 0.93, ("bytes",)).plan().remove
    assert [each.id for each in (removal.image, removal.twin, removal.winner)] == ["b", "c", "c"]


def test_protected_images_stay_and_all_that_they_cover_goes() -> None:
    assert planned(chain(1, 3, 1), 0.93, "bytes", protected={"a"}) == {"b": ("c", "protected")}
    assert planned(chain(1, 3, 1), 0.93, "bytes", protected={"a", "c"}) == {"b": ("c", "protected")}
    plan = Curation(chain(1, 3, 2), 0.93, ("bytes",), frozenset("abc")).plan()
    assert not plan.remove and len(plan.keep) == 3
    assert [(c.image.id, c.twin.id) for c in plan.conflicts] == [("a", "b"), ("c", "b")]


def test_images_that_somebody_chose_to_keep_are_protected() -> None:
    snapshot = replace(chain(3, 2, 1), kept=frozenset("b"))
    assert planned(snapshot, 0.93, "bytes") == {"a": ("b", "protected"), "c": ("b", "protected")}


def test_copies_of_protected_copies() -> None:
    rows = np.ones((4, 3), np.float16)
    names = ("a", "b", "b2", "c")
    copies = [image(name, row, unit=0, digest=name[:1].encode()) for row, name in enumerate(names)]
    plan = Curation(snapshot_of(copies, rows), 0.9, ("bytes",), frozenset({"a", "b"})).plan()
    assert [(c.image.id, c.twin.id, c.similarity) for c in plan.conflicts] == [("b", "a", 1.0)]
    assert [(r.image.id, r.twin.id, r.rule) for r in plan.remove] == [
        ("b2", "b", "protected"),
        ("c", "a", "protected"),
    ]


def test_the_rule_that_told_two_apart_is_named() -> None:
    rows = np.ones((2, 3), np.float16)

    def rule(*rules: str, **better: Any) -> str:
        snapshot = snapshot_of([image("a", 0), image("b", 1, **better)], rows)
        ((_, said),) = planned(snapshot, 0.9, *rules).values()
        return said

    assert rule("pixels", "bytes", width=101) == "pixels"
    assert rule("pixels", "bytes", size=1001) == "bytes"
    assert rule("format=heic>png", "bytes", format="png", size=1) == "format=heic>png"
    assert rule("pixels", digest=b"a") == "id"
    assert rule("path", digest=b"a") == "path"


def test_one_file_of_two_sources_is_not_removed_for_itself() -> None:
    rows = np.ones((3, 3), np.float16)
    same = {"path": "/photos/deep/a.jpg", "digest": b"a"}
    snapshot = snapshot_of([image("a", 0, **same), image("a2", 1, **same), image("b", 2)], rows)
    plan = Curation(snapshot, 0.9, ("path",)).plan()
    assert [each.path for each in plan.keep] == ["/photos/b.jpg"]
    assert [r.image.path for r in plan.remove] == ["/photos/deep/a.jpg"]
    plan = Curation(snapshot, 0.9, ("path~deep",)).plan()
    assert [each.path for each in plan.keep] == ["/photos/deep/a.jpg"]
    assert [r.image.path for r in plan.remove] == ["/photos/b.jpg"]


def test_a_plan_is_in_the_order_of_the_paths_and_adds_up() -> None:
    plan = Curation(chain(2, 3, 1), 0.93, ("bytes",)).plan()
    assert [r.image.path for r in plan.remove] == ["/photos/a.jpg", "/photos/c.jpg"]
    assert plan.freed_bytes == 3


def test_hashes_remove_nothing() -> None:
    rows = np.eye(2, 3, dtype=np.float16)
    snapshot = replace(snapshot_of([image("a", 0), image("b", 1)], rows), linked=frozenset({(0, 1)}))
    assert planned(snapshot, 0.9) == {}


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_thresholds_outside_their_range(threshold: float) -> None:
    with pytest.raises(InvalidValue, match="threshold"):
        Curation(chain(1, 2, 3), threshold)


def test_a_rule_that_is_none() -> None:
    with pytest.raises(InvalidValue, match="'size'"):
        Curation(chain(1, 2, 3), 0.9, ("pixels", "size"))


def test_no_images() -> None:
    plan = Curation(snapshot_of([], np.zeros((0, 3), np.float16)), 0.9).plan()
    assert (plan.keep, plan.remove, plan.conflicts) == ((), (), ())


# -- what is looked at, and what it changes ------------------------------------------------------------


def alike(*images: ImageRecord) -> Snapshot:
    """Images that are all twins of each other."""
    rows = arc(np.radians(np.arange(len(images), dtype=float)))
    return snapshot_of([replace(each, row=n, unit=n) for n, each in enumerate(images)], rows)


def test_only_what_rules_about_content_must_tell_apart_is_looked_at() -> None:
    snapshot = alike(image("a", format="png"), image("b"), image("c", digest=b"b"))

    def looked_at(*rules: str) -> set[str]:
        return {each.id for each in Curation(snapshot, 0.9, rules).to_look_at()}

    assert looked_at("pixels") == looked_at("format=png", "sharpness") == {"a", "b"}
    assert looked_at("path", "pixels") == looked_at("oldest", "path") == set()
    assert not Curation(alike(image("a"), image("b", digest=b"a")), 0.9).to_look_at()
    assert not Curation(alike(image("a"), image("b", digest=None)), 0.9).to_look_at()


def compared(snapshot: Snapshot, threshold: float) -> list[tuple[str, str]]:
    """Ids of images that may be enlarged, and of those they may be made of."""
    ladders = Curation(snapshot, threshold).to_compare()
    return [(larger.id, "".join(each.id for each in smaller)) for larger, smaller in ladders]


def test_each_content_is_compared_with_the_next_smaller_ones_of_its_proportions() -> None:
    sizes = {"a": (100, 50), "b": (110, 55), "c": (200, 100), "d": (400, 200), "e": (400, 400)}
    snapshot = alike(*(image(name, width=w, height=h) for name, (w, h) in sizes.items()))
    assert compared(snapshot, 0.9) == [("c", "b"), ("d", "cb")]


def test_of_several_next_smaller_ones_the_most_similar_is_compared() -> None:
    """The others were turned, say."""
    sizes = {"a": (200, 100), "b": (100, 50), "c": (101, 50)}
    images = [image(name, n, width=w, height=h) for n, (name, (w, h)) in enumerate(sizes.items())]
    snapshot = snapshot_of(images, arc(np.radians([0.0, 3.0, 5.0])))
    assert compared(snapshot, 0.9) == [("a", "b")]


def test_images_that_are_no_twins_are_not_compared() -> None:
    images = [image("abc"[n], n, width=100 * 2**n, height=100 * 2**n) for n in (0, 1, 2)]
    snapshot = snapshot_of(images, arc(np.radians([0.0, 35.0, 20.0])))
    assert compared(snapshot, 0.93) == [("c", "ba")], "but not b with a"


def seen(**details: float) -> dict[bytes, Look | None]:
    return {name.encode(): Look(100, 100, False, detail) for name, detail in details.items()}


def test_an_enlargement_does_not_win_by_its_pixels() -> None:
    snapshot = alike(image("a", width=200, height=200, size=9000), image("y"))
    assert planned(snapshot, 0.9) == {"y": ("a", "pixels")}
    looks = Looks(seen(y=50) | {b"a": Look(200, 200, False, 80)}, {b"a": b"y"})
    for rules in (DEFAULT_RULES, ("pixels",), ("sharpness", "path"), ("bytes", "path")):
        assert planned(snapshot, 0.9, *rules, looks=looks) == {"a": ("y", UPSCALED)}
    assert planned(snapshot, 0.9, "newest", "pixels", looks=looks)["a"][1] == UPSCALED
    assert planned(snapshot, 0.9, "path", "pixels", looks=looks) == {"y": ("a", "path")}


def test_an_enlargement_of_an_enlargement_is_worth_what_the_first_one_was() -> None:
    sizes = {"a": 400, "b": 200, "c": 100, "d": 150}
    snapshot = alike(*(image(name, width=side, height=side) for name, side in sizes.items()))
    by_digest = {name.encode(): Look(side, side, False, side) for name, side in sizes.items()}
    looks = Looks(by_digest, {b"a": b"b", b"b": b"c"})
    assert {twin for twin, _ in planned(snapshot, 0.9, "pixels", looks=looks).values()} == {"d"}


def test_a_frame_does_not_win_by_its_pixels() -> None:
    snapshot = alike(image("f", width=300, height=300, size=9000), image("p"))
    looks = Looks(seen(p=50) | {b"f": Look(100, 100, True, 51)})
    for rules in (DEFAULT_RULES, ("sharpness", "path")):
        assert planned(snapshot, 0.9, *rules, looks=looks) == {"f": ("p", FRAMED)}
    larger = Looks(seen(p=50) | {b"f": Look(250, 250, True, 300)})
    assert planned(snapshot, 0.9, looks=larger) == {"p": ("f", "pixels")}


def test_two_framed_copies_are_ranked_without_their_frames() -> None:
    snapshot = alike(image("f", width=300, height=300), image("g", width=200, height=200))
    looks = Looks({b"f": Look(100, 100, True, 50), b"g": Look(150, 150, True, 90)})
    assert planned(snapshot, 0.9, looks=looks) == {"f": ("g", "pixels")}


def test_frames_of_nearly_one_size_are_equals() -> None:
    """Where a frame ends differs by some pixels with every compression."""
    snapshot = alike(image("f"), image("g"))
    looks = Looks({b"f": Look(100, 100, True, 60), b"g": Look(102, 101, True, 50)})
    assert planned(snapshot, 0.9, looks=looks) == {"g": ("f", "sharpness")}


def test_detail_decides_where_it_differs_by_more_than_a_little() -> None:
    snapshot = alike(image("a"), image("b"), image("c"), image("d", sharpness=99.0))
    looks = Looks(seen(a=80, b=90, c=100, d=50))
    assert planned(snapshot, 0.9, "sharpness", "path", looks=looks) == {
        "a": ("b", "sharpness"),
        "c": ("b", "path"),
        "d": ("b", "sharpness"),
    }


def test_a_file_that_cannot_be_looked_at_comes_last() -> None:
    snapshot = alike(image("a"), image("b"))
    looks = Looks(seen(b=1) | {b"a": None})
    assert planned(snapshot, 0.9, "sharpness", "path", looks=looks) == {"a": ("b", "sharpness")}


def test_groups_that_were_not_looked_at_are_ranked_by_what_is_stored() -> None:
    snapshot = alike(image("a"), image("b", sharpness=2.0))
    assert planned(snapshot, 0.9, "sharpness", "path", looks=Looks(seen(a=1))) == {"a": ("b", "sharpness")}
