"""festival in one persistent process: the engine that is never trained on.

Word times are printed by Scheme from the utterance (start of a word's first segment, end of its last). Only held-out
sets speak through it, so its speed (some tens of times real time) matters little.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import wave
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from microturn.errors import VoiceError
from microturn.voices.wordtimes import RawSpeech, Token, hidden, written

SPEAKERS = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")
"""Speakers used here: two diphone voices and one statistical voice."""

_VOICE_FOLDERS = (Path("/usr/share/festival/voices"), Path("/usr/local/share/festival/voices"))
_DONE = "microturn-done"
_LETTER_A = "microturnlettera"

# The process prints one line "start end" per token, in seconds. A token is several words when it is "it's" or has a
# comma; those that make no sound of their own have the times 0.
_PROGRAM = """
(define (microturn_times item)
  (let ((start nil) (end 0))
    (mapcar
      (lambda (word)
        (if (> (item.feat word "word_end") end)
          (begin
            (if (null start) (set! start (item.feat word "word_start")))
            (set! end (item.feat word "word_end")))))
      (item.daughters item))
    (if start (format t "%f %f\\n" start end))))
(define (microturn_say txt stretch speed path)
  (Parameter.set 'Duration_Stretch stretch)
  (if (boundp 'hts_engine_params)
    (set! hts_engine_params (cons (list "-r" speed)
      (apply append (mapcar (lambda (p) (if (string-equal (car p) "-r") nil (list p))) hts_engine_params)))))
  (let ((utterance (utt.synth (eval (list 'Utterance 'Text txt)))))
    (utt.save.wave utterance path 'riff)
    (mapcar microturn_times (utt.relation.items utterance 'Token))
    (format t "microturn-done\\n")
    (fflush nil)))
"""


def installed() -> tuple[str, ...]:
    """The speakers of ``SPEAKERS`` that this machine has; none if festival is hidden."""
    return () if hidden("festival") else _on_this_machine()


@cache
def _on_this_machine() -> tuple[str, ...]:
    if shutil.which("festival") is None:
        return ()
    found = {path.name for folder in _VOICE_FOLDERS for path in folder.glob("*/*")}
    return tuple(speaker for speaker in SPEAKERS if speaker in found)


class _Festival:
    """One running ``festival --pipe``, which loads a speaker when it is first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: set[str] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="microturn-festival-")
        self._process = subprocess.Popen(
            ["festival", "--pipe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        # Also runs at the interpreter's end.
        weakref.finalize(self, _end, self._process, self._folder)
        self._write(_PROGRAM)

    def _write(self, scheme: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(scheme)
            self._process.stdin.flush()
        except OSError as error:
            raise VoiceError(f"festival has ended ({error.strerror})") from error

    def say(self, speaker: str, text: str, rate: float) -> RawSpeech:
        """Speak ``text``. Raises ``VoiceError`` if festival ends."""
        path = Path(self._folder.name) / "speech.wav"
        spans = []
        with self._lock:
            if speaker not in self._loaded:
                self._write(f'(voice_{speaker})\n(lex.add.entry \'("{_LETTER_A}" nn (((ey) 1))))\n')
                self._loaded.add(speaker)
            self._write(f'(voice_{speaker})\n(microturn_say "{text}" {1 / rate:.4f} {rate:.4f} "{path}")\n')
            assert self._process.stdout is not None
            while (line := self._process.stdout.readline()).strip() != _DONE:
                if not line:
                    raise VoiceError(f"festival ended while saying {text!r}")
                start_s, end_s = line.split()
                spans.append((float(start_s), float(end_s)))
            with wave.open(str(path)) as sound:
                rate_hz = sound.getframerate()
                samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16).astype(np.float32)
        return RawSpeech(samples, rate_hz, tuple(spans))


def _end(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    """Close festival's input, which ends it, and remove its folder."""
    process.communicate()
    folder.cleanup()


@cache
def _festival(process_id: int) -> _Festival:
    """The running festival of this process: a forked child must not share its parent's pipe."""
    return _Festival()


def speak(speaker: str, spoken: Sequence[Token], rate: float, pitch: float) -> RawSpeech:
    """Say ``spoken``; ``rate`` multiplies the speed, ``pitch`` the fundamental frequency.

    The pitch is changed by reading the samples faster, which moves the formants as a smaller head would. Raises
    ``VoiceError`` when festival or the speaker is not installed.
    """
    if speaker not in installed():
        raise VoiceError(f"festival's voice {speaker!r} is not installed: run `make voices`")
    raw = _festival(os.getpid()).say(speaker, " ".join(written(spoken, _LETTER_A)), rate / pitch)
    spans = tuple((start_s / pitch, end_s / pitch) for start_s, end_s in raw.spans)
    return RawSpeech(raw.samples, raw.rate_hz * pitch, spans)
