from __future__ import annotations

import json

from tests.conftest import FreshPython
from tests.counts import count


def test_a_small_file_never_costs_much_memory(fresh_python: FreshPython) -> None:
    """Each is read or refused within a small multiple of its size, in processes that the kernel gives no more."""
    said = json.loads(fresh_python("-m", "tests.faults.bombs").stdout)

    assert said.pop("a bomb that does go off") == "out of memory"
    assert {bomb: outcome for bomb, outcome in said.items() if outcome not in {"read", "refused"}} == {}
    assert len(said) > 20
    count("bombs defused", len(said))
