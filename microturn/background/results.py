"""What a job brings: text to be said, timers, and cards to be looked at. All of it is data: nobody runs or obeys it.

A job's text never becomes an instruction to the server. Markup stays a string; whoever shows a card does so where it
has no network and cannot reach the page.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

MIN_EVERY_MS = 5_000
"""What is repeated is said no more often."""


class Piece(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True, omit_defaults=True):
    """A part of a result; the tag says which."""


class Spoken(Piece, frozen=True, tag="spoken"):
    """Text to be said, in words: a sentence or so."""

    text: str


class Question(Piece, frozen=True, tag="question"):
    """Text to be said; the job waits for what the user says to it."""

    text: str


class Timer(Piece, frozen=True, tag="timer"):
    """Text to be said at ``due_ms`` of the session's clock, and then every ``every_ms`` if that is set; the session's
    job is not over before that."""

    label: str
    due_ms: int
    text: str
    every_ms: Annotated[int, Meta(ge=MIN_EVERY_MS)] | None = None


class TimerCancelled(Piece, frozen=True, tag="timer-cancelled"):
    """A timer of this job or of an earlier one is not wanted any more."""

    label: str
    due_ms: int


class Markdown(Piece, frozen=True, tag="markdown"):
    title: str
    text: str


class Table(Piece, frozen=True, tag="table"):
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Chart(Piece, frozen=True, tag="vega-lite"):
    title: str
    spec: dict[str, Any]
    """A Vega-Lite specification."""


class Html(Piece, frozen=True, tag="html"):
    title: str
    fragment: str


Card = Markdown | Table | Chart | Html
Result = Spoken | Question | Timer | TimerCancelled | Card
