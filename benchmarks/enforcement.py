"""
What enforcing policies costs: python -m benchmarks.enforcement [--rounds N] [--quick] [--json OUT]

Two servers, up at once on one core: on one every device has a policy that allows all, on the other ten policies of
nearly 2,048 characters each, with variables, wildcards and conditions. QoS 0 loads are put on one after the other, in
an order that turns from round to round; the result is the median of the same-round ratios of work per CPU second.

Exit status: 0 the target is met (at least 0.9 of allow-all's throughput) and nothing was lost, 1 not so, 2 it could
not be run.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from benchmarks.compare import LOADGEN, SCRATCH, Run, machine, measure
from benchmarks.make_fleet import make_fleet
from benchmarks.ratios import cell, problems
from benchmarks.servers import REGION, Server, SetupError, handfast, open_for_json, prepare_folder

from handfast.core.policy.reading import MAX_CHARACTERS

ALLOW_ALL = "allow-all"
REAL = "ten real policies"
LOADS = ("q0w20", "q0w1")
AT_LEAST = 0.9
DEVICES = 40
"""What the loads connect: 20 pairs."""
POLICIES = 10
_OWN = "${iot:Certificate.Subject.CommonName}"

Statement = dict[str, Any]


def _text(statements: list[Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))


def _needed(arn: str) -> list[Statement]:
    """What the devices need and no more, each under a condition."""
    condition = {
        "StringLike": {"iot:ClientId": ["d*", "gateway-*"]},
        "IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "192.0.2.0/24"]},
        "ForAnyValue:StringLike": {"iot:Certificate.Subject.CommonName.List": ["d0*", "d1*"]},
    }
    allowed = {
        "iot:Connect": f"client/{_OWN}",
        "iot:Publish": f"topic/dev/{_OWN}/*",
        "iot:Subscribe": "topicfilter/dev/*/up/*",
        "iot:Receive": "topic/dev/*/up/*",
    }
    return [
        {"Effect": "Allow", "Action": action, "Resource": arn + resource, "Condition": condition}
        for action, resource in allowed.items()
    ]


def _ballast(arn: str, policy: int) -> Iterator[Statement]:
    """Statements that are judged for every topic and match none: allowed places and denied ones."""
    for number in range(1000):
        effect = "Deny" if number % 3 == 2 else "Allow"
        place = f"topic/*/site-{policy}-{number}/{_OWN}/?/${{iot:ClientId}}/*"
        condition = {"StringNotEquals": {"iot:ClientId": [f"spare-{policy}-{number}"]}}
        yield {"Effect": effect, "Action": ["iot:Publish", "iot:Receive"], "Resource": arn + place} | (
            {"Condition": condition} if number % 2 else {}
        )


def real_policies(account: str) -> list[str]:
    """Ten documents, each as long as whole statements within 2,048 characters make it."""
    arn = f"arn:aws:iot:{REGION}:{account}:"
    documents = []
    for number in range(POLICIES):
        statements = _needed(arn) if number == POLICIES - 1 else []
        for each in _ballast(arn, number):
            if len(_text([*statements, each])) > MAX_CHARACTERS:
                break
            statements.append(each)
        documents.append(_text(statements))
    return documents


def allow_all(_account: str) -> list[str]:
    """One document that allows everything."""
    return [_text([{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}])]


def furnish(server: Server, fleet: Path, documents: list[str]) -> None:
    """The fleet's devices are registered on the running server, each with all of the documents attached."""
    assert server.ready_file is not None
    facts = json.loads(server.ready_file.read_text())
    keys = configparser.ConfigParser()
    keys.read(server.ready_file.parent / "data" / "credentials")
    iot = boto3.session.Session().client(
        "iot",
        region_name=REGION,
        endpoint_url=facts["api"],
        aws_access_key_id=keys["default"]["aws_access_key_id"],
        aws_secret_access_key=keys["default"]["aws_secret_access_key"],
    )
    for number, document in enumerate(documents):
        iot.create_policy(policyName=f"policy-{number}", policyDocument=document)
    for path in sorted((fleet / "clients").glob("*.crt")):
        made = iot.register_certificate_without_ca(certificatePem=path.read_text(), status="ACTIVE")
        for number in range(len(documents)):
            iot.attach_policy(policyName=f"policy-{number}", target=made["certificateArn"])


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.enforcement", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="7; 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="OUT", help="every report and the ratios, for machines")
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    arguments = parser.parse_args(argv)
    if not 1 <= arguments.rounds <= 100:
        parser.error("--rounds: 1 to 100")
    if arguments.quick:
        arguments.rounds = 1
    if not {arguments.server_core, arguments.load_core} <= os.sched_getaffinity(0):
        parser.error("two cores are needed: --server-core and --load-core name them")
    return arguments


def compare(arguments: argparse.Namespace) -> bool:
    """Both servers were measured and the ratios printed; whether all is well."""
    if not LOADGEN.exists():
        raise SetupError("the load generator is not built: make -C benchmarks loadgen")
    fleet, folder = SCRATCH / "enforcement-fleet", prepare_folder(SCRATCH / "enforcement")
    make_fleet(fleet, count=DEVICES, fillers=0)
    servers = []
    run = Run(arguments, fleet)
    try:
        for number, (name, documents) in enumerate(((ALLOW_ALL, allow_all), (REAL, real_policies))):
            server = handfast(name, folder / str(number), folder / "none", {"HANDFAST_TLS_ENGINE": ""})
            servers.append(server)
            server.start(arguments.server_core)
            assert server.ready_file is not None
            account = json.loads(server.ready_file.read_text())["account"]
            texts = documents(account)
            furnish(server, fleet, texts)
            print(f"{name}: {len(texts)} policies, {sum(map(len, texts)):,} characters, attached to each device")
        measure(run, servers, list(LOADS), arguments.rounds, arguments.server_core)
    finally:
        for server in servers:
            server.stop()
    wrong = problems(run.measurements)
    well = not wrong
    ratios = {}
    print()
    for load in LOADS:
        found = cell(run.measurements, REAL, load, ALLOW_ALL)
        if found is None or found.ratio is None:
            wrong.append(f"{load}: no ratio")
            continue
        met = found.ratio >= AT_LEAST
        well = well and met
        ratios[load] = found.ratio
        print(
            f"{load:<6} {found.ratio:.3f} × {ALLOW_ALL} ({found.lowest:.3f}-{found.highest:.3f},"
            f" {found.rounds} rounds); target at least {AT_LEAST:g}: {'met' if met else 'MISSED'}"
        )
    for sentence in wrong:
        print(f"wrong: {sentence}")
    if arguments.json is not None:
        with open_for_json(arguments.json) as out:
            whole = {"machine": machine(), "reports": run.reports, "ratios": ratios, "problems": wrong, "well": well}
            json.dump(whole, out, indent=1)
    return well and not wrong


def main(argv: list[str] | None = None) -> int:
    """The command line; see the module."""
    arguments = parse(argv)
    try:
        return 0 if compare(arguments) else 1
    except (SetupError, subprocess.SubprocessError, OSError) as error:
        print(f"enforcement: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
