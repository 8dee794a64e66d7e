"""Logs: one JSON object a line on stderr. What users say, write or show is not in them."""

from __future__ import annotations

import logging
import sys
import time

import msgspec

log = logging.getLogger("microturn.server")


class JsonFormatter(logging.Formatter):
    """Time, level, event or message, and whatever fields the event has."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def log_event(name: str, level: int = logging.INFO, **fields: str | int | float) -> None:
    """Log that something happened."""
    log.log(level, name, extra={"fields": fields})


def log_to_stderr() -> None:
    """Send what the program and its server log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("microturn").setLevel(logging.INFO)
    # Uvicorn says so after every WebSocket that was refused, as it should be.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "without completing handshake" not in record.msg)
