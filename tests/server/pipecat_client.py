"""Pipecat's OpenAI Realtime service, as it is, in one pipeline: a typed request in, sound and words out.

Run by test_realtime_pipecat.py with the Python that has pipecat-ai: PORT REQUEST. Prints one JSON object.
"""

from __future__ import annotations

import asyncio

from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    LLMFullResponseEndFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor


class Ear(FrameProcessor):
    """Remembers what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.sound = b""
        self.words = ""
        self.errors: list[str] = []
        self.is_done = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.sound += frame.audio
        elif isinstance(frame, TTSTextFrame):
            self.words += frame.text
        elif isinstance(frame, ErrorFrame):
            self.errors.append(str(frame.error))
        elif isinstance(frame, LLMFullResponseEndFrame) and self.sound:
            self.is_done.set()
        await self.push_frame(frame, direction)
