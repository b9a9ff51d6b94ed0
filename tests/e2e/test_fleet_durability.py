"""Kill -9 in the middle of a fleet that provisions itself: whole devices or none, and every device gets in."""

from __future__ import annotations

import queue
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.device import Device, create_device, write
from tests.support.fleet import FROM_CSR, Requester, claim_policy, csr, make_template
from tests.support.server import Server, start

DEVICES, CONNECTIONS, KILLS = 20, 4, 1
TEMPLATE = "fleet"
PROVISION = f"$aws/provisioning-templates/{TEMPLATE}/provision/json"


@dataclass
class Fresh:
    """A device on its way; `made` is the reply that holds its certificate and token."""

    serial: str
    made: dict[str, Any] = field(default_factory=dict)
    told: bool = False  # that its RegisterThing was accepted

    def step(self, requester: Requester, request: str) -> None:
        if not self.made:
            self.made = requester.ask(f"{FROM_CSR}/json", {"certificateSigningRequest": request})
            assert self.made["accepted"], self.made
        members = {
            "certificateOwnershipToken": self.made["certificateOwnershipToken"],
            "parameters": {"SerialNumber": self.serial},
        }
        answer = requester.ask(PROVISION, members)
        # Used: the reply was lost with the server, and what it would have told is true.
        assert answer["accepted"] or "has been used" in answer["errorMessage"], answer
        self.told = True


def burst(server: Server, claim: Device, devices: list[Fresh], request: str, stop_after: int | None) -> None:
    """The devices provision themselves over a few connections; the server is killed after so many of them."""
    waiting: queue.SimpleQueue[Fresh] = queue.SimpleQueue()
    for device in devices:
        waiting.put(device)
    done = threading.Semaphore(0)
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            requester = Requester(server, claim, f"bench-{number}")
            while True:
                device = waiting.get_nowait()
                device.step(requester, request)
                done.release()
        except (queue.Empty, OSError):
            pass
        except Exception as error:
            failures.append(error)
        finally:
            done.release()  # nobody waits for a thread that is over

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    if stop_after is not None:
        for _ in range(stop_after):
            assert done.acquire(timeout=30)
        server.kill()
    for thread in threads:
        thread.join(60)
    assert [] == failures


def check_whole(server: Server, claim: Device, devices: list[Fresh]) -> None:
    """No certificate is ACTIVE without its policy and thing, no thing is without its certificate."""
    iot = server.client()
    active = set()
    for listed in iot.list_certificates(pageSize=250)["certificates"]:
        if listed["certificateId"] == claim.certificate_id:
            continue
        things = iot.list_principal_things(principal=listed["certificateArn"])["things"]
        policies = iot.list_attached_policies(target=listed["certificateArn"])["policies"]
        whole = listed["status"] == "ACTIVE"
        assert (whole, whole) == (len(things) == 1, len(policies) == 1), listed
        if whole:
            active.add(listed["certificateId"])
    assert {device.made["certificateId"] for device in devices if device.told} <= active
    things = iot.list_things(maxResults=250)["things"]
    assert len(active) == len(things)
    assert all(thing["attributes"] == {"serial": thing["thingName"].removeprefix("made-")} for thing in things)


def test_a_burst_that_is_killed_leaves_whole_devices_and_goes_on(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = start(tmp_path / "data")
    try:
        make_template(server, TEMPLATE)
        claim = create_device(server, tmp_path, document=claim_policy(TEMPLATE))
        request, key = csr()
        devices = [Fresh(f"{number:03d}") for number in range(DEVICES)]
        for _ in range(KILLS):
            burst(server, claim, [each for each in devices if not each.told], request, chance.randint(1, 10))
            server = start(tmp_path / "data")
            check_whole(server, claim, devices)
        burst(server, claim, [each for each in devices if not each.told], request, None)
        check_whole(server, claim, devices)
        assert all(device.told for device in devices)
        for device in devices[:: DEVICES // 4]:
            name = f"made-{device.serial}"
            kit = Device(
                name=name,
                certificate_id=device.made["certificateId"],
                arn="",
                certificate=write(tmp_path / f"{name}.pem", device.made["certificatePem"]),
                key=write(tmp_path / f"{name}.key", key),
                root=claim.root,
            )
            requester = Requester(server, kit, name)
            assert 0 == requester.connack
            requester.close()
    finally:
        server.kill()
