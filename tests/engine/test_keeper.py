"""Which copy to keep: the first rule that tells two images apart decides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.engine.keeper import DEFAULT_RULES, RULES, keeper_order


@dataclass(frozen=True)
class Image:
    id: str = "m"
    path: str = "m.jpg"
    width: int = 100
    height: int = 100
    size: int = 1000
    sharpness: float = 5.0
    exif_tags: int = 3
    mtime_ns: int = 50


PLAIN = Image()
BETTER = {
    "pixels": replace(PLAIN, id="z", width=10, height=1001),
    "sharpness": replace(PLAIN, id="z", sharpness=5.1),
    "bytes": replace(PLAIN, id="z", size=1001),
    "exif": replace(PLAIN, id="z", exif_tags=4),
    "newest": replace(PLAIN, id="z", mtime_ns=51),
    "oldest": replace(PLAIN, id="z", mtime_ns=49),
    "path": replace(PLAIN, id="z", path="a.jpg"),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_prefers_the_better_image_whatever_its_id(rule: str) -> None:
    assert keeper_order([PLAIN, BETTER[rule]], [rule]).tolist() == [1, 0]


def test_the_first_rule_that_tells_images_apart_decides() -> None:
    images = [BETTER["path"], BETTER["exif"], BETTER["bytes"], BETTER["sharpness"], BETTER["pixels"]]
    assert keeper_order(images).tolist() == [4, 3, 2, 1, 0]
    assert keeper_order(images, ["exif", "path"]).tolist() == [1, 0, 2, 3, 4]
    assert DEFAULT_RULES == ("pixels", "sharpness", "bytes", "exif", "path")


def test_a_kept_image_comes_before_all_others_whatever_the_rules() -> None:
    worst = replace(PLAIN, id="worst", width=1, sharpness=0.0, size=1, exif_tags=0, path="z.jpg")
    images = [*BETTER.values(), worst]
    for rules in (DEFAULT_RULES, *([rule] for rule in RULES), []):
        assert keeper_order(images, rules, frozenset({"worst"}))[-1] == 0


def test_kept_images_are_ranked_among_themselves_by_the_rules() -> None:
    images = [replace(PLAIN, id=id_, size=size) for id_, size in (("a", 9), ("b", 5), ("c", 1), ("d", 7))]
    assert keeper_order(images, ["bytes"], {"c", "d"}).tolist() == [2, 3, 1, 0]
    assert keeper_order(images, ["bytes"], {"nobody"}).tolist() == [0, 2, 3, 1]


def test_an_unknown_sharpness_is_the_least_sharp() -> None:
    unknown = replace(PLAIN, id="a", sharpness=float("nan"))
    blurred = replace(PLAIN, id="b", sharpness=0.0)
    assert keeper_order([unknown, blurred, PLAIN], ["sharpness"]).tolist() == [2, 1, 0]


def test_ties_break_by_id() -> None:
    assert keeper_order([replace(PLAIN, id=id_) for id_ in "cab"], []).tolist() == [2, 0, 1]


def test_an_unknown_rule_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(InvalidValue, match=r"'size'.*pixels, sharpness, bytes, exif, newest, oldest, path"):
        keeper_order([], ["pixels", "size"])


images = st.builds(
    Image,
    path=st.sampled_from(["a", "b", "c"]),
    width=st.integers(1, 3),
    height=st.integers(1, 3),
    sharpness=st.floats(0, 2) | st.just(float("nan")),
    exif_tags=st.integers(0, 2),
)


@given(st.lists(images, max_size=12), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_order_of_the_input(drawn: list[Image], random: object) -> None:
    named = [replace(image, id=f"{place:02}") for place, image in enumerate(drawn)]
    shuffled = list(named)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    ranks = dict(zip((image.id for image in named), keeper_order(named).tolist(), strict=True))
    assert sorted(ranks.values()) == list(range(len(named)))
    assert keeper_order(shuffled).tolist() == [ranks[image.id] for image in shuffled]
