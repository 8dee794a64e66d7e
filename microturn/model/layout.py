"""The grammar of a turn: which tokens it has, in which order, at which slots.

    in    END        the previous turn's <listen> or <speak> (or the start of the session)
          OWN        the model's own sound of the previous turn, if it spoke
          TEXT_IN *  typed text, instructions
          PATCH *    the picture of this turn, if there is one
          AUDIO x4   50 ms each, or one GAP if nothing arrived
    out   HEAR *     0..4
          SAY *      0..4
          ACT        0..1
          then <listen> or <speak>, which the next turn takes in as END

The first output token is predicted at the last input token (always the newest sound), each further one at the token
before it; <listen>/<speak> ends the turn without a forward pass of its own. Slots are fixed by kind, so that the
second rotary axis always sees the same kind at the same place.
"""

from __future__ import annotations

from enum import IntEnum

from microturn.turn import MAX_HEAR_TOKENS, MAX_SAY_TOKENS

AUDIO_TOKENS = 4
"""Audio tokens of one turn, 50 ms each."""


class Kind(IntEnum):
    """What a token of the sequence is."""

    END = 0
    OWN = 1
    TEXT_IN = 2
    PATCH = 3
    AUDIO = 4
    GAP = 5
    HEAR = 6
    SAY = 7
    ACT = 8


NUM_KINDS = len(Kind)
TEXT_KINDS = frozenset({Kind.TEXT_IN, Kind.HEAR, Kind.SAY, Kind.ACT})
"""Kinds with long memory; the others are media and leave with the window."""

SLOT_END = 0
SLOT_OWN = 1
SLOT_AUDIO = 2
SLOT_HEAR = SLOT_AUDIO + AUDIO_TOKENS
SLOT_SAY = SLOT_HEAR + MAX_HEAR_TOKENS
SLOT_ACT = SLOT_SAY + MAX_SAY_TOKENS
SLOT_PATCH = SLOT_ACT + 2
SLOT_TEXT_IN = 64
NUM_TEXT_IN_SLOTS = 64
"""Slots of text that comes in; a longer text wraps around."""

END_LISTEN, END_SPEAK, END_START = 0, 1, 2
"""What an END token can carry."""
NUM_ENDS = 3

MAX_REPLY = 15
"""Tokens of a reply are counted up to here."""
MAX_AGE = 8
"""Turns of a word that is being said are counted up to here."""
