"""Shared by every test: the root of the repository is importable, as `tests.support`, and so is `src`."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
for folder in (str(ROOT), str(ROOT / "src")):
    if folder not in sys.path:
        sys.path.insert(0, folder)


# The same examples in each run, and no example fails for the time that it took: what fails can be seen to fail again,
# however busy the machine is. HANDFAST_PROPERTIES=random looks for new ones.
UNHURRIED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("steady", derandomize=True, database=None, **UNHURRIED)  # type: ignore[arg-type]
settings.register_profile("random", **UNHURRIED)  # type: ignore[arg-type]
settings.load_profile("random" if os.environ.get("HANDFAST_PROPERTIES") == "random" else "steady")

# The machine's own authorities play no part in a test; openssl takes a tenth of a second to read them at each call.
os.environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}

from tests.support import server  # noqa: E402 -- only now can it be found


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own AWS and handfast settings play no part in a test."""
    for name in os.environ:
        if name.startswith(("AWS_", "HANDFAST_")) and name != "HANDFAST_TLS_ENGINE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that ran in this process, or a test, may have told structlog and the root logger where to write."""
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    yield
    if structlog.is_configured():
        root.handlers[:], root.level, logging.raiseExceptions = handlers, level, raising
        structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Ctrl-C reaches what the tests start, also when a shell without job control runs them in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def shared_between_workers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What takes long to make is made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    server.shared_folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A failure is told when it happens too: a run that is stopped never comes to its summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\n{report.when} of {report.nodeid} failed:\n{report.longreprtext[-8000:]}", flush=True)
