"""Insert records, printing each id once its insert was answered, and "-" and the id before a delete.

Prints "ready" and waits for a line before it opens the file, so that several can begin together.

usage: insert_records.py FILE PREFIX [COUNT]
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from tests.service.matching.stored import record
from twinlens.service.matching.collections import CollectionStore, Insertion


def main(path: Path, prefix: str, count: int | None) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    store = CollectionStore(path, max_records=10**6)
    for number in itertools.count() if count is None else range(count):
        batch = [record(f"{prefix}{number}-{i}", i, text="x" * 500) for i in range(3)]
        outcomes = store.insert("ann", "c", batch)
        for each, outcome in zip(batch, outcomes, strict=True):
            if outcome is Insertion.INSERTED:
                print(each.id, flush=True)
        if number % 5 == 4:
            print(f"-{prefix}{number}-0", flush=True)
            store.delete("ann", "c", [f"{prefix}{number}-0"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
