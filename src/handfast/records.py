"""What a server keeps beside the registry, opened: sessions, refusals, observations, decisions, sightings."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from handfast.checking import Checking
from handfast.config.settings import Settings
from handfast.decision_record import DecisionRecord
from handfast.ports import Clock, Entropy, Meter
from handfast.refusal_reports import RefusalReports
from handfast.services.recording import Recorder
from handfast.services.refusals import RefusalLog
from handfast.sighting_record import SightingRecord
from handfast.storage.refusals import SQLiteRefusals
from handfast.storage.sessions import SQLiteSessions
from handfast.storage.sql import SQLStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Each in a file of its own in the data directory: what connections write waits for no commit of another."""

    sessions: SQLiteSessions
    refusals: RefusalLog
    recorder: Recorder
    checking: Checking
    decisions: DecisionRecord
    sightings: SightingRecord

    @classmethod
    def open(
        cls, settings: Settings, store: SQLStore, clock: Clock, entropy: Entropy, meter: Meter, stack: AsyncExitStack
    ) -> Records:
        """All of them can be written to until the stack is left."""
        data_dir = settings.data_dir
        sessions = SQLiteSessions(data_dir / "sessions.db")
        stack.push_async_callback(sessions.close)
        archive = SQLiteRefusals(data_dir / "refusals.db")
        stack.callback(archive.close)
        reports = RefusalReports(clock, meter)
        refusals = RefusalLog(clock, entropy, archive=archive, on_record=reports.recorded, on_drop=reports.dropped)
        stack.callback(refusals.tell_suppressed)
        checking = Checking.open(store, data_dir, clock, entropy)
        stack.push_async_callback(checking.close)
        decisions = DecisionRecord(data_dir, clock, on=settings.decisions == "on")
        stack.push_async_callback(decisions.close)
        sightings = SightingRecord(data_dir, clock)
        stack.push_async_callback(sightings.close)
        return cls(
            sessions=sessions,
            refusals=refusals,
            recorder=Recorder(refusals, clock),
            checking=checking,
            decisions=decisions,
            sightings=sightings,
        )
