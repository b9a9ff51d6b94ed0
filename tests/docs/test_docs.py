"""The documentation says what the code does: generated parts are fresh, and nothing public is missing from it."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from handfast import errors
from handfast.cli.main import COMMANDS, load
from handfast.config.table import SETTINGS
from handfast.core.identity.refusal import ReasonCode
from handfast.core.policy.lint import lint_document
from handfast.ports import ChangeKind
from handfast.services import just_in_time, unclaimed
from handfast.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_fresh(generate: ModuleType) -> None:
    assert [] == [str(page.relative_to(ROOT)) for page in generate.stale()], "run make docs"


def test_every_generated_part_stands_on_a_page_and_is_not_empty(generate: ModuleType) -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in generate.pages())
    assert set(generate.PARTS) == set(re.findall(r"<!-- generated: ([a-z-]+) -->\n(?!<!--)", pages))


def test_a_stale_part_is_noticed(generate: ModuleType) -> None:
    page = text("docs/operations.md")
    changed = page.replace("handfast_refusals_total", "handfast_renamed_total")
    assert changed != page
    assert page == generate.regenerated(changed)


def test_every_setting_has_a_heading() -> None:
    page = text("docs/configuration.md")
    for setting in SETTINGS:
        assert f"### `{setting.flag}`" in page
        assert f"`{setting.env}`" in page


def test_every_command_has_a_heading_and_every_subcommand_a_mention() -> None:
    page = text("docs/commands.md")
    for command in COMMANDS:
        assert f"\n## {command.name}\n" in page
        section = page.split(f"\n## {command.name}\n")[1].split("\n## ")[0]
        for name in getattr(load(command), "commands", {}):
            assert f"{name}" in section, f"{command.name} {name}"


def test_every_metric_error_and_reason_has_an_entry() -> None:
    page = text("docs/operations.md")
    for metric in METRICS:
        assert f"| `{metric.name}` |" in page
    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, errors.HandfastError):
            assert f"| `{name}` |" in page
    for reason in ReasonCode:
        assert f"| `{reason}` |" in page


def test_every_dependency_has_its_reason() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    wanted = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        wanted += extra
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in wanted}
    names |= set(json.loads(text("tests/js/package.json"))["dependencies"])
    told = {name.lower() for name in re.findall(r"^\| ([\w.@/-]+) \| \w", text("docs/dependencies.md"), re.MULTILINE)}
    assert names == told - {"package"}


def test_the_lock_of_the_javascript_packages_names_no_host() -> None:
    packages = json.loads(text("tests/js/package-lock.json"))["packages"]
    assert len(packages) > 1
    for path, package in packages.items():
        assert "resolved" not in package, path
        assert not path or package["integrity"].startswith("sha512-"), path


def test_the_error_tree_in_the_docstring_is_whole() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    classes = {
        name
        for name, error in vars(errors).items()
        if inspect.isclass(error) and issubclass(error, errors.HandfastError) and error is not errors.HandfastError
    }
    assert classes == drawn


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#][^)]*)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path
        assert found.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}, target


def test_what_the_audit_trail_says_is_documented() -> None:
    (kinds,) = re.findall(r"^\| `kind` \| (.*) \|$", text("docs/audit.md"), re.MULTILINE)
    assert {kind.value for kind in ChangeKind} == set(re.findall(r"`(\w+)`", kinds))
    for operation in (just_in_time.OPERATION, just_in_time.PROVISIONING, unclaimed.OPERATION):
        assert f"| `{operation}` |" in text("docs/provisioning.md")


def test_the_policies_of_the_documentation_pass_our_own_lint() -> None:
    blocks = [block for page in PAGES for block in re.findall(r"^```json\n(.*?)^```$", page.read_text(), re.M | re.S)]
    policies = [block for block in blocks if re.match(r'\{\s+"Version": "2012', block)]
    assert policies
    for policy in policies:
        assert [] == lint_document(policy), policy


def test_every_decision_is_listed() -> None:
    listed = set(re.findall(r"\((\d{4}-[\w-]+\.md)\)", text("docs/decisions/README.md")))
    assert listed == {page.name for page in (DOCS / "decisions").glob("0*.md")}


def test_every_target_of_make_that_the_documentation_names_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", text("Makefile"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z0-9-]+)", page.read_text(encoding="utf-8"))}
    assert named <= targets
