"""From measurements to the table: medians over rounds of same-round ratios, and whether the targets are met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BASE = "mosquitto"
SUBJECT = "handfast"
FALLBACK = "handfast, public TLS API"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a load is measured in and what handfast must reach. `at_least` is a ratio, `at_most` an absolute value."""

    title: str
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    def text(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g} ×"
        if self.at_most is not None:
            return f"≤ {self.at_most:g} {self.unit}"
        return "–"


GOALS: Mapping[str, Goal] = {
    "handshake": Goal(title="full mutual handshakes", unit="/s", at_least=1.5),
    "q0w20": Goal(title="QoS 0, 20 pairs, window 20", unit="/s", at_least=2),
    "q0w1": Goal(title="QoS 0, 20 pairs, window 1", unit="/s", at_least=0.7),
    "q1w20": Goal(title="QoS 1, 20 pairs, window 20", unit="/s", at_least=2),
    "q1w1": Goal(title="QoS 1, 20 pairs, window 1", unit="/s", at_least=0.7),
    "fanout100": Goal(title="fan-out 1 → 100, QoS 0", unit="/s", at_least=6),
    "cold": Goal(title="first handshakes after a start", unit="/s"),
    "idle": Goal(title="memory per idle connection", unit="KB", at_most=40),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One load on one server in one round. `value` is work per CPU second of the server, or KB; None: no figure."""

    server: str
    load: str
    round: int
    value: float | None
    lost: int = 0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One server under one load: the median value, and median, least and greatest of its ratios to the base."""

    value: float
    ratio: float | None
    lowest: float | None
    highest: float | None
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One load: its cells by server, and whether the subject meets the goal (None: no goal, or not measured)."""

    load: str
    goal: Goal
    cells: Mapping[str, Cell]
    met: bool | None


def cell(measurements: Sequence[Measurement], server: str, load: str, base: str = BASE) -> Cell | None:
    """
    The server's figures under the load; None when it has none.

    A ratio needs both values of the same round: what the machine did meanwhile
    then weighs on both alike. Rounds with one of them missing are left out.
    """
    values = {
        (m.server, m.round): m.value for m in measurements if m.load == load and m.value is not None and m.value > 0
    }
    own = {number: value for (name, number), value in values.items() if name == server}
    if not own:
        return None
    ratios = [value / values[base, number] for number, value in own.items() if (base, number) in values]
    return Cell(
        value=statistics.median(own.values()),
        ratio=statistics.median(ratios) if ratios else None,
        lowest=min(ratios, default=None),
        highest=max(ratios, default=None),
        rounds=len(own),
    )


def _met(goal: Goal, subject: Cell | None) -> bool | None:
    if subject is None or (goal.at_least is None and goal.at_most is None):
        return None
    if goal.at_most is not None:
        return subject.value <= goal.at_most
    assert goal.at_least is not None
    return None if subject.ratio is None else subject.ratio >= goal.at_least


def table(measurements: Sequence[Measurement]) -> list[Line]:
    """One line for each load that was measured, in the order of `GOALS`."""
    servers = list(dict.fromkeys(m.server for m in measurements))
    lines = []
    for load, goal in GOALS.items():
        found = {server: cell(measurements, server, load) for server in servers}
        cells = {server: one for server, one in found.items() if one is not None}
        if cells:
            lines.append(Line(load=load, goal=goal, cells=cells, met=_met(goal, cells.get(SUBJECT))))
    return lines


def problems(measurements: Sequence[Measurement]) -> list[str]:
    """What went wrong, a sentence for each: a failed run of any server, a message that handfast lost at any QoS."""
    found = []
    for m in measurements:
        where = f"{m.server}, {m.load}, round {m.round + 1}"
        if m.problem is not None:
            found.append(f"{where}: {m.problem}")
        elif m.lost and m.server != BASE:
            found.append(f"{where}: {m.lost} messages were lost")
    return found


def all_met(lines: Sequence[Line]) -> bool:
    """Every goal that could be judged is met, and at least one could."""
    judged = [line.met for line in lines if line.met is not None]
    return bool(judged) and all(judged)


def _number(value: float, unit: str) -> str:
    return f"{value:,.1f} KB" if unit == "KB" else f"{value:,.0f}{unit}"


def _ratio(one: Cell | None, unit: str) -> str:
    if one is None:
        return "–"
    if unit == "KB" or one.ratio is None:
        return _number(one.value, unit)
    if one.rounds == 1:
        return f"{one.ratio:.2f} ×"
    return f"{one.ratio:.2f} × ({one.lowest:.2f}–{one.highest:.2f})"


def render(lines: Sequence[Line]) -> str:
    """The table as Markdown: the base in absolute figures, the others as ratios with their spread over the rounds."""
    verdicts = {True: "yes", False: "**NO**", None: "–"}
    rows = [["load", f"{BASE} per CPU second", SUBJECT, "target", "met", FALLBACK]]
    for line in lines:
        unit, base = line.goal.unit, line.cells.get(BASE)
        rows.append(
            [
                line.goal.title,
                "–" if base is None else _number(base.value, unit),
                _ratio(line.cells.get(SUBJECT), unit),
                line.goal.text(),
                verdicts[line.met],
                _ratio(line.cells.get(FALLBACK), unit),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    drawn = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    drawn.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(drawn)
