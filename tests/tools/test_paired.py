"""Two builds in turns: each has the first place as often, ratios are of pairs, and the table tells them."""

import argparse
import statistics

import alone
import paired
import pytest
from paired import Comparison, Goal, Kind

WALL = Kind("whole command", "s", Goal(0.5))
RATE = Kind("network alone", "images/s", Goal(1.6, at_least=True))
MEMORY = Kind("peak memory", "MB", Goal(350, own=True))
CPUINFO = """processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni

processor\t: 1
model name\t: AMD EPYC 9R14
flags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni
"""


def test_builds_take_turns_so_that_neither_always_comes_first() -> None:
    assert ["".join(order) for order in paired.turns("AB", 5)] == ["AB", "BA", "AB", "BA", "AB"]
    assert ["".join(order) for order in paired.turns(["A", "B", "C"], 2)] == ["ABC", "CBA"]


def test_a_ratio_is_of_a_pair_and_not_of_medians() -> None:
    found = Comparison(WALL, "newer", (4.0, 1.0, 2.0), (2.0, 2.0, 3.0))
    assert found.ratios() == [0.5, 2.0, 1.5]
    assert found.summary()["ratio"] == 1.5
    assert statistics.median(found.newer) / statistics.median(found.older) == 1.0


@pytest.mark.parametrize(
    ("kind", "older", "newer", "reached"),
    [
        (WALL, (2.0, 2.0, 2.0), (1.0, 0.9, 1.1), (True, 2)),
        (WALL, (2.0, 2.0, 2.0), (1.1, 0.9, 1.1), (False, 1)),
        (RATE, (100.0, 100.0), (160.0, 200.0), (True, 2)),
        (RATE, (100.0, 100.0), (150.0, 150.0), (False, 0)),
        (MEMORY, (1000.0,), (349.0,), (True, 1)),
        (MEMORY, (100.0,), (351.0,), (False, 0)),
        (Kind("growth", "MB", comparable=False), (1.0,), (9.0,), None),
    ],
)
def test_a_goal_is_reached_by_the_median_and_the_pairs_are_counted(
    kind: Kind, older: tuple[float, ...], newer: tuple[float, ...], reached: tuple[bool, int] | None
) -> None:
    assert Comparison(kind, "newer", older, newer).reached() == reached


def test_what_a_ratio_says_nothing_of_has_none() -> None:
    growth = Kind("growth", "MB", comparable=False)
    assert Comparison(growth, "newer", (2.0,), (1.0,)).ratios() == []
    assert Comparison(WALL, "newer", (0.0, 1.0), (1.0, 1.0)).ratios() == []
    shown = paired.row(Comparison(growth, "newer", (-2.5,), (31.0,)))
    assert shown == ("growth", "MB", "-2.50", "31.00", "", "", "", "")


def test_another_engine_of_the_newer_build_must_only_not_be_slower() -> None:
    assert WALL.not_slower().goal == Goal(1.0)
    assert RATE.not_slower().goal == Goal(1.0, at_least=True)
    assert MEMORY.not_slower().goal is None
    slower = Comparison(WALL.not_slower(), "--engine torch", (1.0, 1.0), (1.2, 0.9))
    assert paired.row(slower)[-2:] == ("at most 1.00", "no, 1 of 2")


def test_a_pair_that_is_not_whole_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Comparison(WALL, "newer", (1.0, 1.0), (1.0,)).ratios()


def test_the_table_tells_medians_the_range_of_the_ratios_and_the_goal() -> None:
    found = [
        Comparison(WALL, "newer", (5.0, 4.0, 6.0), (1.0, 1.2, 1.5)),
        Comparison(WALL.not_slower(), "--engine torch", (5.0, 4.0, 6.0), (5.0, 4.0, 6.0)),
        Comparison(MEMORY, "newer", (1050.0, 1060.0, 1040.0), (340.0, 330.0, 360.0)),
    ]
    head, wall, torch, memory = (" ".join(line.split()) for line in paired.lines(found))
    assert head == "figure unit older newer ratio range to reach reached"
    assert wall == "whole command s 5.00 1.20 0.25 0.20 to 0.30 at most 0.50 yes, 3 of 3"
    assert torch == "the same, --engine torch s 5.00 5.00 1.00 1.00 to 1.00 at most 1.00 yes, 3 of 3"
    assert memory == "peak memory MB 1050 340 0.32 0.31 to 0.35 at most 350 MB yes, 2 of 3"
    lines = paired.lines(found)
    assert paired.lines(found, head=False) == lines[1:]
    assert (
        len({line.index(goal) for line, goal in zip(lines, ("to reach", *3 * ("at most",)), strict=True)})
        == 1
    )


def test_the_summary_holds_what_every_pair_gave() -> None:
    told = Comparison(RATE, "newer", (100.0, 200.0), (200.0, 300.0)).summary()
    assert (told["older"], told["newer"], told["ratios"]) == ((100.0, 200.0), (200.0, 300.0), [2.0, 1.5])
    assert (told["ratio"], told["goal"], told["of"]) == (1.75, "at least 1.60", "ratio")
    assert (told["reached"], told["pairs_that_reach_it"]) == (True, 1)


@pytest.mark.parametrize(
    ("cpuinfo", "name", "bfloat16"),
    [
        (CPUINFO, "AMD EPYC 9R14", ["avx512_bf16"]),
        ("model name\t: Xeon\nflags\t: avx2 avx512_bf16 amx_bf16\n", "Xeon", ["avx512_bf16", "amx_bf16"]),
        ("model name\t: i5\nflags\t: avx2\n", "i5", []),
        ("Features\t: fp asimd bf16\n", "unknown processor", ["bf16"]),
        ("", "unknown processor", []),
    ],
)
def test_a_machine_is_named_with_its_bfloat16_instructions(
    cpuinfo: str, name: str, bfloat16: list[str]
) -> None:
    assert paired.machine(cpuinfo, 2) == {"processor": name, "cores": 2, "bfloat16": bfloat16}


def test_an_engine_is_asked_for_only_where_there_is_a_choice() -> None:
    def with_engines(bundle: object, device: str, precision: str, engine: str) -> None: ...
    def without(bundle: object, device: str, precision: str) -> None: ...

    assert alone.engine_words(without, None) == alone.engine_words(with_engines, None) == {}
    assert alone.engine_words(with_engines, "torch") == {"engine": "torch"}
    with pytest.raises(SystemExit, match="one engine only"):
        alone.engine_words(without, "torch")


def test_the_predictor_of_this_build_is_found_and_answers() -> None:
    given = argparse.Namespace(model="router5", device="cpu", precision="float32", engine=None)
    with alone.predictor(given) as ready:
        assert ready.bundle.name == "router5"
        found = alone.measure(ready, 0.3)
    assert found["images_per_second"] > 0
    assert found["processor"] > 0
