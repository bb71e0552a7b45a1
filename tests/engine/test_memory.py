"""What is loaded once is not looked through for garbage ever after."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from twinlens.engine.memory import kept_for_good

class Node:
    pass

collections = gc.get_stats()[2]["collections"]
with kept_for_good():
    nodes = [Node() for _ in range(100_000)]
    assert not gc.isenabled()
assert gc.isenabled() and gc.get_freeze_count() > 100_000
assert gc.get_stats()[2]["collections"] == collections
garbage = Node()
garbage.itself = garbage
del garbage
assert gc.collect() > 0, "what comes later is collected as ever"
gc.disable()
with kept_for_good():
    pass
assert not gc.isenabled()
"""


def test_what_is_loaded_is_kept_for_good_and_what_comes_later_is_collected() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
