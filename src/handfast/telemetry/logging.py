"""
Structured logging: text on a terminal, one JSON object per line otherwise.

Every event, also those of libraries that use the standard `logging`, passes
through `redact.safe`: no secret and no control character of a peer's reaches
the stream.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

from handfast.telemetry.redact import safe

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_TRACEBACK_KEYS = frozenset({"exception", "stack"})
_OWN_KEYS = frozenset({"timestamp", "level", "logger"})


def configure_logging(
    *,
    log_format: Literal["text", "json"] | None = None,
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """
    Every later log event goes to `stream` (standard error by default) in that form.

    Args:
        log_format: None chooses text on a terminal and json otherwise.
        level: debug, info, warning or error.
        stream: Where to write; flushed after each event.

    May be called again; the last call holds for the whole process.
    """
    stream = stream or sys.stderr
    if log_format is None:
        log_format = "text" if stream.isatty() else "json"
    threshold = LEVELS[level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact_event]
    if log_format == "json":
        last.append(structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=True))
    else:
        last.append(render_text)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    # Chatty at info, and it says nothing that our own events do not; SQL statements carry values.
    for name in ("botocore", "asyncio", "alembic", "sqlalchemy", "uvicorn.access"):
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    # A failing stream must not bring the server down, and its complaint must not carry the event past redaction.
    logging.raiseExceptions = False


def redact_event(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor: each value of the event as `safe` lets it through."""
    for key in list(event):
        if key in _OWN_KEYS:
            continue
        clean = safe(key, event[key], multiline=key in _TRACEBACK_KEYS)
        plain = safe("", key)
        if plain != key:
            del event[key]
        event[plain] = clean
    return event


def render_text(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """One line per event, `time level event key=value …`; tracebacks follow on their own lines."""
    head = f"{event.pop('timestamp', '')} {event.pop('level', ''):<7} {event.pop('event', '')}"
    event.pop("logger", None)
    tail = "".join(f"\n{event.pop(key)}" for key in sorted(_TRACEBACK_KEYS & set(event)))
    return head + "".join(f" {key}={_value(value)}" for key, value in event.items()) + tail


def _value(value: Any) -> str:
    text = str(value)
    return text if text and " " not in text and '"' not in text else '"' + text.replace('"', '\\"') + '"'
