"""A calibration in words: what the terminal prints and what a page says beside its plots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from twinlens.engine.calibration import FEW_IMAGES, LEVELS, Calibration
from twinlens.engine.precision import SMALLEST_COLLECTION, Estimate

TWINS = {
    "identical": "identical bytes, pixels or rows",
    "hash": "near-equal hashes",
    "burst": "neighbours in a burst",
}
LEFT_OUT = {
    "gone": "whose file is gone",
    "changed": "whose file has changed",
    "unreadable": "that cannot be read",
}


def calibration_lines(calibration: Calibration, paths: Mapping[str, str]) -> Iterator[str]:
    """What was measured, line by line.

    Args:
        calibration: to tell.
        paths: of images by id; an image that is not there any more is named by its id.
    """
    yield sample_sentence(calibration)
    yield from left_out_sentences(calibration)
    yield ""
    heads = (
        ("precision", 12),
        ("threshold", 12),
        ("interval", 20),
        ("precision there", 24),
        ("edits found", 24),
    )
    yield "".join(head.ljust(width) for head, width in heads) + "used as"
    for name, level in zip(LEVELS, calibration.levels, strict=True):
        asked = f"{level.precision:.0%}"
        if level.threshold is None or level.expected is None or level.recall is None:
            yield f"{asked:<12}none: {level.reason}"
            continue
        yield (
            f"{asked:<12}{level.threshold:<12.4f}{interval_text(level.interval):<20}"
            f"{percent(level.expected):<24}{percent(level.recall):<24}{name}"
        )
    yield ""
    yield meaning(calibration)
    if calibration.alike:
        yield "most similar pairs that count as different (if they are twins, the thresholds are too strict):"
    for pair in calibration.alike:
        yield f"  {pair.similarity:.4f}  {paths.get(pair.a, pair.a)}  {paths.get(pair.b, pair.b)}"


def sample_sentence(calibration: Calibration) -> str:
    """What was compared with what."""
    return (
        f"{calibration.edits:,} edits of {calibration.sample:,} of {calibration.images:,} images, "
        f"{calibration.compared:,} pairs of different images, seed {calibration.seed}"
    )


def left_out_sentences(calibration: Calibration) -> Iterator[str]:
    """What was not used, and why, and whether that leaves few."""
    if parts := _counted(calibration.twins, TWINS):
        yield f"left out as twins of the collection's own: {parts} (pairs)"
    if parts := _counted(calibration.left_out, LEFT_OUT):
        yield f"left out: images {parts}"
    if calibration.sample < FEW_IMAGES:
        yield f"{calibration.sample} images are few: what is added later may be more alike than they are"
    for each in calibration.unreadable:
        yield f"  {each.path}: {each.reason}"


def meaning(calibration: Calibration) -> str:
    """What the precision is stated for."""
    size = max(calibration.images, SMALLEST_COLLECTION)
    return (
        f"Precision is that of a collection of {size:,} images in which every image has one edited copy; "
        "at the lower end of its 90 % interval, a threshold has at most twice the false pairs allowed."
    )


def interval_text(interval: tuple[float, float | None] | None) -> str:
    """An interval of a threshold."""
    if interval is None or interval[1] is None:
        return ""
    return f"{interval[0]:.4f} to {interval[1]:.4f}"


def percent(estimate: Estimate) -> str:
    """A figure and its interval, rounded down, so that 99.96 is not shown as 100."""
    value, low, high = (int(each * 1000) / 10 for each in (estimate.value, estimate.low, estimate.high))
    return f"{value:g} % ({low:g} to {high:g})"


def _counted(counts: Mapping[str, int], names: Mapping[str, str]) -> str:
    parts: Sequence[str] = [f"{counts[kind]:,} {name}" for kind, name in names.items() if counts.get(kind)]
    return ", ".join(parts)
