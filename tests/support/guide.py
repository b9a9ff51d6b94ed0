"""The command lines of AWS's developer guide: the tables of tests/vectors/guide, and the AWS CLI that runs them."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.session
import jmespath
from tests.support.aws_cli import AwsCli

FOLDER = Path(__file__).parents[1] / "vectors/guide"
LIMIT_S = 30


@dataclass(frozen=True, kw_only=True)
class Step:
    """One line with what must come of it; the members are explained in certificates.toml."""

    page: str
    run: str
    extra: bool = False
    values: dict[str, str] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    keep: dict[str, str] = field(default_factory=dict)
    expect: dict[str, Any] = field(default_factory=dict)
    silent: bool = False
    error: str | None = None
    cli_error: str | None = None
    account: str = "first"

    @property
    def operation(self) -> str | None:
        """The operation that the line calls, as the service's model names it; None: the line is not the AWS CLI's."""
        words = self.run.split()
        return _operations()[words[2]] if words[0] == "aws" else None


@dataclass(frozen=True)
class Table:
    """One file of the guide's lines: its name, what lies beside them, and the lines."""

    name: str
    files: dict[str, str]
    steps: list[Step]


def tables() -> list[Table]:
    """Every table, by name."""
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        document = tomllib.loads(path.read_text())
        steps = [Step(page=page["title"], **step) for page in document["page"] for step in page["step"]]
        found.append(Table(path.stem, document.get("files", {}), steps))
    return found


def pages() -> Iterator[tuple[str, list[Step]]]:
    """The guide's own lines for the AWS CLI, by page."""
    by_page: dict[str, list[Step]] = {}
    for table in tables():
        for step in table.steps:
            if not step.extra and step.operation:
                by_page.setdefault(step.page.removesuffix(", anew"), []).append(step)
    yield from by_page.items()


def _operations() -> dict[str, str]:
    if not _names:
        from botocore import xform_name

        model = botocore.session.get_session().get_service_model("iot")
        _names.update({xform_name(name, "-"): name for name in model.operation_names})
    return _names


_names: dict[str, str] = {}


class Person:
    """Someone with the AWS CLI in a folder, and with an access key for each account. `known` is what lines gave."""

    def __init__(self, cli: AwsCli, folder: Path, keys: dict[str, tuple[str, str]], known: dict[str, Any]) -> None:
        self.cli = cli
        self.folder = folder
        self.keys = keys
        self.known = known

    def does(self, step: Step, built: frozenset[str]) -> None:
        """The line is run, and what came of it is what the table says; an operation that is not built says so."""
        words = shlex.split(self._line(step))
        if words[0] != "aws":
            typed = "".join(f"{self._filled(answer)}\n" for answer in step.answers)
            done = subprocess.run(words, input=typed, capture_output=True, text=True, timeout=LIMIT_S, cwd=self.folder)
            assert 0 == done.returncode, done.stderr
            return
        key_id, secret = self.keys[step.account]
        credentials = {"AWS_ACCESS_KEY_ID": key_id, "AWS_SECRET_ACCESS_KEY": secret}
        status, printed, complaint = self.cli.run(words[1:], credentials)
        if step.operation not in built and step.cli_error is None:
            assert (
                f"An error occurred (NotImplementedException) when calling the {step.operation} operation" in complaint
            )
            return
        if wrong := step.error or step.cli_error:
            assert status != 0
            assert (f"({wrong})" if step.error else wrong) in complaint, complaint
            return
        assert 0 == status, complaint
        if step.silent:
            assert "" == printed
        answer = json.loads(printed or "null")
        self.known |= {name: jmespath.search(path, answer) for name, path in step.keep.items()}
        for path, expected in step.expect.items():
            assert self._filled(expected) == jmespath.search(self._filled(path), answer), (path, printed)

    def _line(self, step: Step) -> str:
        line = step.run.replace("\\\n", " ")
        for placeholder, value in step.values.items():
            line, replaced = re.subn(
                rf"(?<![\w-]){placeholder}(?![\w-])", str(self._filled(value)).replace("\\", r"\\"), line
            )
            assert replaced, (placeholder, line)
        return str(self._filled(line)) if step.extra else line

    def _filled(self, value: Any) -> Any:
        """`value` with what is known in place of each {name}."""
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if not isinstance(value, str):
            return value
        return re.sub(r"\{(\w+)\}", lambda found: str(self.known.get(found[1], found[0])), value)
