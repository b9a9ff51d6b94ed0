"""No secret and no control character reaches the log, whoever logs and however it is nested."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from handfast.telemetry.logging import configure_logging

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
SIGNATURE = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"


@pytest.fixture(params=["json", "text"])
def stream(request: pytest.FixtureRequest) -> io.StringIO:
    out = io.StringIO()
    configure_logging(log_format=request.param, level="debug", stream=out)
    return out


def private_key_pem() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def test_values_under_secret_names_are_hidden(stream: io.StringIO) -> None:
    names = ("secret", "aws_secret_access_key", "Authorization", "passphrase", "password", "private_key", "token")
    structlog.get_logger("t").info("event", **dict.fromkeys(names, SECRET))
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") == len(names)


def test_secrets_inside_text_are_hidden_and_the_rest_stays(stream: io.StringIO) -> None:
    log = structlog.get_logger("t")
    log.info(f"Credential=AKIDEXAMPLE/20261121/us-east-1/iot/aws4_request, SignedHeaders=host, Signature={SIGNATURE}")
    log.info("query", url=f"/things?X-Amz-Signature={SIGNATURE}&X-Amz-Security-Token={SECRET}&x=1")
    log.info("header", line=f"Bearer {SECRET}")
    log.info("profile", line=f"aws_secret_access_key = {SECRET}")
    log.info("database", url=f"postgresql://handfast:{SECRET}@db/registry")
    written = stream.getvalue()
    assert SECRET not in written
    assert SIGNATURE not in written
    assert "AKIDEXAMPLE/20261121" in written
    assert "handfast:[redacted]@db/registry" in written


def test_private_keys_are_hidden_at_any_depth_in_any_event(stream: io.StringIO) -> None:
    pem = private_key_pem()
    body = pem.splitlines()[1]
    log = structlog.get_logger("t")
    log.info("nested", answer={"keyPair": {"PublicKey": "p", "PrivateKey": pem}, "list": [pem, (pem,)]})
    log.info(f"in the event itself {pem}")
    log.info("cut off", text=pem[:120])
    log.info("bytes", body=pem.encode())
    logging.getLogger("library").warning("foreign %s", pem)
    assert body not in stream.getvalue()
    assert "PRIVATE KEY" not in stream.getvalue()


def test_exceptions_are_redacted_too(stream: io.StringIO) -> None:
    pem = private_key_pem()
    try:
        raise ValueError(f"cannot load {pem}")
    except ValueError:
        structlog.get_logger("t").exception("failed")
        logging.getLogger("library").exception("failed")
    written = stream.getvalue()
    assert "ValueError" in written
    assert "PRIVATE KEY" not in written


def test_what_a_peer_sent_cannot_act_on_the_terminal(stream: io.StringIO) -> None:
    hostile = "dev\x1b[2J\r\nfake event\x9b\u202e"
    structlog.get_logger("t").info("refused", client_id=hostile, facts={hostile: [hostile]}, **{hostile: 1})
    structlog.get_logger("t").info(hostile)
    logging.getLogger("library").error("peer said %s", hostile)
    written = stream.getvalue()
    assert len(written.splitlines()) == 3
    assert all(line.isprintable() for line in written.split("\n"))


def test_json_is_one_object_per_line_with_level_and_time() -> None:
    out = io.StringIO()
    configure_logging(log_format="json", level="info", stream=out)
    structlog.get_logger("gateway").info("connected", count=3, nothing=None)
    structlog.get_logger("gateway").debug("not this")
    (line,) = out.getvalue().splitlines()
    event = json.loads(line)
    assert ("connected", "info", "gateway", 3, None) == (
        event["event"],
        event["level"],
        event["logger"],
        event["count"],
        event["nothing"],
    )
    assert event["timestamp"].endswith("Z")


def test_a_stream_that_is_no_terminal_gets_json_by_itself() -> None:
    out = io.StringIO()
    configure_logging(stream=out)
    structlog.get_logger("t").info("event")
    assert "event" == json.loads(out.getvalue())["event"]


def test_facts_about_signatures_are_not_secrets() -> None:
    out = io.StringIO()
    configure_logging(log_format="json", stream=out)
    structlog.get_logger("t").info("hello", offered_signature_algorithms="ecdsa_secp256r1_sha256")
    assert "ecdsa_secp256r1_sha256" in out.getvalue()
