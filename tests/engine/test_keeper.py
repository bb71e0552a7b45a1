"""Which copy to keep: the first rule that tells two images apart decides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinlens.engine.errors import InvalidValue
from twinlens.engine.keeper import (
    DEFAULT_RULES,
    RULES,
    keeper_order,
    refuse_unknown_sets,
    split_rules,
    verdict,
)


@dataclass(frozen=True)
class Image:
    id: str = "m"
    path: str = "m.jpg"
    source: str = "/photos"
    format: str = "jpeg"
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


def best(rule: str, *images: Image) -> str:
    """The id of the image that a rule prefers."""
    named = [replace(image, id=str(number)) for number, image in enumerate(images)]
    return named[int(keeper_order(named, [rule]).argmin())].id


@pytest.mark.parametrize(
    ("rule", "formats", "ranks"),
    [
        ("format=heic>raw>png>jpeg", ["jpeg", "png", "webp", "heif"], [2, 1, 3, 0]),
        ("format=HEIF", ["jpeg", "png", "heif"], [1, 2, 0]),
        ("format=jpg > tif", ["png", "tiff", "jpeg"], [2, 1, 0]),
        ("format=avif>webp>gif>bmp", ["bmp", "gif", "webp", "avif"], [3, 2, 1, 0]),
    ],
)
def test_formats_in_the_order_that_is_wanted(rule: str, formats: list[str], ranks: list[int]) -> None:
    images = [replace(PLAIN, id=str(number), format=format) for number, format in enumerate(formats)]
    assert keeper_order(images, [rule]).tolist() == ranks


def test_raw_files_are_known_by_their_names() -> None:
    tiff, raw = replace(PLAIN, format="tiff"), replace(PLAIN, path="A.DNG", format="tiff")
    assert best("format=raw", tiff, raw) == "1"
    assert best("format=tiff", raw, tiff) == "1"


def test_paths_by_a_regular_expression() -> None:
    rule = r"path~/(raw|originals)/\d+"
    assert best(rule, replace(PLAIN, path="/p/raw/x.jpg"), replace(PLAIN, path="/p/originals/7.jpg")) == "1"


def test_sets_by_the_name_of_what_was_indexed() -> None:
    train = replace(PLAIN, source="/data/train")
    listed = replace(PLAIN, source="/data/chosen.txt")
    for name in ("chosen", "chosen.txt", "/data/chosen.txt"):
        assert best(f"set={name}", train, listed, replace(PLAIN, source="")) == "1"
    refuse_unknown_sets(["pixels", "set=train", "set=chosen"], ["/data/train", "/data/chosen.txt"])
    with pytest.raises(InvalidValue, match=r"no set is named 'test'.*there are train, chosen\.txt"):
        refuse_unknown_sets(["set=test"], ["/data/train", "/data/chosen.txt"])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            "pixel",
            r"no keeper rule 'pixel': choose from pixels, .*, path, format=heic>raw>png>jpeg, path~REGEX",
        ),
        ("format", r"no keeper rule 'format': choose from"),
        ("format=", r"'format=' lacks .* format=heic>raw>png>jpeg"),
        ("format=heic>exe", r"'format=heic>exe' names the format 'exe': choose from heic, avif, raw, jpeg"),
        ("format=heic>heif", r"'format=heic>heif' names a format twice"),
        ("path~[a", r"'path~\[a' is no regular expression: unterminated"),
        ("path~", r"'path~' lacks .* path~REGEX"),
        ("set=", r"'set=' lacks .* set=NAME"),
        ("pixels=3", r"no keeper rule 'pixels=3'"),
        ("", r"no keeper rule ''"),
    ],
)
def test_a_malformed_rule_is_named_with_what_there_is(rule: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        keeper_order([PLAIN], ["path", rule])


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("pixels, path", ("pixels", "path")),
        (
            "format=heic>png,path~a{1,3}\\.jpg,sharpness",
            ("format=heic>png", r"path~a{1,3}\.jpg", "sharpness"),
        ),
        ("path~(a,b),set=x,exif", ("path~(a,b)", "set=x", "exif")),
        ("pixels,size", ("pixels", "size")),
        (" ,", ()),
    ],
)
def test_rules_are_separated_by_commas_that_are_not_in_an_expression(
    text: str, rules: tuple[str, ...]
) -> None:
    assert split_rules(text) == rules


@pytest.mark.parametrize("rule", ["pixels", "sharpness", "bytes"])
def test_of_equals_in_content_the_derived_one_comes_last(rule: str) -> None:
    other = replace(PLAIN, id="a")
    assert keeper_order([PLAIN, other], [rule], derived={"a"}).tolist() == [0, 1]
    assert keeper_order([PLAIN, other], ["exif", rule], derived={"a"}).tolist() == [0, 1]
    assert keeper_order([PLAIN, other], ["exif"], derived={"a"}).tolist() == [1, 0]
    better = replace(BETTER[rule], id="a")
    assert keeper_order([PLAIN, better], [rule], derived={"a"}).tolist() == [1, 0]


def test_the_verdict_names_the_rule_that_told_two_apart() -> None:
    assert verdict(BETTER["exif"], PLAIN, DEFAULT_RULES) == ("exif", False)
    assert verdict(PLAIN, replace(PLAIN, id="z"), ["pixels"]) == ("id", False)
    assert verdict(PLAIN, replace(PLAIN, id="z"), ["exif", "pixels"], {"z"}) == ("pixels", True)
    assert verdict(BETTER["pixels"], PLAIN, ["pixels"], {"m"}) == ("pixels", False)
    assert verdict(replace(PLAIN, format="png"), PLAIN, ["format=png", "path"]) == ("format=png", False)


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
