"""espeak-ng through ctypes, from the library and data in the wheel ``espeakng_loader``.

espeak-ng keeps hidden state between calls (a flutter table's position, random numbers), so that the same words sound
different each time. Here every call loads the library anew and unloads it after: that costs 0.3 ms, makes the sound a
function of the arguments alone, and leaves nothing behind that a fork could copy in a bad state. The library leaks
about 3 kB each time, so a process that makes millions of utterances should be renewed now and then.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from microturn.errors import VoiceError
from microturn.voices.wordtimes import RawSpeech, Token, written

ACCENTS = (
    "en-us",
    "en",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
)
"""English accents of espeak-ng; ``en`` is British."""

_OUTPUT_SYNCHRONOUS = 2
_PHONEME_EVENTS = 1
_DO_NOT_EXIT = 0x8000
_UTF8_AND_PHONEMES = 0x101
_PARAMETER_RATE = 1
_PARAMETER_PITCH = 3
_EVENT_END_OF_LIST = 0
_EVENT_WORD = 1
_EVENT_PHONEME = 7
_WORDS_PER_MINUTE = 165
"""Speed at rate 1."""
_SEED = 1

_LIBRARY_LOCK = threading.Lock()
"""Who loads the library while another unloads it crashes."""


class _Event(ctypes.Structure):
    """``espeak_EVENT`` of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@cache
def variants() -> frozenset[str]:
    """Names of the speakers ("variants") that the wheel brings."""
    return frozenset(path.name for path in (Path(espeakng_loader.get_data_path()) / "voices" / "!v").iterdir())


@dataclass(frozen=True)
class _Heard:
    """What one call of the library gave: samples at ``rate_hz``, words by their place in the text and phonemes, each
    with the sample at which it starts."""

    samples: NDArray[np.float32]
    rate_hz: int
    words: list[tuple[int, int]]
    phonemes: list[tuple[str, int]]


def speak(accent: str, variant: str, spoken: Sequence[Token], rate: float, pitch: float) -> RawSpeech:
    """Say ``spoken`` as ``accent`` and ``variant`` (``""`` is the accent's own speaker).

    ``rate`` multiplies the speed, ``pitch`` the fundamental frequency (within 0.5 to 2). Raises ``VoiceError`` for an
    unknown accent or variant.
    """
    # espeak-ng itself says nothing about an unknown variant and takes the accent's own speaker.
    if variant and variant not in variants():
        raise VoiceError(f"espeak-ng has no speaker {variant!r}")
    text, places = _markup(spoken)
    heard = _call(f"{accent}+{variant}" if variant else accent, text, rate, pitch)
    starts: dict[int, float] = {}
    for position, sample in heard.words:
        token = max(0, int(np.searchsorted(places, position, side="right")) - 1)
        starts.setdefault(token, sample / heard.rate_hz)
    spans = _spans(spoken, starts, len(heard.samples) / heard.rate_hz)
    return RawSpeech(heard.samples, heard.rate_hz, spans)


def phonemes(spoken: Sequence[Token]) -> tuple[tuple[str, float], ...]:
    """espeak-ng's phonemes of ``spoken`` in American English, each with its start in seconds; pauses start with an
    underscore, and the last one is always a pause."""
    heard = _call("en-us", _markup(spoken)[0], 1.0, 1.0)
    return tuple((name, sample / heard.rate_hz) for name, sample in heard.phonemes)


@contextmanager
def library(output: int, options: int = 0) -> Iterator[tuple[ctypes.CDLL, int]]:
    """The library, loaded for one user at a time and unloaded after, and the rate of its samples in Hz."""
    with _LIBRARY_LOCK:
        loaded = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            data = espeakng_loader.get_data_path().encode()
            rate_hz = loaded.espeak_Initialize(output, 0, data, options | _DO_NOT_EXIT)
            if rate_hz <= 0:
                raise VoiceError(f"espeak-ng cannot read its data in {data.decode()}")
            yield loaded, int(rate_hz)
        finally:
            loaded.espeak_Terminate()
            ctypes.CDLL(None).dlclose(ctypes.c_void_p(loaded._handle))


def _call(name: str, text: str, rate: float, pitch: float) -> _Heard:
    # The pitch parameter is logarithmic: 50 is the voice's own, 0 an octave below, 100 an octave above.
    pitch_parameter = round(min(100.0, max(0.0, 50 + 50 * math.log2(pitch))))
    chunks: list[NDArray[np.int16]] = [np.zeros(0, np.int16)]
    words: list[tuple[int, int]] = []
    names: list[tuple[str, int]] = []

    def receive(samples: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if samples and count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END_OF_LIST:
            event = events[index]
            if event.type == _EVENT_WORD:
                words.append((event.text_position - 1, event.sample))
            elif event.type == _EVENT_PHONEME:
                names.append((event.id.decode(), event.sample))
            index += 1
        return 0

    callback = _Callback(receive)
    with library(_OUTPUT_SYNCHRONOUS, _PHONEME_EVENTS) as (loaded, rate_hz):
        loaded.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
        loaded.espeak_SetSynthCallback(callback)
        if loaded.espeak_SetVoiceByName(name.encode()) != 0:
            raise VoiceError(f"espeak-ng has no voice {name!r}")
        loaded.espeak_SetParameter(_PARAMETER_RATE, round(_WORDS_PER_MINUTE * rate), 0)
        loaded.espeak_SetParameter(_PARAMETER_PITCH, pitch_parameter, 0)
        encoded = text.encode() + b"\0"
        loaded.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, _UTF8_AND_PHONEMES, None, None)
    return _Heard(np.concatenate(chunks).astype(np.float32), rate_hz, words, names)


def _markup(spoken: Sequence[Token]) -> tuple[str, list[int]]:
    """The text for espeak-ng and the place of each token's first character in it."""
    parts = written(spoken, "[['eI]]")
    places = np.cumsum([0] + [len(part) + 1 for part in parts[:-1]])
    return " ".join(parts).rstrip(","), places.tolist()


def _spans(spoken: Sequence[Token], starts: dict[int, float], length_s: float) -> tuple[tuple[float, float], ...]:
    """One (start, end) in seconds per token, each ending where the next begins.

    espeak-ng says some pairs ("of the") as one word: those share its time in proportion to their letters.
    """
    known = sorted({0, *starts})
    spans: list[tuple[float, float]] = []
    for place, index in enumerate(known):
        following = known[place + 1] if place + 1 < len(known) else len(spoken)
        start_s = starts.get(index, 0.0)
        end_s = starts.get(following, length_s)
        letters = np.cumsum([0] + [len(token.word) for token in spoken[index:following]])
        cuts = start_s + (end_s - start_s) * letters / letters[-1]
        spans.extend((float(cuts[k]), float(cuts[k + 1])) for k in range(following - index))
    return tuple(spans)
