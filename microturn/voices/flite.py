"""flite through ctypes, from the shared libraries of Debian's ``libflite1``: three speakers.

Word times are read from the utterance that flite built (Black and Lenzo 2001): the end of the segment before a
word's first and of its last.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from microturn.errors import VoiceError
from microturn.voices.wordtimes import RawSpeech, Token, hidden, written

SPEAKERS = ("slt", "rms", "awb")
"""Speakers used here. flite's ``kal`` is left out: festival's ``kal_diphone``, the same man, is held out."""

_NO_PITCH_MODEL = frozenset({"rms"})
"""Speakers whose fundamental frequency flite cannot shift: theirs is changed by reading the samples faster."""

_FIRST_SEGMENT_START = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"
_LAST_SEGMENT_END = b"R:SylStructure.daughtern.daughtern.R:Segment.end"

_SEED = 1

_LIBRARY_LOCK = threading.Lock()


class _Wave(ctypes.Structure):
    """``cst_wave`` of cst_wave.h."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _Voice(ctypes.Structure):
    """The head of ``cst_voice`` of cst_voice.h."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "flite_synth_text": (ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_void_p)),
    "utt_wave": (ctypes.POINTER(_Wave), (ctypes.c_void_p,)),
    "utt_relation": (ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p)),
    "relation_head": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "item_next": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "item_daughter": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "ffeature_float": (ctypes.c_float, (ctypes.c_void_p, ctypes.c_char_p)),
    "flite_feat_set_float": (None, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float)),
    "srand": (None, (ctypes.c_uint,)),
    "delete_utterance": (None, (ctypes.c_void_p,)),
}


@cache
def _library() -> ctypes.CDLL | None:
    """libflite with the signatures used here, or ``None`` when it is not installed."""
    try:
        library = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL("libflite_cmulex.so.1", mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL("libflite_usenglish.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(arguments)
    library.flite_init()
    return library


@cache
def _voice(speaker: str) -> int | None:
    """Address of flite's voice, or ``None`` when it is not installed."""
    if _library() is None:
        return None
    try:
        library = ctypes.CDLL(f"libflite_cmu_us_{speaker}.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None
    register = getattr(library, f"register_cmu_us_{speaker}")
    register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    address: int | None = register(None)
    return address


def installed() -> tuple[str, ...]:
    """The speakers of ``SPEAKERS`` that this machine has; none if flite is hidden."""
    return () if hidden("flite") else tuple(speaker for speaker in SPEAKERS if _voice(speaker) is not None)


def speak(speaker: str, spoken: Sequence[Token], rate: float, pitch: float) -> RawSpeech:
    """Say ``spoken``; ``rate`` multiplies the speed, ``pitch`` the fundamental frequency.

    Raises ``VoiceError`` when flite or the speaker is not installed.
    """
    library, voice = _library(), _voice(speaker)
    if speaker not in installed() or library is None or voice is None:
        raise VoiceError(f"flite's voice {speaker!r} is not installed: run `make voices`")
    speed_up = pitch if speaker in _NO_PITCH_MODEL else 1.0
    features = ctypes.cast(voice, ctypes.POINTER(_Voice)).contents.features
    with _LIBRARY_LOCK:
        library.flite_feat_set_float(features, b"duration_stretch", speed_up / rate)
        library.flite_feat_set_float(features, b"f0_shift", pitch / speed_up)
        # flite's noise comes from the C library's random numbers: seeded, the same words sound the same.
        library.srand(_SEED)
        # flite's lexicon has "ay" as the sound of the letter a.
        utterance = library.flite_synth_text(" ".join(written(spoken, "ay")).encode(), voice)
        if not utterance:
            raise VoiceError(f"flite's voice {speaker!r} gave no sound")
        try:
            wave = library.utt_wave(utterance).contents
            samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).astype(np.float32)
            rate_hz = wave.sample_rate
            spans = _spans(library, utterance)
        finally:
            library.delete_utterance(utterance)
    return RawSpeech(
        samples, rate_hz * speed_up, tuple((start_s / speed_up, end_s / speed_up) for start_s, end_s in spans)
    )


def _spans(library: ctypes.CDLL, utterance: int) -> list[tuple[float, float]]:
    """(start, end) in seconds of every token that flite read, in order."""
    spans = []
    token = library.relation_head(library.utt_relation(utterance, b"Token"))
    while token:
        word = library.item_daughter(token)
        if word:
            start_s = library.ffeature_float(word, _FIRST_SEGMENT_START)
            end_s = start_s
            while word:
                end_s = library.ffeature_float(word, _LAST_SEGMENT_END)
                word = library.item_next(word)
            spans.append((start_s, end_s))
        token = library.item_next(token)
    return spans
