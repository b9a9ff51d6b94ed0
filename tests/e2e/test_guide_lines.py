"""The `aws iot` lines of the developer guide's pages through the AWS CLI, with credentials, endpoint and ids put in."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.aws_cli import AwsCli
from tests.support.guide import Person, Table, tables
from tests.support.server import Server, clean_environment

from handfast import app
from handfast.wire.client import handfast_client


@pytest.mark.parametrize("table", tables(), ids=lambda table: table.name)
def test_the_guides_lines(server: Server, table: Table, tmp_path: Path) -> None:
    """Each table in accounts of its own: names of things are the guide's, and lists are whole."""
    key_id, secret = server.credentials("handfast-operator")
    operator = handfast_client(server.api, "us-east-1", key_id, secret)
    numbers, keys = {}, {}
    for name in ("first", "receiver"):
        numbers[name] = operator.create_account()["accountId"]
        made = operator.create_access_key(accountId=numbers[name])
        keys[name] = (made["accessKeyId"], made["secretAccessKey"])
    for name, content in table.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    environment = {
        **clean_environment(),
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": server.api,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    built = frozenset(app.implemented_operations()["iot"])
    with AwsCli(tmp_path, environment) as cli:
        person = Person(cli, tmp_path, keys, dict(numbers))
        for step in table.steps:
            try:
                person.does(step, built)
            except AssertionError as wrong:
                raise AssertionError(f"{step.page}\n{step.run}\n{wrong}") from wrong
