"""Pipecat's OpenAI Realtime service, as it is, in a pipeline: a typed request in, sound and words out.

Run by test_realtime_pipecat.py with the Python that has pipecat-ai: PORT REQUEST. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys

from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    LLMRunFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

SILENCE = InputAudioRawFrame(audio=bytes(2 * 480), sample_rate=24_000, num_channels=1)
"""20 ms."""


class Ear(FrameProcessor):  # type: ignore[misc]
    """Remembers what comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.sound = b""
        self.words = ""
        self.is_done = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            self.sound += frame.audio
        elif isinstance(frame, TTSTextFrame):
            self.words += frame.text
        elif isinstance(frame, TTSStoppedFrame):
            self.is_done.set()
        await self.push_frame(frame, direction)


async def talk(port: str, request: str) -> dict[str, object]:
    errors: list[str] = []
    service = OpenAIRealtimeLLMService(
        api_key="none",
        base_url=f"ws://127.0.0.1:{port}/v1/realtime",
        settings=OpenAIRealtimeLLMService.Settings(model="small", system_instruction="be brief"),
    )
    ear = Ear()
    context = LLMContext([{"role": "user", "content": request}])
    user, assistant = LLMContextAggregatorPair(context)
    worker = PipelineWorker(Pipeline([user, service, ear, assistant]))

    @worker.event_handler("on_pipeline_error")  # type: ignore[untyped-decorator]
    async def failed(worker: PipelineWorker, frame: ErrorFrame) -> None:
        errors.append(str(frame.error))
        ear.is_done.set()

    async def drive() -> None:
        await worker.queue_frame(LLMRunFrame())
        while not ear.is_done.is_set():
            await worker.queue_frame(SILENCE)
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.5)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    async with asyncio.timeout(60):
        await asyncio.gather(runner.run(), drive())
    said = [str(one["content"]) for one in context.get_messages() if one["role"] == "assistant"]
    return {"words": ear.words, "sound_bytes": len(ear.sound), "errors": errors, "context": said}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(talk(sys.argv[1], sys.argv[2]))))
