"""What is wrong with a template: each mistake with its JSON path and a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from handfast.core.policy.reading import shorten
from handfast.errors import HandfastError

INVALID: Final = "TEMPLATE_INVALID"
"""The code of every error that has none of its own."""
_MAX_FINDINGS: Final = 100
_MAX_TOLD: Final = 10
_MAX_TOLD_CHARACTERS: Final = 2000
_SIMPLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Severity(StrEnum):
    """An error: the template is refused. A warning: it can be used, and may do what nobody meant."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. `path` is a JSON path into the template, `code` a stable name of the kind of finding."""

    path: str
    message: str
    severity: Severity = Severity.ERROR
    code: str = INVALID

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"severity": self.severity.value, "code": self.code, "path": self.path, "message": self.message}

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class TemplateError(HandfastError):
    """A template that cannot be used. `findings` are all of its errors, at least one; the text is bounded."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        told = "; ".join(map(str, findings[:_MAX_TOLD]))
        if len(told) > _MAX_TOLD_CHARACTERS:
            told = told[:_MAX_TOLD_CHARACTERS] + "…"
        if len(findings) > _MAX_TOLD:
            told += f"; and {len(findings) - _MAX_TOLD} more"
        super().__init__(f"Invalid template. {told}")
        self.findings = tuple(findings)


class Findings:
    """Errors and warnings as they are found; of each at most a hundred are kept."""

    def __init__(self) -> None:
        self.errors: list[Finding] = []
        self.warnings: list[Finding] = []

    def error(self, path: str, message: str, code: str = INVALID) -> None:
        """The template is refused."""
        if len(self.errors) < _MAX_FINDINGS:
            self.errors.append(Finding(path=path, message=message, code=code))

    def warning(self, path: str, message: str, code: str) -> None:
        """The template can be used."""
        if len(self.warnings) < _MAX_FINDINGS:
            self.warnings.append(Finding(path=path, message=message, severity=Severity.WARNING, code=code))


def child(path: str, name: str) -> str:
    """The JSON path of a member: `$.Resources.thing`, `$.Parameters["AWS::IoT::Certificate::Id"]` (RFC 9535 §2.3)."""
    if _SIMPLE.fullmatch(name) and len(name) <= 64:
        return f"{path}.{name}"
    return f"{path}[{json.dumps(shorten(name))}]"
