"""The comparison's arithmetic: same-round ratios, medians, verdicts and the table that is printed."""

from __future__ import annotations

import os

import pytest
from benchmarks.compare import load_flags, parse
from benchmarks.ratios import BASE, FALLBACK, GOALS, SUBJECT, Measurement, all_met, cell, problems, render, table


def measured(server: str, load: str, *values: float | None, lost: int = 0) -> list[Measurement]:
    """One measurement for each value, in rounds 0, 1, 2 …"""
    return [
        Measurement(server=server, load=load, round=number, value=value, lost=lost)
        for number, value in enumerate(values)
    ]


def test_ratio_is_the_median_of_same_round_ratios_not_the_ratio_of_medians() -> None:
    # Rounds:            1      2      3        medians 200 and 300: their ratio would be 1.5
    base = measured(BASE, "q0w20", 100, 200, 400)
    subject = measured(SUBJECT, "q0w20", 300, 200, 600)  # ratios 3, 1, 1.5; both medians agree here
    skewed = measured(SUBJECT, "q0w20", 400, 600, 400)  # ratios 4, 3, 1: median 3; ratio of medians 2

    found = cell([*base, *subject], SUBJECT, "q0w20")
    assert found is not None
    assert (1.5, 1.0, 3.0) == (found.ratio, found.lowest, found.highest)

    found = cell([*base, *skewed], SUBJECT, "q0w20")
    assert found is not None
    assert 3.0 == found.ratio
    assert 400 == found.value


def test_rounds_without_a_figure_of_either_server_give_no_ratio() -> None:
    base = measured(BASE, "q1w1", 100, None, 0, 100)
    subject = measured(SUBJECT, "q1w1", None, 80, 70, 90)

    found = cell([*base, *subject], SUBJECT, "q1w1")

    assert found is not None
    assert 0.9 == found.ratio
    assert 3 == found.rounds
    assert 80 == found.value


def test_a_server_that_was_never_measured_has_no_cell() -> None:
    assert cell(measured(BASE, "idle", 20), SUBJECT, "idle") is None
    assert cell(measured(SUBJECT, "idle", None), SUBJECT, "idle") is None


def test_without_the_base_there_is_a_value_and_no_ratio() -> None:
    found = cell(measured(SUBJECT, "q0w1", 5), SUBJECT, "q0w1")

    assert found is not None
    assert found.ratio is None
    assert found.lowest is None
    assert 5 == found.value


@pytest.mark.parametrize(
    ("load", "base", "subject", "met"),
    [
        ("handshake", 100, 150, True),
        ("handshake", 100, 149, False),
        ("q0w20", 100, 200, True),
        ("q1w20", 100, 199, False),
        ("q0w1", 100, 70, True),
        ("q1w1", 100, 69, False),
        ("fanout100", 100, 600, True),
        ("fanout100", 100, 599, False),
        ("idle", 20, 40, True),  # KB: an absolute bound, whatever mosquitto needs
        ("idle", 1, 40.1, False),
        ("cold", 100, 1, None),  # for information
    ],
)
def test_targets_are_those_of_the_issue(load: str, base: float, subject: float, met: bool | None) -> None:
    (line,) = table([*measured(BASE, load, base), *measured(SUBJECT, load, subject)])

    assert load == line.load
    assert met is line.met


def test_lines_come_in_the_order_of_the_goals_and_only_for_what_was_measured() -> None:
    lines = table([*measured(BASE, "idle", 20), *measured(BASE, "q1w1", 5), *measured(BASE, "handshake", 5)])

    assert ["handshake", "q1w1", "idle"] == [line.load for line in lines]
    assert [None, None, None] == [line.met for line in lines]


def test_a_run_in_which_nothing_could_be_judged_does_not_pass() -> None:
    assert not all_met(table(measured(BASE, "q0w1", 100)))
    assert not all_met([])


def test_one_missed_target_fails_the_whole() -> None:
    good = [*measured(BASE, "q0w1", 100), *measured(SUBJECT, "q0w1", 100)]
    bad = [*measured(BASE, "q1w1", 100), *measured(SUBJECT, "q1w1", 10)]

    assert all_met(table(good))
    assert not all_met(table([*good, *bad]))


def test_messages_lost_by_handfast_are_a_problem_at_any_qos_and_by_mosquitto_a_failed_run_only() -> None:
    failed = Measurement(server=BASE, load="q1w1", round=2, value=None, problem="CONNACK with reason 5")
    lost = [*measured(SUBJECT, "q0w20", 100, lost=7), *measured(BASE, "q0w20", 100, lost=9), failed]

    assert [
        "handfast, q0w20, round 1: 7 messages were lost",
        "mosquitto, q1w1, round 3: CONNACK with reason 5",
    ] == problems(lost)


def test_the_table_shows_the_base_absolute_and_the_others_as_ratios_with_their_spread() -> None:
    text = render(
        table(
            [
                *measured(BASE, "fanout100", 50_000, 50_000),
                *measured(SUBJECT, "fanout100", 300_000, 400_000),
                *measured(FALLBACK, "fanout100", 100_000, 200_000),
                *measured(BASE, "idle", 22.25),
                *measured(SUBJECT, "idle", 41),
            ]
        )
    )

    rows = [[column.strip() for column in line.strip("| ").split(" | ")] for line in text.splitlines()]
    assert ["load", "mosquitto per CPU second", "handfast", "target", "met", FALLBACK] == rows[0]
    assert [
        "fan-out 1 → 100, QoS 0",
        "50,000/s",
        "7.00 × (6.00–8.00)",
        "≥ 6 ×",
        "yes",
        "3.00 × (2.00–4.00)",
    ] == rows[2]
    assert ["memory per idle connection", "22.2 KB", "41.0 KB", "≤ 40 KB", "**NO**", "–"] == rows[3]
    assert 1 == len({len(line) for line in text.splitlines()})


def test_every_load_of_the_table_can_be_generated() -> None:
    for load in GOALS:
        if load != "cold":  # read from the idle load's connections
            assert load_flags(load, quick=False)[0] in {"connect", "pub", "fanout", "idle"}
            assert load_flags(load, quick=True) != load_flags(load, quick=False)


def test_quick_is_one_round_and_unknown_loads_are_refused() -> None:
    core = str(min(os.sched_getaffinity(0)))
    cores = ["--server-core", core, "--load-core", core]

    assert 1 == parse(["--quick", *cores]).rounds
    assert 5 == parse(cores).rounds
    with pytest.raises(SystemExit):
        parse(["--loads", "q7w7", *cores])
