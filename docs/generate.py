"""
Writes the generated parts of the documentation, or with `--check` names those that are stale.

A part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`; everything else is written by hand.
"""

from __future__ import annotations

import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

DOCS = Path(__file__).parent
_PART = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end of (?P=name) -->)", re.DOTALL)


def settings() -> Iterator[str]:
    """One section for each row of the settings table."""
    from handfast.config.table import SETTINGS

    for setting in SETTINGS:
        yield f"### `{setting.flag}`"
        yield ""
        yield setting.help + (f" {setting.more}" if setting.more else "")
        yield ""
        yield "| | |"
        yield "| --- | --- |"
        yield f"| value | {_cell(setting.unit)}{'; repeatable' if setting.repeatable else ''} |"
        yield f"| default | {_cell(setting.default_text)} |"
        yield f"| environment | `{setting.env}` |"
        yield f"| handfast.toml | `{setting.key}` |"
        yield ""


def metrics() -> Iterator[str]:
    """The metrics table."""
    from handfast.telemetry.metrics import METRICS

    yield "| metric | kind | unit | labels | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        yield f"| `{metric.name}` | {metric.kind} | {_cell(metric.unit)} | {labels} | {_cell(metric.help)} |"


def errors() -> Iterator[str]:
    """Every error class, with what its docstring says."""
    from handfast import errors as module

    yield "| class | on the wire | meaning |"
    yield "| --- | --- | --- |"
    for name, error in vars(module).items():
        if inspect.isclass(error) and issubclass(error, module.HandfastError):
            code = f"`{error.code}`" if issubclass(error, module.ServiceError) else ""
            meaning = (inspect.getdoc(error) or "").split("\n\n")[0].replace("\n", " ")
            yield f"| `{name}` | {code} | {_cell(meaning)} |"


def refusals() -> Iterator[str]:
    """Every reason for a refusal, with the reason that AWS IoT logs, where there is one."""
    from handfast.core.identity.refusal import ReasonCode
    from handfast.services.explanations import AWS_LOG_REASON

    yield "| reason | AWS logs |"
    yield "| --- | --- |"
    for code in ReasonCode:
        aws = AWS_LOG_REASON.get(code)
        yield f"| `{code}` | {f'`{aws}`' if aws else ''} |"


def operations() -> Iterator[str]:
    """The operations of the models that are implemented, and the names of the others."""
    from handfast import app
    from handfast.cli.coverage import cover
    from handfast.wire.spec import load_service

    models = [load_service(name) for name in ("iot", "iot-data", "handfast")]
    for row in cover(models, app.implemented_operations()):
        yield f"### `{row.service}`: {len(row.implemented)} of {row.total}"
        yield ""
        yield "| operation | state |"
        yield "| --- | --- |"
        for name in row.implemented:
            yield f"| {name} | implemented |"
        for name in row.missing:
            yield f"| {name} | answers 501 and its name |"
        yield ""


def lifecycle_diagram() -> Iterator[str]:
    """The statuses of a certificate and what leads from one to another, drawn from the table that the code obeys."""
    from handfast.core.identity.lifecycle import KEPT_FROM_DELETION, TRANSITIONS
    from handfast.core.identity.records import CertificateStatus

    edges: dict[tuple[str, str], list[str]] = {}
    for (status, event), new in TRANSITIONS.items():
        if status is not new:  # an update that changes nothing stands in the table below
            edges.setdefault((status or "[*]", new), []).append(event)
    reached = {new for _, new in edges}
    for status in CertificateStatus:
        if status in reached and status not in KEPT_FROM_DELETION:
            edges[status, "[*]"] = ["DELETE"]
    yield "```mermaid"
    yield "stateDiagram-v2"
    for (status, new), events in edges.items():
        yield f"    {status} --> {new}: {', '.join(events)}"
    yield "```"


def lifecycle() -> Iterator[str]:
    """Every status and every event: the status that follows, or the error."""
    from handfast.core.identity.ids import CertificateId
    from handfast.core.identity.lifecycle import KEPT_FROM_DELETION, TRANSITIONS, CertificateEvent, forbidden
    from handfast.core.identity.records import CertificateStatus

    statuses = [None, *CertificateStatus]
    yield f"| event | {' | '.join(status or '(not registered)' for status in statuses)} |"
    yield f"| --- |{' --- |' * len(statuses)}"
    for event in CertificateEvent:
        cells = []
        for status in statuses:
            new = TRANSITIONS.get((status, event))
            if new is None:
                registers = event.value.startswith("REGISTER_")
                if registers:
                    new = "*ResourceAlreadyExists*"
                elif status is None:
                    new = "*ResourceNotFound*"
                else:
                    new = f"*{forbidden(status, event, CertificateId('')).code.removesuffix('Exception')}*"
            cells.append(str(new))
        yield f"| `{event}` | {' | '.join(cells)} |"
    deleted = [
        "*ResourceNotFound*" if status is None else "*CertificateState*" if status in KEPT_FROM_DELETION else "gone"
        for status in statuses
    ]
    yield f"| `DELETE` | {' | '.join(deleted)} |"


def guide() -> Iterator[str]:
    """The developer guide's pages, with how many lines of each are run, and the operations that are not built."""
    if str(DOCS.parent) not in sys.path:
        sys.path.insert(0, str(DOCS.parent))
    from tests.support.guide import pages

    from handfast import app

    built = frozenset(app.implemented_operations()["iot"])
    yield "| page | lines | not built, answered with 501 and the operation's name |"
    yield "| --- | --- | --- |"
    for title, steps in pages():
        missing = sorted({step.operation for step in steps if step.operation and step.operation not in built})
        yield f"| {title} | {len(steps)} | {', '.join(missing)} |"


def testssl() -> Iterator[str]:
    """What testssl.sh says that is not plainly good, and why it stays so."""
    expected = tomllib.loads((DOCS.parent / "tests/testssl/expected.toml").read_text(encoding="utf-8"))
    yield "| finding | severity | ports | why it stays |"
    yield "| --- | --- | --- | --- |"
    for each in expected["left"]:
        yield f"| {each['id']} | {each['severity']} | {', '.join(each['ports'])} | {_cell(each['why'])} |"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "metrics": metrics,
    "errors": errors,
    "refusals": refusals,
    "operations": operations,
    "guide": guide,
    "testssl": testssl,
    "lifecycle": lifecycle,
    "lifecycle-diagram": lifecycle_diagram,
}


def regenerated(text: str) -> str:
    """The text with each of its generated parts as it should be."""

    def part(found: re.Match[str]) -> str:
        body = "\n".join(PARTS[found["name"]]()).strip("\n")
        return f"{found[1]}\n{body}\n\n{found[3]}"

    return _PART.sub(part, text)


def stale() -> list[Path]:
    """The pages whose generated parts are not as they should be."""
    return [
        page for page in pages() if regenerated(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ]


def pages() -> list[Path]:
    """The pages that have generated parts."""
    return [page for page in sorted(DOCS.rglob("*.md")) if "<!-- generated: " in page.read_text(encoding="utf-8")]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> int:
    """Write the pages, or with --check only look; the exit status."""
    if "--check" in sys.argv[1:]:
        found = stale()
        for page in found:
            print(f"{page.relative_to(DOCS.parent)} is stale: make docs", file=sys.stderr)
        return 1 if found else 0
    for page in pages():
        page.write_text(regenerated(page.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
