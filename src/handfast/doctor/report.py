"""Steps of an examination, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How a step ended. A WARN does not keep a device out."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    One thing that was looked at.

    `saw` is what there is, `why` what it means, `fix` the first thing to do; the
    latter two are empty where all is well. No text holds a secret; texts may quote
    a peer and are escaped where they are shown.
    """

    name: str
    state: State
    saw: str
    why: str = ""
    fix: str = ""


def ok(name: str, saw: str) -> Step:
    """A step that is well."""
    return Step(name=name, state=State.OK, saw=saw)


def warn(name: str, saw: str, why: str, fix: str = "") -> Step:
    """A step that should be looked at and stops nothing."""
    return Step(name=name, state=State.WARN, saw=saw, why=why, fix=fix)


def fail(name: str, saw: str, why: str, fix: str) -> Step:
    """A step that a device does not get past."""
    return Step(name=name, state=State.FAIL, saw=saw, why=why, fix=fix)


@dataclass(slots=True)
class Report:
    """The steps in the order in which a device takes them. `unseen`: those that another failure left unexamined."""

    steps: list[Step] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def add(self, *steps: Step) -> bool:
        """Take the steps in; whether none of them failed."""
        self.steps += steps
        return all(step.state is not State.FAIL for step in steps)

    def skip(self, names: Iterable[str]) -> None:
        """These could not be looked at."""
        self.unseen += names

    @property
    def first_failure(self) -> Step | None:
        """The failing step that a device meets first."""
        return next((step for step in self.steps if step.state is State.FAIL), None)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        first = self.first_failure
        return {
            "ok": first is None,
            "firstFailure": first.name if first is not None else None,
            "steps": [
                {"name": step.name, "state": str(step.state), "saw": step.saw}
                | ({"why": step.why} if step.why else {})
                | ({"fix": step.fix} if step.fix else {})
                for step in self.steps
            ],
            "notExamined": self.unseen,
        }
