"""Filters of explore: their forms in a URL, what they select, and how several hold together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from tests.brute_force import Stored
from tests.explore import (
    JsonObject,
    Lab,
    all_names,
    done,
    duplicates,
    issue,
    labels,
    names,
    refusal,
    text,
    uniqueness,
)
from tests.photographs import BLANK, CATS

PEOPLE = {"astronaut.jpg", "astronaut-again.jpg", "astronaut-smaller.jpg", "camera.jpg"}


def selected(lab: Lab, *vql: JsonObject, **params: Any) -> set[str]:
    """Names of all images in an answer of single images and small clusters."""
    answer = lab.ann.explore(lab.dataset, vql or None, **params)
    found = set().union(*all_names(answer)) if answer["clusters"] else set[str]()
    assert len(found) == answer["metadata"]["total_media"]
    return found


# -- encodings of vql ------------------------------------------------------------------------------

SPACED = '[{"duplicates": {"op": "duplicates", "value": 0.95}}]'
COMPACT = SPACED.replace(" ", "")


@pytest.mark.parametrize(
    "encoded",
    [
        quote(COMPACT, safe=""),
        quote(SPACED, safe=""),
        quote(SPACED, safe="").replace("%20", "+"),
        quote(COMPACT, safe="").lower(),
        quote(SPACED, safe='[]{}":,').replace("%20", "+"),
        quote(json.dumps(json.loads(SPACED), indent=2), safe=""),
        quote('[{"id":"1","duplicates":{"value":9.5e-1,"op":"duplicates"}}]', safe=""),
        quote('[{"d\\u0075plicates":{"op":"duplicates","value":0.950}}]', safe=""),
    ],
)
def test_every_encoding_of_vql_is_read(lab: Lab, encoded: str) -> None:
    answer = done(lab.ann.get(f"/explore/{lab.dataset}?vql={encoded}&entity_type=IMAGES&threshold=0"))
    assert answer.json() == lab.ann.explore(lab.dataset, [duplicates(0.95)])


@pytest.mark.parametrize(
    "query", ["", "vql=", "vql=%5B%5D", "entity_type=&threshold=&labels=", "allow_deleted=false"]
)
def test_what_is_empty_or_unknown_filters_nothing(lab: Lab, query: str) -> None:
    assert done(lab.ann.get(f"/explore/{lab.dataset}?{query}")).json() == lab.ann.explore(lab.dataset)


# -- labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "held"),
    [
        ('["person"]', PEOPLE),
        ("[person]", PEOPLE),
        ("person", PEOPLE),
        ('["person", "animal"]', {*PEOPLE, "chelsea.jpg"}),
        ("[person,animal]", {*PEOPLE, "chelsea.jpg"}),
        ("[person, animal]", {*PEOPLE, "chelsea.jpg"}),
        ('["cup, full"]', {"coffee.jpg"}),
        ("cup, full", {"coffee.jpg"}),
        ('["nobody"]', set()),
        ('["Person"]', set()),
    ],
)
def test_forms_of_labels(lab: Lab, form: str, held: set[str]) -> None:
    assert selected(lab, labels=form) == held


@pytest.mark.parametrize(
    ("op", "values", "held"),
    [
        ("one_of", ["person", "animal"], {*PEOPLE, "chelsea.jpg"}),
        ("is", ["cat", "animal"], {"chelsea.jpg"}),
        ("is", ["person", "edited"], {"astronaut-smaller.jpg"}),
        ("is", ["person"], PEOPLE),
    ],
)
def test_ops_of_labels(lab: Lab, stored: Stored, op: str, values: Sequence[str], held: set[str]) -> None:
    assert selected(lab, labels(*values, op=op)) == held
    opposite = {"one_of": "not_one_of", "is": "is_not"}[op]
    # Eleven cats make one cluster, of which nine are shown.
    answer = lab.ann.explore(lab.dataset, [labels(*values, op=opposite)])
    assert answer["metadata"]["total_media"] == len(stored.names) - len(held)
    assert not held & set().union(*all_names(answer))


def test_several_labels_hold_together(lab: Lab) -> None:
    assert selected(lab, labels("person"), labels("edited")) == {"astronaut-smaller.jpg"}
    assert selected(lab, labels("person", "cat"), labels="animal") == {"chelsea.jpg"}


# -- selection first -------------------------------------------------------------------------------


def test_duplicates_are_looked_for_among_what_is_selected(lab: Lab) -> None:
    answer = lab.ann.explore(lab.dataset, [duplicates(0.9), labels("person")])
    # The copy of the astronaut has no label, and the man with the camera no twin.
    assert all_names(answer) == [PEOPLE - {"camera.jpg"}]
    assert answer["clusters"][0]["n_images"] == 3
    assert lab.ann.explore(lab.dataset, [duplicates(0.9), labels("edited")])["clusters"] == []


def test_filters_hold_in_any_order(lab: Lab) -> None:
    vql = [labels("person"), duplicates(0.9), issue("duplicates"), uniqueness(0.01)]
    assert lab.ann.explore(lab.dataset, vql) == lab.ann.explore(lab.dataset, vql[::-1])


def test_uniqueness_is_that_of_the_whole_dataset(lab: Lab) -> None:
    def scores(*vql: JsonObject) -> dict[str, float]:
        found = lab.ann.explore(lab.dataset, [uniqueness(0), *vql])["clusters"]
        return {each["previews"][0]["file_name"]: each["previews"][0]["uniqueness_score"] for each in found}

    everybody, people = scores(), scores(labels("person"))
    # The astronaut itself has a perfect copy: its score is 0, and not above it.
    assert people == {name: everybody[name] for name in PEOPLE - {"astronaut.jpg"}}
    # Alone among what is selected, it has twins in the dataset all the same.
    assert scores(labels("edited"))["astronaut-smaller.jpg"] < 0.1


def test_uniqueness_and_duplicates_together(lab: Lab, stored: Stored) -> None:
    unique = {
        each["previews"][0]["file_name"]
        for each in lab.ann.explore(lab.dataset, [uniqueness(0.09)])["clusters"]
    }
    answer = lab.ann.explore(lab.dataset, [uniqueness(0.09), duplicates(0.5)])
    held = {frozenset(group) for group in all_names(answer)}
    assert frozenset({"motorcycle_left.jpg", "motorcycle_right.jpg"}) in held
    assert all(group <= unique and stored.least(group) >= 0.5 for group in held)


# -- issues ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "some", "others"),
    [
        ("blur", {"coins-blurred.jpg"}, {"astronaut.jpg", "coins.jpg", *BLANK}),
        ("dark", {"rocket-dark.jpg", "hubble_deep_field.jpg"}, {"rocket.jpg", "coffee.jpg"}),
        ("bright", {"blank-1.png", "blank-2.png"}, {"blank-grey.png", "rocket.jpg"}),
        ("outliers", {"retina.jpg"}, {"astronaut.jpg", "coffee.jpg"}),
        (
            "duplicates",
            {"astronaut.jpg", "astronaut-copy.jpg", "blank-1.png"},
            {"retina.jpg", "blank-grey.png"},
        ),
    ],
)
def test_issues(lab: Lab, name: str, some: set[str], others: set[str]) -> None:
    assert lab.ann.explore(lab.dataset, [issue(name)]) == lab.ann.explore(
        lab.dataset, [issue(name, mode="in")]
    )
    with_it = lab.ann.explore(lab.dataset, [issue(name, mode="in")])
    without = lab.ann.explore(lab.dataset, [issue(name, mode="out")])
    assert some <= set().union(*all_names(with_it)) and not others & set().union(*all_names(with_it))
    assert others <= set().union(*all_names(without)) and not some & set().union(*all_names(without))
    everything = lab.ann.status(lab.dataset)["n_images"]
    assert with_it["metadata"]["total_media"] + without["metadata"]["total_media"] == everything


def test_issues_by_their_confidence(lab: Lab) -> None:
    assert selected(lab, issue("blur", mode="in", confidence_min=0.8, confidence_max=1.0)) == selected(
        lab, issue("blur")
    )
    assert selected(lab, issue("blur", confidence_max=0.5)) == set()
    assert selected(lab, issue("dark", confidence_min=0.8), issue("dark", confidence_max=0.79)) == set()


@pytest.mark.parametrize("name", ["mislabels", "normal", "label_outlier", "Blur", ""])
def test_issues_that_are_not_known_here_are_refused(lab: Lab, name: str) -> None:
    detail = refusal(lab.ann.ask(lab.dataset, [issue(name, mode="in")]), 422)
    assert detail == (
        f"vql[0].issues.value takes blur or dark or bright or duplicates or outliers, not {name!r}"
    )


# -- captions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ("motorcycle", {"motorcycle_left.jpg"}),
        ("MOTORCYCLES", {"motorcycle_left.jpg"}),
        ("camera", {"camera.jpg", "chelsea.jpg"}),
        ("camera looking", {"chelsea.jpg"}),
        ("strong coffee", {"coffee.jpg"}),
        ("strong AND", set()),
        ('"', set()),
        ("elephant", set()),
    ],
)
def test_words_of_captions(lab: Lab, words: str, held: set[str]) -> None:
    assert selected(lab, text(words, op="fts")) == held


def test_words_of_captions_with_other_filters(lab: Lab) -> None:
    assert selected(lab, text("camera", op="fts"), labels("cat")) == {"chelsea.jpg"}
    assert lab.ann.explore(lab.dataset, [text("camera", op="fts"), duplicates(0.5)])["clusters"] == []


# -- flat images -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0, 0.01, 0.5, 1])
def test_flat_images_are_duplicates_only_of_the_same_file(lab: Lab, threshold: float) -> None:
    (flat,) = [
        cluster
        for cluster in lab.ann.explore(lab.dataset, [duplicates(threshold)])["clusters"]
        if set(names(cluster)) & set(BLANK)
    ]
    assert sorted(names(flat)) == ["blank-1.png", "blank-2.png"] and flat["n_images"] == 2


def test_flat_images_are_in_no_list_of_unique_ones(lab: Lab) -> None:
    assert not selected(lab, uniqueness(0)) & set(BLANK)


# -- previews --------------------------------------------------------------------------------------


def test_nine_previews_at_most_and_the_keeper_first(lab: Lab) -> None:
    clusters = {names(each)[0]: each for each in lab.ann.explore(lab.dataset, [duplicates(0.95)])["clusters"]}
    cats = clusters["chelsea.jpg"]
    assert (cats["n_images"], len(cats["previews"])) == (1 + len(CATS), 9)
    assert set(names(cats)) <= {"chelsea.jpg", *CATS}
    # Most pixels, then sharpest, then largest: never the smaller copy, nor the one that lost detail.
    for first, later in (("brick.jpg", "brick-smaller.jpg"), ("coffee.jpg", "coffee-again.jpg")):
        assert later in names(clusters[first])[1:]
