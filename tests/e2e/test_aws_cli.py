"""The AWS command line, unmodified."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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


def test_keys_and_certificate_come_into_files(server: Server, folder: Path) -> None:
    """One line as a process of its own; tests/e2e/test_guide_lines.py has the developer guide's."""
    folder.mkdir(parents=True)
    files = ["--certificate-pem-outfile", str(folder / "c.pem"), "--private-key-outfile", str(folder / "k.pem")]
    made = json.loads(aws(server, "iot", "create-keys-and-certificate", "--set-as-active", *files).stdout)
    assert (folder / "c.pem").read_text() == made["certificatePem"]
    assert (folder / "k.pem").read_text() == made["keyPair"]["PrivateKey"]


def test_errors_reach_the_command_line(server: Server) -> None:
    done = aws(server, "iot", "describe-thing", "--thing-name", "nobody", check=False)
    assert done.returncode in (254, 255)
    assert "ResourceNotFoundException" in done.stderr
