"""The AWS command line, unmodified."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

from tests.support.registry import ROLE, TEMPLATE_BODY
from tests.support.server import Server, clean_environment


def aws(server: Server, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "aws"), "--endpoint-url", server.api, "--region", "us-east-1", *words],
        env={**clean_environment(), "AWS_SHARED_CREDENTIALS_FILE": str(server.data_dir / "credentials")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def test_the_tutorial_lines_work(server: Server, folder: Path) -> None:
    folder.mkdir(parents=True)
    name = f"cli-{uuid.uuid4().hex}"
    aws(server, "iot", "create-thing", "--thing-name", name)
    made = json.loads(
        aws(
            server,
            *["iot", "create-keys-and-certificate", "--set-as-active"],
            *["--certificate-pem-outfile", str(folder / "c.pem"), "--private-key-outfile", str(folder / "k.pem")],
        ).stdout
    )
    assert (folder / "c.pem").read_text() == made["certificatePem"]
    document = folder / "policy.json"
    document.write_text('{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:*"],"Resource":["*"]}]}')
    aws(server, "iot", "create-policy", "--policy-name", name, "--policy-document", f"file://{document}")
    aws(server, "iot", "attach-policy", "--policy-name", name, "--target", made["certificateArn"])
    aws(server, "iot", "attach-thing-principal", "--thing-name", name, "--principal", made["certificateArn"])
    listed = json.loads(aws(server, "iot", "list-thing-principals", "--thing-name", name).stdout)
    assert [made["certificateArn"]] == listed["principals"]
    aws(server, "iot", "update-certificate", "--certificate-id", made["certificateId"], "--new-status", "INACTIVE")
    described = json.loads(aws(server, "iot", "describe-certificate", "--certificate-id", made["certificateId"]).stdout)
    assert "INACTIVE" == described["certificateDescription"]["status"]


def test_a_provisioning_template_is_made_from_a_file(server: Server, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "template.json").write_text(TEMPLATE_BODY)
    name = f"cli-{uuid.uuid4().hex[:20]}"
    words = ["--template-name", name, "--template-body", f"file://{folder / 'template.json'}"]
    made = aws(server, "iot", "create-provisioning-template", *words, "--provisioning-role-arn", ROLE, "--enabled")
    assert (name, 1) == (json.loads(made.stdout)["templateName"], json.loads(made.stdout)["defaultVersionId"])


def test_errors_reach_the_command_line(server: Server) -> None:
    done = aws(server, "iot", "describe-thing", "--thing-name", "nobody", check=False)
    assert done.returncode in (254, 255)
    assert "ResourceNotFoundException" in done.stderr
