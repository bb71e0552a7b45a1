"""Collections: what they keep, in which order, for whom, and what is nearest in them."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.matching.stored import brute_force, facts, hashes, ids, record
from twinlens.engine.errors import InvalidValue
from twinlens.service.matching.collections import CollectionStore, Insertion, Record
from twinlens.service.matching.distances import HashType
from twinlens.service.matching.filters import compile_filter

INSERTED, DUPLICATE, FULL = Insertion.INSERTED, Insertion.DUPLICATE, Insertion.FULL
EVEN = compile_filter({"even": True})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CollectionStore]:
    opened = CollectionStore(tmp_path / "collections.sqlite", max_records=100_000)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectionStore]:
    """One store for many examples, each with a collection of its own."""
    opened = CollectionStore(tmp_path_factory.mktemp("shared") / "c.sqlite", max_records=1000)
    yield opened
    opened.close()


FRESH = itertools.count()


def fill(store: CollectionStore, count: int, name: str = "c", owner: str = "ann") -> list[Record]:
    records = [record(f"r{i}", i, even=i % 2 == 0, number=i) for i in range(count)]
    assert store.insert(owner, name, records) == [INSERTED] * count
    return records


# -- records ---------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_sent(store: CollectionStore) -> None:
    sent = record("r", 3, brand="Acme", tags=["a", {"b": None}], price=1.5, big=10**30, none=None)
    assert store.insert("ann", "shoes", [sent]) == [INSERTED]
    (found,) = store.get("ann", "shoes", ["r"])
    assert facts(found) == facts(sent)
    assert found is not None and type(found.fields["big"]) is int


def test_unknown_collections_are_empty_ones(store: CollectionStore) -> None:
    query = hashes(1)
    assert store.get("ann", "none", ["a", "b"]) == [None, None]
    assert store.update("ann", "none", [("a", {"x": 1})]) == [None]
    assert store.delete("ann", "none", ["a"]) == [False]
    assert store.count("ann", "none") == store.count("ann", "none", EVEN) == 0
    assert store.nearest("ann", "none", query.bmh1, HashType.BMH1) == []
    assert store.sample("ann", "none", 3) == []
    assert store.page("ann", "none", 10, 1) == ([], False)
    assert list(store.all("ann", "none")) == []
    assert store.insert("ann", "none", []) == []
    assert store.cached_bytes == 0


def test_an_id_is_inserted_once_and_never_overwritten(store: CollectionStore) -> None:
    assert store.insert("ann", "c", [record("a", 1, x=1), record("b"), record("a", 2, x=2)]) == [
        INSERTED,
        INSERTED,
        DUPLICATE,
    ]
    assert store.insert("ann", "c", [record("b", 4, x=3), record("d")]) == [DUPLICATE, INSERTED]
    assert facts(store.get("ann", "c", ["a"])[0]) == facts(record("a", 1, x=1))
    assert (store.count("ann", "c"), ids(list(store.all("ann", "c")))) == (3, ["a", "b", "d"])


def test_a_full_collection_takes_no_more(tmp_path: Path) -> None:
    store = CollectionStore(tmp_path / "c.sqlite", max_records=2)
    assert store.insert("ann", "c", [record(id_) for id_ in "abac"]) == [INSERTED, INSERTED, DUPLICATE, FULL]
    assert store.insert("ann", "c", [record("a"), record("d")]) == [DUPLICATE, FULL]
    assert store.insert("ann", "other", [record("d")]) == [INSERTED]
    assert store.delete("ann", "c", ["a"]) == [True]
    assert store.insert("ann", "c", [record("d"), record("e")]) == [INSERTED, FULL]
    store.close()


def test_update_merges_fields_and_leaves_the_rest(store: CollectionStore) -> None:
    store.insert("ann", "c", [record("a", 1, keep=1, change={"x": 1}), record("b", 2)])
    changes: list[tuple[str, dict[str, Any]]] = [
        ("a", {"change": {"y": 2}, "new": [1]}),
        ("none", {"x": 1}),
        ("a", {"new": None}),
    ]
    first, unknown, second = store.update("ann", "c", changes)
    assert facts(first) == facts(record("a", 1, keep=1, change={"y": 2}, new=[1]))
    assert unknown is None
    after = record("a", 1, keep=1, change={"y": 2}, new=None)
    assert facts(second) == facts(store.get("ann", "c", ["a"])[0]) == facts(after)
    assert ids(list(store.all("ann", "c"))) == ["a", "b"]


def test_a_deleted_id_can_come_back_at_the_end(store: CollectionStore) -> None:
    fill(store, 4)
    assert store.delete("ann", "c", ["r1", "none", "r1", "r3"]) == [True, False, False, True]
    assert store.count("ann", "c") == 2
    assert store.insert("ann", "c", [record("r1", 1)]) == [INSERTED]
    assert ids(list(store.all("ann", "c"))) == ["r0", "r2", "r1"]
    same = hashes(1)
    found = store.nearest("ann", "c", same.bmh1, HashType.BMH1, radius_bits=0)
    assert [(each.id, distance) for each, distance in found] == [("r1", 0)]


def test_more_ids_than_sqlite_takes_parameters(store: CollectionStore) -> None:
    records = fill(store, 3000)
    wanted = [each.id for each in reversed(records)]
    assert [each and each.id for each in store.get("ann", "c", wanted)] == wanted
    assert len(store.update("ann", "c", [(id_, {"x": 1}) for id_ in wanted])) == 3000
    assert len(store.nearest("ann", "c", hashes(0).bmh1, HashType.BMH1)) == 3000
    assert store.delete("ann", "c", wanted) == [True] * 3000
    assert store.count("ann", "c") == 0


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
WHOLE_TEXT = st.text(max_size=8)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(WHOLE_TEXT, WHOLE_TEXT, WHOLE_TEXT, st.dictionaries(ANY_TEXT, ANY_JSON, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_text_names_and_any_json_is_kept(
    shared: CollectionStore, owner: str, name: str, id_: str, fields: dict[str, Any]
) -> None:
    name = f"{next(FRESH)} {name}"
    sent = Record(id_, fields, 1, 2, hashes(1))
    assert shared.insert(owner, name, [sent]) == [INSERTED]
    assert repr(facts(shared.get(owner, name, [id_])[0])) == repr(facts(sent))
    assert shared.insert(owner, name, [sent]) == [DUPLICATE]
    assert shared.get(owner, name, [id_ + "\0"]) == [None]


def test_half_a_surrogate_pair_is_kept_in_fields(store: CollectionStore) -> None:
    sent = Record("a", {"\udc80": ["\ud800", {"x": "\ud83d"}]}, 1, 2, hashes(1))
    store.insert("ann", "c", [sent])
    assert facts(store.get("ann", "c", ["a"])[0]) == facts(sent)


def test_half_a_surrogate_pair_is_no_name(store: CollectionStore) -> None:
    broken = "a\ud800"
    calls: list[Callable[[], object]] = [
        lambda: store.insert("ann", "c", [record(broken)]),
        lambda: store.get("ann", "c", [broken]),
        lambda: store.update("ann", "c", [(broken, {})]),
        lambda: store.delete("ann", "c", [broken]),
        lambda: store.count(broken, "c"),
        lambda: store.insert("ann", broken, [record("a")]),
        lambda: store.adopt("ann", broken),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match=r"'a\\ud800' holds half a surrogate pair"):
            call()


def test_fields_nest_200_levels(store: CollectionStore) -> None:
    deep = json.loads("[" * 199 + "]" * 199)
    store.insert("ann", "c", [record("a", x=deep)])
    assert facts(store.get("ann", "c", ["a"])[0]) == facts(record("a", x=deep))
    calls: list[Callable[[], object]] = [
        lambda: store.insert("ann", "c", [record("b"), record("d", x=[deep])]),
        lambda: store.update("ann", "c", [("a", {"y": 1}), ("a", {"x": [deep]})]),
    ]
    for call in calls:
        with pytest.raises(InvalidValue, match="nest more than 200 levels"):
            call()
    assert [facts(each) for each in store.all("ann", "c")] == [facts(record("a", x=deep))]


# -- owners ----------------------------------------------------------------------------------------


def test_owners_never_see_each_other(store: CollectionStore) -> None:
    fill(store, 3, owner="ann")
    assert store.insert("bob", "c", [record("r1", 9, bob=True)]) == [INSERTED]
    assert store.delete("bob", "c", ["r0"]) == [False]
    assert store.update("bob", "c", [("r0", {"x": 1})]) == [None]
    assert (store.count("ann", "c"), store.count("bob", "c")) == (3, 1)
    (mine,) = store.get("bob", "c", ["r1"])
    assert mine is not None and mine.fields == {"bob": True}
    for owner, count in (("ann", 3), ("bob", 1), ("eve", 0)):
        assert len(store.nearest(owner, "c", hashes(0).bmh1, HashType.BMH1)) == count
        assert len(list(store.all(owner, "c"))) == len(store.sample(owner, "c", 9)) == count
        assert len(store.page(owner, "c", 9, 1)[0]) == count


def test_collections_are_given_to_another_owner_all_or_none(store: CollectionStore) -> None:
    query = hashes(0).bmh1
    for name in ("one", "two", "empty"):
        fill(store, 3, name)
        store.nearest("ann", name, query, HashType.BMH1)
    store.delete("ann", "empty", ["r0", "r1", "r2"])
    store.insert("bob", "two", [record("x")])
    with pytest.raises(InvalidValue, match="'bob' has a collection 'two' already"):
        store.adopt("ann", "bob")
    assert [store.count("ann", name) for name in ("one", "two")] == [3, 3]
    assert store.count("bob", "one") == 0

    store.delete("bob", "two", ["x"])
    assert store.adopt("ann", "bob") == 2
    assert [store.count("bob", name) for name in ("one", "two")] == [3, 3]
    assert len(store.nearest("bob", "one", query, HashType.BMH1)) == 3
    assert store.nearest("ann", "one", query, HashType.BMH1) == []
    assert store.insert("ann", "two", [record("fresh")]) == [INSERTED]
    assert [each.id for each, _ in store.nearest("ann", "two", query, HashType.BMH1)] == ["fresh"]
    assert store.adopt("nobody", "bob") == store.adopt("bob", "bob") == 0


# -- nearest ---------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 9), max_size=25),
    st.integers(0, 9),
    st.sampled_from(HashType),
    st.none() | st.integers(0, 30),
    st.none() | st.integers(0, 40) | st.integers(200, 400) | st.just(10**9),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_nearest_equals_brute_force(
    shared: CollectionStore,
    seeds: list[int],
    asked: int,
    kind: HashType,
    k: int | None,
    radius: int | None,
    filtered: bool,
) -> None:
    name = str(next(FRESH))
    records = [record(str(place), seed, even=place % 2 == 0) for place, seed in enumerate(seeds)]
    shared.insert("ann", name, records)
    query = kind.of(hashes(asked, spread=9))
    where = EVEN if filtered else None
    found = shared.nearest("ann", name, query, kind, k=k, radius_bits=radius, where=where)
    let_through = [each for each in records if not filtered or each.fields["even"]]
    expected = brute_force(let_through, query, kind, k, radius)
    assert [(each.id, distance) for each, distance in found] == expected
    by_id = {each.id: facts(each) for each in records}
    assert all(facts(each) == by_id[each.id] for each, _ in found)


@pytest.mark.parametrize(("k", "radius"), [(-1, None), (None, -1)])
def test_negative_limits_are_refused(store: CollectionStore, k: int | None, radius: int | None) -> None:
    fill(store, 2)
    with pytest.raises(InvalidValue, match="must be 0 or more, not -1"):
        store.nearest("ann", "c", hashes(0).bmh1, HashType.BMH1, k=k, radius_bits=radius)


def test_a_query_is_a_hash_of_its_kind(store: CollectionStore) -> None:
    fill(store, 2)
    with pytest.raises(InvalidValue, match=r"a bmh1 hash is uint8 \[121\], not uint8 \[8\]"):
        store.nearest("ann", "c", hashes(0).phash, HashType.BMH1)
    with pytest.raises(InvalidValue, match=r"a phash hash is uint8 \[8\], not float64 \[8\]"):
        store.nearest("ann", "c", np.zeros(8), HashType.PHASH)  # type: ignore[arg-type]


# -- counting, samples, pages ------------------------------------------------------------------------


def test_filters_see_id_fields_and_size(store: CollectionStore) -> None:
    fill(store, 10)
    wanted = {"_id": {"$nin": ["r4"]}, "even": True, "_width": {"$gte": 12}, "_height": {"$lt": 28}}
    where = compile_filter(wanted)
    assert store.count("ann", "c", where) == 2
    assert ids(list(store.all("ann", "c", where))) == ["r2", "r6"]
    assert ids(store.page("ann", "c", 5, 1, where)[0]) == ["r2", "r6"]
    assert set(ids(store.sample("ann", "c", 5, where))) == {"r2", "r6"}
    assert store.count("ann", "c", compile_filter({})) == store.count("ann", "c") == 10


def test_samples_are_distinct_and_vary(store: CollectionStore) -> None:
    fill(store, 40)
    samples = [ids(store.sample("ann", "c", 5)) for _ in range(20)]
    assert all(len(set(sample)) == 5 for sample in samples)
    assert len({tuple(sample) for sample in samples}) > 1
    assert sorted(ids(store.sample("ann", "c", 99, EVEN))) == sorted(f"r{i}" for i in range(0, 40, 2))
    assert store.sample("ann", "c", 0) == []
    with pytest.raises(InvalidValue, match="0 or more records, not -1"):
        store.sample("ann", "c", -1)


@pytest.mark.parametrize("where", [None, EVEN])
@pytest.mark.parametrize("size", [1, 3, 10, 20, 21, 10**30])
def test_pages_cover_everything_once(store: CollectionStore, size: int, where: Any) -> None:
    expected = [each.id for each in fill(store, 20) if where is None or each.fields["even"]]
    seen: list[str] = []
    for number in itertools.count(1):
        found, more = store.page("ann", "c", size, number, where)
        assert 1 <= len(found) <= size
        seen += ids(found)
        if not more:
            break
    assert seen == expected
    assert store.page("ann", "c", size, number + 1, where) == ([], False)
    assert store.page("ann", "c", size, 10**30, where) == ([], False)


@pytest.mark.parametrize(("size", "page"), [(0, 1), (1, 0), (-1, 1)])
def test_pages_count_from_one(store: CollectionStore, size: int, page: int) -> None:
    with pytest.raises(InvalidValue, match="1 or more records and count from 1"):
        store.page("ann", "c", size, page)


def test_all_streams_and_holds_nothing_up(store: CollectionStore) -> None:
    fill(store, 5000)
    streamed = store.all("ann", "c")
    first = [next(streamed).id for _ in range(10)]
    store.delete("ann", "c", ["r0", "r4999"])
    store.insert("ann", "c", [record("new")])
    rest = ids(list(streamed))
    assert first + rest == [f"r{i}" for i in range(4999)] + ["new"]


# -- several threads and stores ----------------------------------------------------------------------


def test_each_id_is_inserted_by_one_thread_only(store: CollectionStore) -> None:
    barrier = Barrier(8)

    def insert(thread: int) -> list[str]:
        barrier.wait()
        won: list[str] = []
        for start in range(0, 200, 10):
            batch = [record(f"r{(start + i + 7 * thread) % 200}", thread) for i in range(10)]
            outcomes = store.insert("ann", "c", batch)
            won += [each.id for each, outcome in zip(batch, outcomes, strict=True) if outcome is INSERTED]
            found = store.nearest("ann", "c", hashes(thread).bmh1, HashType.BMH1, k=3)
            assert len(found) == 3
        return won

    with ThreadPoolExecutor(8) as pool:
        won = [id_ for ids_ in pool.map(insert, range(8)) for id_ in ids_]
    assert sorted(won) == sorted(f"r{i}" for i in range(200))
    assert store.count("ann", "c") == len(store.nearest("ann", "c", hashes(0).phash, HashType.PHASH)) == 200


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that take turns a thousand times as often as usual, so that races show."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 1000)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_readers_see_whole_transactions(store: CollectionStore) -> None:
    """Batches of ten come and go; whoever looks meanwhile sees tens."""
    stop, query = Event(), hashes(0).bmh1

    def write() -> None:
        for turn in range(100):
            store.insert("ann", "c", [record(f"{turn}-{i}", even=True) for i in range(10)])
            if turn % 3 == 2:
                store.delete("ann", "c", [f"{turn - 1}-{i}" for i in range(10)])
        stop.set()

    def look() -> set[int]:
        seen: set[int] = set()
        while not stop.is_set():
            seen.add(len(store.nearest("ann", "c", query, HashType.BMH1, radius_bits=0)))
            seen.add(len(store.nearest("ann", "c", query, HashType.BMH1, radius_bits=0, where=EVEN)))
            seen.add(store.count("ann", "c"))
        return seen

    with ThreadPoolExecutor(7) as pool:
        looks = [pool.submit(look) for _ in range(6)]
        pool.submit(write).result()
        seen = set().union(*(each.result() for each in looks))
    assert {count % 10 for count in seen} == {0} and len(seen) > 1


OPERATIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["insert", "insert", "delete", "look"]),
        st.sampled_from(["ann", "bob"]),
        st.lists(st.integers(0, 12), min_size=1, max_size=5),
    ),
    max_size=25,
)


@given(OPERATIONS, st.sampled_from([0, 2000, 10**6]))
@settings(max_examples=40, deadline=None)
def test_two_stores_on_a_file_see_each_others_changes_at_once(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[int, str, str, list[int]]], cache: int
) -> None:
    path = tmp_path_factory.mktemp("two") / "c.sqlite"
    stores = [CollectionStore(path, max_records=100, cache_bytes=cache) for _ in range(2)]
    model: dict[str, dict[str, Record]] = {"ann": {}, "bob": {}}
    for which, what, owner, numbers in operations:
        held, store = model[owner], stores[which]
        if what == "insert":
            for each in [record(f"r{number}", number) for number in numbers]:
                fresh = each.id not in held
                assert store.insert(owner, "c", [each]) == [INSERTED if fresh else DUPLICATE]
                held.setdefault(each.id, each)
        elif what == "delete":
            known = [held.pop(f"r{number}", None) is not None for number in numbers]
            assert store.delete(owner, "c", [f"r{number}" for number in numbers]) == known
        for reader in stores:
            query = hashes(numbers[0]).bmh1
            found = [(each.id, bits) for each, bits in reader.nearest(owner, "c", query, HashType.BMH1)]
            assert found == brute_force(list(held.values()), query, HashType.BMH1, None, None)
    for store in stores:
        store.close()


# -- memory ----------------------------------------------------------------------------------------


def test_hashes_in_memory_stay_within_their_bound(tmp_path: Path) -> None:
    query, bound = hashes(0).bmh1, 100_000
    store = CollectionStore(tmp_path / "c.sqlite", max_records=10_000, cache_bytes=bound)
    for name in "abcdef":
        fill(store, 200, name)
    for _ in range(2):
        for name in "abcdef":
            assert len(store.nearest("ann", name, query, HashType.BMH1)) == 200
            assert 200 * 144 <= store.cached_bytes <= bound
    fill(store, 1000, "larger than all")
    assert len(store.nearest("ann", "larger than all", query, HashType.BMH1)) == 1000
    assert store.cached_bytes <= bound
    store.close()
