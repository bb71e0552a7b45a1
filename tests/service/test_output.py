from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest

from tests.service.reports import ROOT, cluster, identifier, unique
from twinlens.engine.results import Evidence, Linkage, Neighbour, Pair
from twinlens.service.output import (
    DUPLICATES,
    PAIRS,
    SEARCH,
    UNIQUENESS,
    Schema,
    Totals,
    cluster_json,
    duplicate_rows,
    duplicates_document,
    pair_rows,
    search_rows,
    totals,
    uniqueness_rows,
    write_json,
    write_table,
)

TWINS = cluster("a.jpg", "b.jpg", similarity=0.95, evidence=Evidence.PIXELS, links_out=2)


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        (
            DUPLICATES,
            "cluster_id size min_similarity mean_similarity links_out keeper id path similarity_to_keeper"
            " evidence width height bytes format sharpness",
        ),
        (PAIRS, "path_a path_b similarity evidence a b"),
        (UNIQUENESS, "id path score percentile nearest_id nearest_path nearest_similarity width height"),
        (SEARCH, "rank id path similarity"),
    ],
)
def test_columns_are_stable_and_documented(schema: Schema, names: str) -> None:
    assert schema.names == names.split()
    assert all(column.meaning for column in schema.columns)


def test_a_cluster_as_json() -> None:
    assert cluster_json(TWINS) == {
        "cluster_id": TWINS.cluster_id,
        "size": 2,
        "min_similarity": 0.95,
        "mean_similarity": 0.975,
        "min_is_exact": True,
        "evidence": "pixels",
        "keeper": identifier("a.jpg"),
        "keeper_path": f"{ROOT}/a.jpg",
        "members": [
            {
                "id": identifier(name),
                "path": f"{ROOT}/{name}",
                "similarity_to_keeper": similarity,
                "evidence": evidence,
                "keeper": keeper,
                "width": 4000,
                "height": 3000,
                "bytes": 1_000_000,
                "format": "jpeg",
                "sharpness": 123.4,
            }
            for name, similarity, evidence, keeper in [
                ("a.jpg", 1.0, None, True),
                ("b.jpg", 0.95, "pixels", False),
            ]
        ],
        "links_out": 2,
    }


def test_a_sharpness_that_is_not_a_number_is_null() -> None:
    blurred = replace(TWINS, members=tuple(replace(m, sharpness=math.nan) for m in TWINS.members))
    assert [member["sharpness"] for member in cluster_json(blurred)["members"]] == [None, None]


def test_totals_count_what_could_go() -> None:
    clusters = [cluster("a", "b", "c", size=100), cluster("d", "e", size=7)]
    assert totals(clusters) == Totals(clusters=2, clustered=5, spare=3, spare_bytes=207)


def test_the_document_of_duplicates_starts_with_the_clusters() -> None:
    out = io.BytesIO()
    document = duplicates_document(
        [TWINS], dataset="/d", model="m", threshold=0.9, linkage=Linkage.STAR, images=10
    )
    write_json(document, out)
    assert next(iter(document)) == "clusters"
    assert json.loads(out.getvalue()) == {
        "clusters": [cluster_json(TWINS)],
        "dataset": "/d",
        "model": "m",
        "threshold": 0.9,
        "threshold_source": "asked for",
        "linkage": "star",
        "join": None,
        "images": 10,
        "cluster_count": 1,
        "clustered_images": 2,
        "spare_images": 1,
        "spare_bytes": 1_000_000,
    }


def test_duplicates_have_one_row_per_member() -> None:
    out = io.BytesIO()
    write_table(duplicate_rows([TWINS]), DUPLICATES, "csv", out)
    _, keeper, copy = out.getvalue().decode().splitlines()
    shared = f"{TWINS.cluster_id},2,0.95,0.975,2"
    facts = "4000,3000,1000000,jpeg,123.4"
    assert keeper == f"{shared},true,{identifier('a.jpg')},{ROOT}/a.jpg,1.0,,{facts}"
    assert copy == f"{shared},false,{identifier('b.jpg')},{ROOT}/b.jpg,0.95,pixels,{facts}"


def test_pairs_show_paths_first() -> None:
    out = io.BytesIO()
    write_table(pair_rows([Pair("1", "2", "x.jpg", "y.jpg", 0.5, Evidence.HASH)]), PAIRS, "csv", out)
    assert out.getvalue().decode().splitlines()[1] == "x.jpg,y.jpg,0.5,hash,1,2"


def test_an_image_without_a_score_has_unknown_cells() -> None:
    (row,) = uniqueness_rows([unique("flat.png", score=None, nearest=None)])
    known = {name: value for name, value in row.items() if value is not None}
    assert known == {"id": identifier("flat.png"), "path": f"{ROOT}/flat.png", "width": 640, "height": 480}


def test_answers_of_a_search_are_ranked_from_one() -> None:
    rows = list(search_rows([Neighbour("1", "x.jpg", 0.9), Neighbour("2", "y.jpg", 0.8)]))
    assert rows[1] == {"rank": 2, "id": "2", "path": "y.jpg", "similarity": 0.8}
    assert [row["rank"] for row in rows] == [1, 2]
