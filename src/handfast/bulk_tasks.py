"""Bulk registration tasks with the adapters that they need: a composition root of its own, for the server."""

from __future__ import annotations

from pathlib import Path

from handfast.bulk_inputs.configured import ConfiguredInputs
from handfast.config.file_tables import read_bulk_inputs
from handfast.core.identity.ids import AccountId
from handfast.ports import Clock, Entropy, Store
from handfast.services.registration_reports import ReportFiles, ReportLinks
from handfast.services.registration_tasks import RegistrationTasks
from handfast.services.registry import Registry


class BulkTasks:
    """The tasks, and the links to their reports."""

    def __init__(
        self,
        file: Path | None,
        data_dir: Path,
        store: Store,
        registry: Registry,
        clock: Clock,
        entropy: Entropy,
        *,
        first_account: AccountId,
    ) -> None:
        """
        Nothing runs yet: `tasks.resume` begins.

        Args:
            file: The handfast.toml whose `[bulk-input.NAME]` tables are the buckets.

        Raises:
            ConfigurationError: One of them cannot be used.
        """
        buckets = read_bulk_inputs(file) if file is not None else {}
        files = ReportFiles(data_dir)
        self.links = ReportLinks(files, clock, entropy)
        inputs = ConfiguredInputs(buckets, first_account)
        self.tasks = RegistrationTasks(
            store,
            registry.thing_registration,
            registry.template_gate,
            registry.commit,
            entropy,
            clock,
            inputs,
            files,
            self.links,
        )
