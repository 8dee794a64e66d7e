"""Transcripts of recordings that have none, by Moonshine (Jeffries et al. 2024, MIT): a recogniser that comes in a
Python package, with its smallest English weights (``pip install microturn[voices]``).

It knows English far better than three hours of people can teach, so recordings without words teach hearing as well.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices.wordtimes import hidden

if TYPE_CHECKING:
    from moonshine_voice.transcriber import Transcriber

SPEAKERS = ("tiny-en",)
"""Weights in the package."""
BEFORE_SPEECH = "you"
"""What it now and then writes for a breath before the first word."""


def installed() -> tuple[str, ...]:
    """``SPEAKERS`` if the package is here and not hidden."""
    return () if hidden("moonshine") or find_spec("moonshine_voice") is None else SPEAKERS


def transcript(pcm: Pcm) -> str:
    """What is said in (samples,), with case and punctuation; it may be nothing."""
    lines = _transcriber().transcribe_without_streaming(pcm.tolist(), SAMPLE_RATE_HZ).lines
    text = " ".join(line.text.strip() for line in lines)
    return re.sub(f"^{BEFORE_SPEECH}[.,]? (?=\\w)", "", text.replace("-", " "), flags=re.IGNORECASE)


@cache
def _transcriber() -> Transcriber:
    from moonshine_voice.moonshine_api import ModelArch
    from moonshine_voice.transcriber import Transcriber
    from moonshine_voice.utils import get_model_path

    return Transcriber(get_model_path(SPEAKERS[0]), ModelArch.TINY)
