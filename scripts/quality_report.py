"""The figures of the quality benchmark as a section of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scripts.quality_truth import GRADES

Result = Mapping[str, Any]

HEADING = "## Finding copies"
WRONG_PAIRS = "## What the default takes for copies"
"""Written by hand, from the sheets of wrong pairs."""
SETS = {"plain": "plain families", "hard": "harder families"}


def section(results: Sequence[Result]) -> str:
    """The section, from the results of all methods, the best first."""
    ordered = sorted(results, key=lambda result: -result["plain"]["uAP"]["value"])
    return (
        "\n".join([HEADING, "", *_introduction(ordered[0]), *_tables(ordered), *_semantics(ordered)]) + "\n"
    )


def _introduction(result: Result) -> Iterator[str]:
    made = result["collection"]
    yield (
        f"Written by `python -m scripts.bench_quality` of TwinLens {result['version']}, seed {made['seed']}: "
        f"{made['originals']} originals, {made['plain']:,} copies of them in {made['plain families']} plain "
        f"families of edits and {made['hard']:,} in {made['hard families']} harder ones, among "
        f"{made['distractors']:,} other pictures, from packages that nothing was trained on."
    )
    yield ""
    yield (
        "uAP is average precision over all pairs of a copy and a reference in one ranking; R@P99 the recall "
        "at 99 % precision there; F1 the best over all pairs of files. In brackets: 95 % intervals over "
        "resampled originals. Hard negatives are frames of one film, views and cuts of one scene, pages of "
        "one document, pictures in one template and drawings in one style; they count where the column says "
        "so."
    )
    yield ""


def _tables(results: Sequence[Result]) -> Iterator[str]:
    for name, title in SETS.items():
        yield f"### {title.capitalize()}"
        yield ""
        yield "| | uAP | R@P99 | uAP, hard negatives | R@P99, hard negatives | best F1 | threshold |"
        yield "|---|---|---|---|---|---|---|"
        for result in results:
            figures = result[name]
            hard = figures["with hard negatives"]
            cells = [
                *(_interval(figures[key]) for key in ("uAP", "R@P99")),
                *(_interval(hard[key]) for key in ("uAP", "R@P99")),
                _interval(figures["best F1"]),
                _threshold(figures["threshold at 99 % precision"]),
            ]
            yield f"| {result['name']} | {' | '.join(cells)} |"
        yield ""
        yield from _grades(name, results)
        yield "Recall at 99 % precision by family:"
        yield ""
        yield f"| | {' | '.join(result['name'] for result in results)} |"
        yield f"|---|{'---|' * len(results)}"
        families = results[0][name]["families"]
        for family in families:
            shares = (result[name]["families"][family]["recall"]["value"] for result in results)
            yield f"| {family} | {' | '.join(_share(share) for share in shares)} |"
        yield ""
    yield "Clusters of all files at the default threshold, and the share of them that hold a pair below it:"
    yield ""
    yield "| | threshold | clusters | largest | with a pair below |"
    yield "|---|---|---|---|---|"
    for result in results:
        clusters = result["clusters"]
        if clusters is not None:
            yield (
                f"| {result['name']}, {clusters['kind']} | {result['threshold']:g} | {clusters['count']:,} "
                f"| {clusters['largest']:,} | {clusters['with a pair below']:.1%} |"
            )
    yield ""
    yield from _points(results)


def _grades(name: str, results: Sequence[Result]) -> Iterator[str]:
    """A table of results that were measured by grade."""
    known = [result for result in results if "grades" in result[name]]
    if not known:
        return
    grades = known[0][name]["grades"]
    yield "uAP / R@P99 among the copies of one grade, a third of an edit's range of strengths each:"
    yield ""
    yield "| | " + " | ".join(f"{grade}, {grades[grade]['copies']:,}" for grade in GRADES) + " |"
    yield f"|---|{'---|' * len(GRADES)}"
    for result in known:
        figures = (result[name]["grades"][grade] for grade in GRADES)
        cells = (f"{_share(each['uAP'])} / {_share(each['R@P99'])}" for each in figures)
        yield f"| {result['name']} | {' | '.join(cells)} |"
    yield ""


def _points(results: Sequence[Result]) -> Iterator[str]:
    known = [result for result in results if result["plain"].get("points")]
    if not known:
        return
    yield "Operating points: precision and recall over the plain families, and over the harder ones:"
    yield ""
    yield "| | threshold | plain precision | plain recall | harder precision | harder recall |"
    yield "|---|---|---|---|---|---|"
    for result in known:
        for name, point in result["plain"]["points"].items():
            shares = [result[kind]["points"][name] for kind in SETS]
            cells = (f"{each[share]:.2%}" for each in shares for share in ("precision", "recall"))
            yield f"| {result['name']}, {name} | {point['threshold']:g} | {' | '.join(cells)} |"
    yield ""


def _semantics(results: Sequence[Result]) -> Iterator[str]:
    known = [result for result in results if result.get("semantics")]
    if not known:
        return
    first = known[0]["semantics"]
    yield (
        f"Categories of the five nearest neighbours among {first['stamps']} stamps of {first['categories']} "
        "categories, mean share that agrees:"
    )
    yield ""
    yield "| | agreement |"
    yield "|---|---|"
    for result in known:
        yield f"| {result['name']} | {_interval(result['semantics']['agreement'])} |"
    yield ""


def _interval(figure: Mapping[str, float]) -> str:
    return f"{_share(figure['value'])} ({_share(figure['low'])}-{_share(figure['high'])})"


def _share(value: float) -> str:
    """Three decimals, as tables have them: .985."""
    return f"{value:.3f}".removeprefix("0") if value < 0.9995 else "1.00"


def _threshold(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
