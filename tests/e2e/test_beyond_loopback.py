"""On an address that others reach, the API port speaks TLS with the same PKI, and metrics ask for a token."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest
from tests.support.server import start


def test_the_api_speaks_tls_and_the_command_line_follows(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a secret token\n")
    token.chmod(0o600)
    server = start(tmp_path / "data", "--host", "0.0.0.0", "--metrics-token-file", str(token))
    try:
        assert server.api.startswith("https://127.0.0.1:")
        key_id, secret = server.credentials()
        client = boto3.client(
            "iot",
            region_name="us-east-1",
            endpoint_url=server.api.replace("127.0.0.1", "localhost"),
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            verify=str(server.trust / "bundle.pem"),
        )
        assert server.endpoint == client.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"]
        context = ssl.create_default_context(cafile=str(server.trust / "bundle.pem"))
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{server.api}/metrics", context=context, timeout=10)
        assert 401 == refused.value.code
        allowed = urllib.request.Request(f"{server.api}/metrics", headers={"Authorization": "Bearer a secret token"})
        with urllib.request.urlopen(allowed, context=context, timeout=10) as answer:
            assert b"handfast_" in answer.read()
        server.handfast("device", "create", "pump", cwd=tmp_path)
        told = server.handfast("device", "try", "pump", cwd=tmp_path).stdout
        assert "arrived" in told
    finally:
        assert 0 == server.stop()
