"""`handfast coverage`: which operations of the AWS models, and of our own, this handfast has."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from handfast.cli.options import AsJson
from handfast.cli.output import print_json, print_table
from handfast.wire.spec import Service, load_service


@dataclass(frozen=True, slots=True)
class ServiceCoverage:
    """One model's operations, those that exist and those that answer 501; in the model's order."""

    service: str
    implemented: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many operations the model has."""
        return len(self.implemented) + len(self.missing)


def cover(models: Sequence[Service], implemented: Mapping[str, Collection[str]]) -> list[ServiceCoverage]:
    """
    The set difference between models and handlers.

    Args:
        models: Compiled models.
        implemented: Names of the operations that have a handler, by the model's name.

    Raises:
        ValueError: A handler is named like no operation of its model.
    """
    rows = []
    for model in models:
        names = frozenset(implemented.get(model.name, ()))
        unknown = names - model.operations.keys()
        if unknown:
            raise ValueError(f"{model.name} has no operation {', '.join(sorted(unknown))}")
        rows.append(
            ServiceCoverage(
                model.name,
                tuple(name for name in model.operations if name in names),
                tuple(name for name in model.operations if name not in names),
            )
        )
    return rows


def print_coverage(rows: Sequence[ServiceCoverage], *, as_json: bool) -> None:
    """The counts, then every operation by name with what it does here."""
    if as_json:
        print_json(
            {row.service: {"total": row.total, "implemented": row.implemented, "missing": row.missing} for row in rows}
        )
        return
    print_table(
        ["service", "implemented", "of"],
        [[row.service, len(row.implemented), row.total] for row in rows],
        empty="There are no models.",
    )
    for row in rows:
        print()
        operations = [(name, "yes") for name in row.implemented] + [(name, "-") for name in row.missing]
        print_table([row.service, "implemented"], operations, empty=f"{row.service} has no operations.")


def coverage(as_json: AsJson = False) -> None:
    """Print which operations of the AWS models are implemented; the others answer 501 and name themselves."""
    # The composition root knows the handlers; it is imported by name, since nothing else here needs a server's parts.
    app = importlib.import_module("handfast.app")
    implemented = cast(Mapping[str, Collection[str]], app.implemented_operations())
    models = [load_service("iot"), load_service("iot-data"), load_service("handfast")]
    print_coverage(cover(models, implemented), as_json=as_json)
