"""How many images each class keeps: in proportion to its size, by largest remainder, at least one each."""

from __future__ import annotations

from collections.abc import Mapping

from twinlens.engine.errors import InvalidValue


def quotas(sizes: Mapping[str, int], total: int, least: Mapping[str, int] | None = None) -> dict[str, int]:
    """Share a number of images out among classes.

    Every class gets its share total * size / all, rounded down; what is left goes to the largest
    remainders, ties to the larger class, then by name (Hamilton's method). Where the total allows it, no
    class gets less than one image; the others share what remains in the same way.

    Args:
        sizes: images of each class, 1 or more.
        total: how many to share out, from 1 to all.
        least: what each class must get at least, such as images that are to be kept; 0 where not named.

    Returns:
        For each class at most its size; together the total.

    Raises:
        InvalidValue: a total below 1, above all images, or below what classes must get.
    """
    must = {name: (least or {}).get(name, 0) for name in sizes}
    everything = sum(sizes.values())
    if not 1 <= total <= everything:
        raise InvalidValue(f"{total} images cannot be kept of {everything}: ask for 1 to {everything}")
    if sum(must.values()) > total:
        raise InvalidValue(
            f"{sum(must.values())} images must be kept, and {total} are asked for: ask for as many or more"
        )
    one_each = {name: max(1, count) for name, count in must.items()}
    floors = one_each if sum(one_each.values()) <= total else must
    fixed: dict[str, int] = {}
    while True:
        free = {name: size for name, size in sizes.items() if name not in fixed}
        left = total - sum(fixed.values())
        shares = _largest_remainders(free, left)
        short = {name: floors[name] for name, share in shares.items() if share < floors[name]}
        if not short:
            return {name: fixed[name] if name in fixed else shares[name] for name in sizes}
        fixed |= short


def _largest_remainders(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    everything = sum(sizes.values())
    if not everything:
        return {}
    shares = {name: total * size // everything for name, size in sizes.items()}
    order = sorted(sizes, key=lambda name: (-(total * sizes[name] % everything), -sizes[name], name))
    for name in order[: total - sum(shares.values())]:
        shares[name] += 1
    return shares
