"""`cert import`: what is found where, what is reported, and that a run goes on where it was stopped."""

from __future__ import annotations

import csv
import datetime as dt
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from tests.support.command_line import CommandLine, command_line
from tests.support.manifest import Maker
from tests.support.pki import certificate, der, key_of, openssl, pem

from handfast.cli import import_run
from handfast.cli.connection import CallFailed, ServerAddress
from handfast.cli.import_journal import COLUMNS, Journal, Mark, Report, Totals, journal_for
from handfast.cli.import_progress import PlainProgress
from handfast.cli.import_run import ImportRun, Outcome, Sender, Wishes
from handfast.cli.import_sources import MANIFEST_REFUSED, NOT_READABLE, SKIPPED, Item, Sources
from handfast.core.pki.ids import certificate_id
from handfast.core.pki.manifest import ManifestSigner
from handfast.errors import ConfigurationError
from handfast.printable import printable

CA = certificate("maker", key=key_of("p384"), ca=True)
LEAVES = [certificate(f"device {n}", issuer=CA, issuer_key=key_of("p384")) for n in range(12)]
MAKER = Maker()
SIGNER = ManifestSigner(MAKER.certificate)


def put(path: Path, data: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def brief(root: Path, items: Iterator[Item] | Sources) -> list[tuple[str, str, int | str]]:
    """(source below root, place, number of the leaf or the code)"""
    numbers = {der(leaf): number for number, leaf in enumerate(LEAVES)}
    return [(os.path.relpath(i.source, root), i.place, i.code or numbers[i.der or b""]) for i in items]


# --- what is found


def test_a_folder_is_read_in_order_of_name_and_what_is_no_delivery_is_left_out(tmp_path: Path) -> None:
    put(tmp_path / "b" / "one.pem", pem(LEAVES[1]))
    put(tmp_path / "a.der", der(LEAVES[0]))
    put(tmp_path / "c.json", json.dumps([MAKER.element(LEAVES[2], CA)]))
    put(tmp_path / "kit" / "device.json", "{}")
    put(tmp_path / "kit" / "private.key", "secret")
    put(tmp_path / "kit" / "roots.PEM", pem(CA))
    put(tmp_path / "both.pem", pem(LEAVES[3], LEAVES[4]))
    openssl("crl2pkcs7", "-nocrl", "-certfile", tmp_path / "both.pem", "-outform", "DER", "-out", tmp_path / "d.p7b")
    (tmp_path / "both.pem").unlink()
    (tmp_path / "link.pem").symlink_to(tmp_path / "a.der")
    (tmp_path / "round").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "pipe.pem")
    found = brief(tmp_path, Sources([tmp_path], signer=SIGNER))
    assert [("a.der", "", 0), ("b/one.pem", "line 1", 1), ("c.json", "element 1", 2)] == found[:3]
    assert {("d.p7b", 3), ("d.p7b", 4)} == {(source, leaf) for source, _, leaf in found[3:5]}
    assert [
        ("kit/device.json", "", SKIPPED),
        ("kit/private.key", "", SKIPPED),
        ("kit/roots.PEM", "line 1", SKIPPED),
        ("link.pem", "", SKIPPED),
        ("pipe.pem", "", SKIPPED),
        ("round", "", SKIPPED),
    ] == found[5:]


def test_what_is_wrong_is_told_with_file_and_line_and_the_rest_is_read(tmp_path: Path) -> None:
    broken = "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"
    one = put(tmp_path / "bundle.pem", f"# delivery 7\n{broken}{pem(LEAVES[0])}")
    put(tmp_path / "more" / "empty.pem", "")
    put(tmp_path / "more" / "noise.der", b"\x30\x80" * 40000)
    put(tmp_path / "more" / "wrong.p7b", b"\x30\x03\x06\x01\x00")
    put(tmp_path / "more" / "latin.json", b'["\xff"]')
    expected = [("bundle.pem", "line 2", NOT_READABLE), ("bundle.pem", "line 5", 0)]
    more = ["empty.pem", "latin.json", "noise.der", "wrong.p7b"]
    codes = {"latin.json": MANIFEST_REFUSED}
    expected += [(f"more/{name}", "", codes.get(name, NOT_READABLE)) for name in more]
    assert expected == brief(tmp_path, Sources([one, tmp_path / "more"], signer=SIGNER))


def test_a_pem_file_holds_pkcs7_and_keys_too(tmp_path: Path) -> None:
    put(tmp_path / "both.pem", pem(LEAVES[0]))
    packed = openssl("crl2pkcs7", "-nocrl", "-certfile", tmp_path / "both.pem")
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    path = put(tmp_path / "mixed.pem", key + packed)
    items = list(Sources([path]))
    assert [("line 1", SKIPPED), ("line 4, certificate 1", "")] == [(i.place, i.code) for i in items]
    assert "PRIVATE KEY" in items[0].message


def test_ca_certificates_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path / "chain.pem", pem(LEAVES[0], CA))
    assert ["", SKIPPED] == [item.code for item in Sources([path])]
    assert ["", ""] == [item.code for item in Sources([path], include_ca=True)]


def test_a_manifest_needs_the_certificate_that_verifies_it(tmp_path: Path) -> None:
    path = put(tmp_path / "manifest.json", json.dumps([MAKER.element(LEAVES[0])]))
    with pytest.raises(ConfigurationError, match="--manifest-cert"):
        Sources([path])
    (item,) = Sources([tmp_path])
    assert (None, MANIFEST_REFUSED) == (item.der, item.code)
    assert "--manifest-cert" in item.message


def test_an_element_that_is_wrongly_signed_is_told_by_its_unique_id(tmp_path: Path) -> None:
    elements = [Maker().element(LEAVES[0], unique_id="01aa"), MAKER.element(LEAVES[1], unique_id="01bb")]
    path = put(tmp_path / "manifest.json", json.dumps(elements))
    refused, good = Sources([path], signer=SIGNER)
    assert ("element 1", "01aa", None, MANIFEST_REFUSED) == (
        refused.place,
        refused.unique_id,
        refused.der,
        refused.code,
    )
    assert ("01bb", der(LEAVES[1])) == (good.unique_id, good.der)


def test_a_path_that_cannot_be_read_ends_the_command_before_it_begins(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "nothing", tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ConfigurationError):
            Sources([path])


def test_a_bundle_is_read_as_it_is_used(tmp_path: Path) -> None:
    path = put(tmp_path / "bundle.pem", pem(*LEAVES) * 200)
    sources = Sources([path])
    first = next(iter(sources))
    assert first.read_bytes < sources.total_bytes() // 10
    assert 12 * 200 == sum(1 for _ in sources)


# --- what is sent, counted and reported


class Server:
    """Registers what it is sent; `fail` is raised at the calls that it names."""

    def __init__(self) -> None:
        self.known: dict[bytes, str] = {}
        self.calls: list[int] = []
        self.stop_after: int | None = None
        self.stopped = False
        self._lock = threading.Lock()

    def __call__(self, certificates: list[bytes]) -> list[dict[str, Any]]:
        with self._lock:
            if self.stop_after is not None and len(self.calls) >= self.stop_after:
                raise CallFailed("gone")
            if certificates:
                self.calls.append(len(certificates))
            return [self._register(each) for each in certificates]

    def _register(self, each: bytes) -> dict[str, Any]:
        outcome = "exists" if each in self.known else "registered"
        return {"outcome": outcome, "certificateStatus": self.known.setdefault(each, "INACTIVE")}

    def stop(self) -> None:
        self.stopped = True


class Quiet:
    def update(self, totals: Totals, read_bytes: int) -> None:
        pass


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_run, "BATCH_CERTIFICATES", 2)
    monkeypatch.setattr(import_run, "UNDER_WAY", 1)


def run(
    sources: Sources, server: Server, folder: Path, *, resume: bool = False, wishes: Wishes | None = None
) -> tuple[Outcome, list[dict[str, Any]]]:
    report = folder / "report.jsonl"
    outcome = ImportRun(
        sources,
        server,
        wishes or Wishes(),
        journal=journal_for({"job": 1}, report),
        open_report=lambda keep: Report(report, keep_bytes=keep),
        progress=Quiet(),
    )(resume=resume)
    return outcome, [json.loads(line) for line in report.read_text().splitlines()]


def test_everything_is_counted_and_what_was_not_registered_is_reported(tmp_path: Path) -> None:
    broken = "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"
    path = put(tmp_path / "in.pem", pem(*LEAVES[:3]) + broken + pem(CA) + pem(LEAVES[0]))
    server = Server()
    server.known[der(LEAVES[1])] = "ACTIVE"
    server.known[der(LEAVES[2])] = "REVOKED"
    outcome, lines = run(Sources([path]), server, tmp_path)
    assert Totals(registered=1, existed=2, failed=2, skipped=1) == outcome.totals
    revoked, unreadable, skipped = lines
    assert ("failed", certificate_id(der(LEAVES[2])), "ResourceAlreadyExistsException") == (
        revoked["outcome"],
        revoked["certificateId"],
        revoked["code"],
    )
    assert (str(path), "NotReadable", "skipped") == (unreadable["source"], unreadable["code"], skipped["outcome"])
    assert [revoked["place"], unreadable["place"]] == [row["place"] for row in outcome.failures]
    assert not list(tmp_path.glob("*.journal"))


def test_a_status_that_was_asked_for_is_compared_with_what_is_there(tmp_path: Path) -> None:
    path = put(tmp_path / "in.pem", pem(*LEAVES[:2]))
    server = Server()
    server.known = {der(LEAVES[0]): "INACTIVE", der(LEAVES[1]): "ACTIVE"}
    outcome, (line,) = run(Sources([path]), server, tmp_path, wishes=Wishes(status="ACTIVE"))
    assert Totals(existed=1, failed=1) == outcome.totals
    assert "INACTIVE" in line["message"]


@pytest.mark.usefixtures("small_batches")
def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    broken = "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"
    path = put(tmp_path / "in.pem", broken + pem(*LEAVES[:5]) + broken + pem(*LEAVES[5:]))
    server = Server()
    server.stop_after = 3
    with pytest.raises(CallFailed):
        run(Sources([path]), server, tmp_path)
    assert server.stopped
    assert 3 * 2 == len(server.known)
    server.stop_after = None
    server.calls.clear()
    outcome, lines = run(Sources([path]), server, tmp_path, resume=True)
    assert (12, 0, 2) == (outcome.totals.registered, outcome.totals.existed, outcome.totals.failed)
    assert 8 == outcome.resumed_after
    assert 3 * 2 == sum(server.calls)
    assert 2 == len(lines)


@pytest.mark.usefixtures("small_batches")
def test_sources_that_were_changed_meanwhile_are_done_again_from_the_beginning(tmp_path: Path) -> None:
    path = put(tmp_path / "in.pem", pem(*LEAVES[:6]))
    server = Server()
    server.stop_after = 2
    with pytest.raises(CallFailed):
        run(Sources([path]), server, tmp_path)
    put(path, pem(*reversed(LEAVES[:6])))
    server.stop_after = None
    outcome, _ = run(Sources([path]), server, tmp_path, resume=True)
    assert outcome.restarted
    assert Totals(registered=2, existed=4) == outcome.totals


@pytest.mark.usefixtures("small_batches")
def test_what_a_killed_run_wrote_behind_its_last_mark_is_not_reported_twice(tmp_path: Path) -> None:
    broken = "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n"
    path = put(tmp_path / "in.pem", pem(*LEAVES[:2]) + broken + pem(*LEAVES[2:4]))
    server = Server()
    server.stop_after = 1
    with pytest.raises(CallFailed):
        run(Sources([path]), server, tmp_path)
    with (tmp_path / "report.jsonl").open("a") as report:
        report.write('{"outcome": "fai')
    server.stop_after = None
    _, lines = run(Sources([path]), server, tmp_path, resume=True)
    assert 1 == len(lines)


def test_resuming_without_a_journal_begins_at_the_beginning(tmp_path: Path) -> None:
    path = put(tmp_path / "in.pem", pem(*LEAVES))
    put(tmp_path / "report.jsonl.journal", "not a journal")
    outcome, _ = run(Sources([path]), Server(), tmp_path, resume=True)
    assert (12, 0) == (outcome.totals.registered, outcome.resumed_after)


def test_a_journal_of_another_job_is_as_none(tmp_path: Path) -> None:
    Journal(tmp_path / "j", "one").write(Mark(items=3, digest="d"))
    assert Journal(tmp_path / "j", "two").read() is None
    assert Mark(items=3, digest="d") == Journal(tmp_path / "j", "one").read()


def test_without_a_report_the_journal_is_in_the_users_state_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    journal = journal_for({"paths": ["a"]}, None)
    assert tmp_path / "state" / "handfast" == journal.path.parent
    journal.write(Mark(items=1, digest="d"))
    assert 0o700 == journal.path.parent.stat().st_mode & 0o777
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path / ".local" / "state" / "handfast" == journal_for({"paths": ["b"]}, None).path.parent


def test_a_report_for_a_spreadsheet_holds_no_formulas(tmp_path: Path) -> None:
    report = Report(tmp_path / "r.csv")
    report.add({"outcome": "failed", "source": "=cmd|'/c calc'!A1", "message": 'said "no", twice'})
    report.close()
    head, row = csv.reader((tmp_path / "r.csv").open(newline=""))
    assert list(COLUMNS) == head
    assert ["failed", "'=cmd|'/c calc'!A1", "", "", "", "", 'said "no", twice'] == row


def test_a_report_overwrites_nothing_but_reports(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="csv"):
        Report(put(tmp_path / "devices.pem", "mine"))
    assert "mine" == (tmp_path / "devices.pem").read_text()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        Report(tmp_path / "no" / "folder.csv")


def test_names_that_act_on_a_terminal_are_escaped_in_the_report(tmp_path: Path) -> None:
    name = "a\x1b[2J.pem"
    _, (line,) = run(Sources([put(tmp_path / "in" / name, "").parent]), Server(), tmp_path)
    assert printable(name) == Path(line["source"]).name


def test_the_imports_own_files_are_passed_over_in_the_folder_that_is_read(tmp_path: Path) -> None:
    put(tmp_path / "report.jsonl", "")
    put(tmp_path / "in.pem", pem(LEAVES[0]))
    assert ["in.pem"] == [Path(item.source).name for item in Sources([tmp_path], own_files=[tmp_path / "report.jsonl"])]


# --- trying again


ADDRESS = ServerAddress(
    api="http://127.0.0.1:1",
    region="us-east-1",
    host="127.0.0.1",
    mqtt_port=1,
    https_port=1,
    endpoint=None,
    trust_dir=None,
    access_key_id="A",
    secret="s",
)


class Api:
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked: list[dict[str, Any]] = []

    def register_certificates(self, **members: Any) -> dict[str, Any]:
        self.asked.append(members)
        if self.errors:
            raise self.errors.pop(0)
        return {"results": [{"outcome": "registered"} for _ in members["certificates"]]}


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "m"}}, "RegisterCertificates")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_run, "FIRST_DELAY_S", 0.0)


@pytest.mark.usefixtures("no_pauses")
def test_what_may_pass_is_tried_again_and_what_will_not_is_told_at_once() -> None:
    passing = [
        client_error("ThrottlingException"),
        client_error("ServiceUnavailableException"),
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    ]
    api = Api(*passing)
    send = Sender(ADDRESS, api, Wishes(status="ACTIVE", require_ca=True))
    assert [{"outcome": "registered"}] == send([der(LEAVES[0])])
    assert 4 == len(api.asked)
    entry = {"certificatePem": pem(LEAVES[0]), "status": "ACTIVE"}
    assert {"certificates": [entry], "requireCa": True} == api.asked[0]
    refused = Api(client_error("AccessDeniedException"))
    with pytest.raises(CallFailed, match="AccessDenied"):
        Sender(ADDRESS, refused, Wishes())([der(LEAVES[0])])
    assert 1 == len(refused.asked)


@pytest.mark.usefixtures("no_pauses")
def test_trying_again_ends() -> None:
    api = Api(*[client_error("ThrottlingException")] * 99)
    with pytest.raises(CallFailed, match="Throttling"):
        Sender(ADDRESS, api, Wishes())([der(LEAVES[0])])
    assert import_run.ATTEMPTS == len(api.asked)


# --- the command


@pytest.fixture
def handfast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(import_run, "UNDER_WAY", 1)  # one at a time: the API is in this process
    with command_line(tmp_path / "plane") as made:
        yield made


def test_the_command_says_what_it_cannot_do(handfast: CommandLine, tmp_path: Path) -> None:
    bundle = str(put(tmp_path / "in" / "bundle.pem", pem(LEAVES[0])))
    manifest = str(put(tmp_path / "in" / "manifest.json", json.dumps([MAKER.element(LEAVES[0])])))
    wrong_key = str(put(tmp_path / "signer.pem", pem(certificate("signer", key=key_of("p384")))))
    for arguments, said in (
        ([manifest], "--manifest-cert"),
        ([bundle, "--status", "REVOKED"], "ACTIVE or INACTIVE"),
        ([bundle, "--manifest-cert", manifest], "not a certificate"),
        ([bundle, "--manifest-cert", wrong_key], "P-256"),
        ([bundle, "--manifest-cert", str(tmp_path / "nothing")], "cannot be read"),
        ([bundle, "--report", str(tmp_path / "report.txt")], ".csv or .jsonl"),
        ([str(tmp_path / "nothing")], "cannot be read"),
    ):
        ran = handfast("cert", "import", *arguments)
        assert (2, True) == (ran.status, said in ran.err), ran.err
    assert [] == handfast.asked
    aws = handfast("cert", "import", bundle, "--endpoint-url", "https://iot.us-east-1.amazonaws.com")
    assert 2 == aws.status


def test_failures_are_told_with_file_and_line_and_counted(handfast: CommandLine, tmp_path: Path) -> None:
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    fresh = certificate("fresh", not_before=now - day, not_after=now + day)
    expired = certificate("expired", not_before=now - 3 * day, not_after=now - day)
    path = put(tmp_path / "in.pem", pem(fresh) + pem(expired) * 25)
    ran = handfast("cert", "import", str(path))
    assert 1 == ran.status
    assert "1 registered, 0 there already, 25 failed" in ran.out
    lines = ran.err.splitlines()
    second = 1 + len(pem(fresh).splitlines())
    assert lines[0].startswith(f"{path}:{second}: CertificateValidationException: ")
    assert "and 5 more failures: --report FILE names all of them" == lines[20]
    again = json.loads(handfast("cert", "import", str(path), "--json").out)
    assert (0, 1, 25, 20) == (again["registered"], again["existed"], again["failed"], len(again["failures"]))
    assert not list((tmp_path / "state").rglob("*.journal"))


def test_progress_elsewhere_than_on_a_terminal_is_a_line_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    now = iter([0.0, 1.0, 3.0, 11.0])
    monkeypatch.setattr("handfast.cli.import_progress.time.monotonic", lambda: next(now))
    progress = PlainProgress(2000, sys.stdout)
    progress.update(Totals(registered=500), 500)
    progress.update(Totals(registered=700), 700)
    progress.update(Totals(registered=1600, failed=10, skipped=2), 1500)
    assert (
        "1,600 registered, 0 there already, 10 failed, 2 left out, 101/s, about 6 s left\n" == capsys.readouterr().out
    )
