"""What was heard and said, as lines for a person: one line for what belongs together, in the order of the clock."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.session.outputs import TurnRecord
from microturn.session.timeline import printable
from microturn.turn import TURN_MS

PAUSE_TURNS = 4
"""Words of one voice that are this many turns apart stand on two lines."""
COLUMN_WIDTH = 38


@dataclass(frozen=True)
class Line:
    """A line of the transcript and the turn at which it begins."""

    turn: int
    text: str


@dataclass
class _Phrase:
    """What one voice has been uttering; nothing if ``text`` is empty."""

    start_turn: int = 0
    last_turn: int = 0
    text: str = ""


class Transcript:
    """Gathers turns and gives lines of the columns time, heard, said.

    A phrase is over after a pause, or when its line is full; what is heard is also broken off where the model begins
    to speak, so that a remark in the middle of a sentence stands in its middle. ``heading`` names the columns.
    """

    heading = f"{'time':>8}  {'heard':<{COLUMN_WIDTH}}  said"

    def __init__(self) -> None:
        self._heard = _Phrase()
        self._said = _Phrase()

    def add(self, record: TurnRecord) -> list[Line]:
        """The lines that are complete after this turn, in the order in which they ended."""
        lines: list[Line] = []
        if record.turn - self._said.last_turn >= PAUSE_TURNS:
            lines += self._end_said()
        begins = bool(record.say) and not self._said.text
        if record.turn - self._heard.last_turn >= PAUSE_TURNS or _overflows(self._heard, record.hear):
            lines += self._end_heard()
        _extend(self._heard, record.turn, record.hear)
        if begins:
            lines += self._end_heard()
        if _overflows(self._said, record.say):
            lines += self._end_said()
        _extend(self._said, record.turn, record.say)
        if record.act is not None:
            lines.append(_line(record.turn + 1, "", f"({record.act})"))
        return lines

    def rest(self) -> list[Line]:
        """The lines that are still open at the end."""
        return self._end_heard() + self._end_said()

    def _end_heard(self) -> list[Line]:
        phrase, self._heard = self._heard, _Phrase()
        return [_line(phrase.start_turn, phrase.text, "")] if phrase.text else []

    def _end_said(self) -> list[Line]:
        phrase, self._said = self._said, _Phrase()
        # What goes out in a turn is heard one turn later.
        return [_line(phrase.start_turn + 1, "", phrase.text)] if phrase.text else []


def _overflows(phrase: _Phrase, text: str) -> bool:
    """Whether ``text`` begins a new line: a word that is still going on is never broken."""
    return text.startswith(" ") and len(phrase.text + text) > COLUMN_WIDTH


def _extend(phrase: _Phrase, turn: int, text: str) -> None:
    if text:
        phrase.start_turn = phrase.start_turn if phrase.text else turn
        phrase.last_turn = turn
        phrase.text += text


def _line(turn: int, heard: str, said: str) -> Line:
    heard, said = (" ".join(printable(text).split()) for text in (heard, said))
    return Line(turn, f"{turn * TURN_MS / 1000:7.1f}s  {heard:<{COLUMN_WIDTH}}  {said}".rstrip())
