"""Attribution in a simulated company: what is called exact is always right, and enough is."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def benchmark():
    path = Path(__file__).parents[2] / "benchmarks" / "attribution.py"
    spec = importlib.util.spec_from_file_location("attribution_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(3))
def test_what_is_called_exact_is_right(benchmark, seed):
    for scenario in benchmark.SCENARIOS:
        found = benchmark.judge(scenario, seed, 300)
        assert found.right["exact"] == found.answered["exact"], scenario.name


def test_with_all_logs_nearly_all_scans_have_their_execution(benchmark):
    found = benchmark.judge(benchmark.SCENARIOS[0], 7, 500)
    assert found.answered["exact"] > 0.45 * found.knowable  # files that a collector moved are its own, and prove less
    assert found.right["exact"] + found.right["strong"] + found.right["weak"] > 0.98 * found.knowable


def test_the_wrapper_alone_makes_all_exact_that_nobody_moved(benchmark):
    found = benchmark.judge(benchmark.SCENARIOS[6], 7, 300)
    assert found.right.total() == found.knowable == found.scans
    assert found.right["exact"] > 0.7 * found.scans  # the others were moved by a collector, whose they are now
