"""Replays the kept inputs, some of which once failed; tests/fuzz/run.py finds new ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import targets

CORPUS = sorted(path for path in (Path(__file__).parent / "corpus").glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_kept_input_holds_what_must_hold(path):
    targets.TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_kept_inputs():
    assert {path.parent.name for path in CORPUS} == targets.TARGETS.keys()
