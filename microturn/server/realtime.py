"""The realtime protocol (docs/protocol.md) as a state machine: a projection of the same session.

That protocol has turns: the user says something, and a response is made. Ours has none: the model hears and speaks on
one clock and decides itself. So what it hears is cut into items of the user, and what it says into responses: a
response begins when the model begins to speak and ends when it yields.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from microturn.background.job import State
from microturn.engine.slots import Turn
from microturn.errors import InputError
from microturn.media.wire import SoundDecoder
from microturn.server import limits, wire
from microturn.server import realtime_wire as rt
from microturn.server.conversation import Asked, Conversation, Spoken, Utterance, image_of, text_of
from microturn.server.delegation import Delegated
from microturn.server.dialect import NORMAL, POLICY, RESTART, TRY_LATER, VOICE, Dialect, Host, Service
from microturn.server.realtime_calls import Function, called, function_of
from microturn.server.wire import AudioFormat, EventError
from microturn.turn import TURN_MS, TURN_SAMPLES, Pcm, TextSource, TurnOutput

QUIET_TURNS = 800 // TURN_MS
"""So long without a word, and what the user said is an item."""
LATE_TURNS = 400 // TURN_MS
"""A word is written at most so long after its end: until then it belongs to what was said before."""
WORD_MS = 300
"""About how long a word is."""
ANSWER_TURNS = 5_000 // TURN_MS
"""A response that was asked for and does not begin by then stays empty."""
DEFAULT_FORMAT = AudioFormat("audio/pcm", 24000)


class Realtime(Dialect[rt.ClientEvent]):
    """The protocol of one connection."""

    def __init__(self, service: Service, host: Host, model: str = "default") -> None:
        super().__init__(service, host)
        self._model = model
        self._instructions = ""
        self._modality: rt.Modality = "audio"
        self._is_manual = False
        """Whether the client says where what the user says begins and ends."""
        self._conversation = Conversation()
        self._num_responses = 0
        self._function: Function | None = None
        """The client's, which is called with what the model delegates."""
        self._user: Utterance | None = None
        self._has_sound = False
        """Whether sound was appended since the last commit."""
        self._clip: deque[Pcm] = deque()
        """Turns of sound that came in one piece and are still to be heard."""
        self._spoken: Spoken | None = None
        """The response in progress."""
        self._asked: Asked | None = None
        self._hushed = False
        """The response was cancelled and the model still speaks."""
        self._input_format = self._output_format = DEFAULT_FORMAT
        self._listen_in(DEFAULT_FORMAT)
        self._speak_in(DEFAULT_FORMAT)

    def greet(self) -> list[wire.ToClient]:
        try:
            self._service.check_model(self._model, "model")
            self._open(seed=0)
        except EventError as error:
            return self._give_up(error, TRY_LATER if error.code == "busy" else POLICY)
        return [self._event(rt.SessionCreated, session=self._resource())]

    # From the client.

    def _decode(self, message: str | bytes) -> rt.ClientEvent:
        return rt.VOCABULARY.decode(message)

    def _accept(self, event: rt.ClientEvent) -> list[wire.ToClient]:
        match event:
            case rt.UpdateSession():
                return self._update(event.session)
            case rt.Append():
                return self._append(event.audio)
            case rt.Commit():
                return self._commit()
            case rt.Clear():
                return self._clear()
            case rt.CreateItem():
                return self._create(event)
            case rt.RetrieveItem():
                return [self._event(rt.ItemRetrieved, item=self._find(event.item_id))]
            case rt.TruncateItem():
                return self._truncate(event)
            case rt.DeleteItem():
                self._conversation.delete(event.item_id)
                return [self._event(rt.ItemDeleted, item_id=event.item_id)]
            case rt.CreateResponse():
                return self._ask(event.response or rt.ResponseConfig())
            case rt.CancelResponse():
                return self._cancel(event.response_id)

    def _update(self, config: rt.SessionConfig) -> list[wire.ToClient]:
        if config.model is not None:
            self._service.check_model(config.model, "session.model")
        function = self._function if config.tools is None else function_of(config.tools, "session.tools")
        audio = config.audio or rt.Audio()
        input_format = (audio.input or rt.AudioInput()).format or self._input_format
        output_format = (audio.output or rt.AudioOutput()).format or self._output_format
        input_format = input_format.resolved("session.audio.input.format")
        output_format = output_format.resolved("session.audio.output.format")
        if config.instructions not in (None, self._instructions):
            self._read(
                TextSource.INSTRUCTIONS, config.instructions, limits.MAX_TYPED_CHARACTERS, "session.instructions"
            )
            self._instructions = config.instructions
        if input_format != self._input_format:
            self._listen_in(input_format)
        if output_format != self._output_format:
            self._speak_in(output_format)
        self._input_format, self._output_format = input_format, output_format
        if audio.input is not None and audio.input.turn_detection is not UNSET:
            self._is_manual = not audio.input.turn_detection
        self._modality = _modality(config.output_modalities) or self._modality
        self._function = function
        self.delegation.by_client = function is not None or not self.delegation.has_agent
        return [self._event(rt.SessionUpdated, session=self._resource())]

    def _append(self, audio: bytes) -> list[wire.ToClient]:
        pcm = self._decoded(audio)
        if not self._clip:
            self._hear(pcm)
            self._has_sound = self._has_sound or len(pcm) > 0
        return []

    def _commit(self) -> list[wire.ToClient]:
        if self._user is not None and self._user.is_open:
            return self._stopped(self._user, self._until(LATE_TURNS))
        if not self._has_sound:
            raise EventError("input_audio_buffer_commit_empty", "no sound came since the last commit")
        events = self._settled()
        self._user = Utterance(self._conversation.new_id(), is_open=False, start_ms=self.num_turns * TURN_MS)
        return events + self._committed(self._user, self._until(LATE_TURNS))

    def _clear(self) -> list[wire.ToClient]:
        self._inbox.drop_sound()
        self._has_sound = False
        if self._is_manual and self._user is not None and self._user.is_open:
            self._user = None
        return [self._event(rt.Cleared)]

    def _find(self, item_id: str) -> rt.Item:
        return self._conversation.find(item_id, "item_retrieve_invalid_item_id").item

    def _settled(self) -> list[wire.ToClient]:
        """What the user said before something else is complete."""
        user = self._user
        if user is None:
            return []
        return [*(self._stopped(user, 0) if user.is_open else []), self._completed(user)]

    def _create(self, event: rt.CreateItem) -> list[wire.ToClient]:
        item = event.item
        if isinstance(item, rt.FunctionCallOutput):
            return self._returned(item, event.previous_item_id)
        if not isinstance(item, rt.Message):
            raise EventError("unsupported", "the model calls functions, clients do not", param="item.type")
        self._conversation.check(item.id, event.previous_item_id)
        texts, images, clip = [], [], np.zeros(0, np.float32)
        for place, part in enumerate(item.content):
            path = f"item.content[{place}]"
            if part.type == "input_image" and item.role == "user":
                images.append(image_of(part, path))
            elif part.type == "input_audio" and item.role == "user":
                clip = np.concatenate([clip, self._clip_of(part.audio, f"{path}.audio")])
            else:
                texts.append(text_of(part, path))
        if len(clip) and self._clip:
            raise EventError("rate_limit_exceeded", "sound that came before is still being heard", param="item")
        text = " ".join(texts)
        source = TextSource.TYPED if item.role == "user" else TextSource.INSTRUCTIONS
        text = f"you said {text}" if item.role == "assistant" else text
        for image in images:
            self._see(image, None, event.event_id)
        if texts:
            self._read(source, text, limits.MAX_TYPED_CHARACTERS, "item.content")
        message = msgspec.structs.replace(
            item,
            id=item.id or self._conversation.new_id(),
            object="realtime.item",
            status="completed",
            content=[msgspec.structs.replace(part, audio=None, image_url=None) for part in item.content],
        )
        events = self._begin_clip(clip, message) if len(clip) else []
        return events + self._added(message, event.previous_item_id)

    def _added(self, item: rt.Item, previous_item_id: str | None = None) -> list[wire.ToClient]:
        """A new item that is complete."""
        previous = self._conversation.add(item, previous_item_id)
        return [self._event(kind, item=item, previous_item_id=previous) for kind in (rt.ItemAdded, rt.ItemDone)]

    def _returned(self, item: rt.FunctionCallOutput, previous_item_id: str | None) -> list[wire.ToClient]:
        """What the client's function brought, once: it is read, unless the call was cancelled."""
        self._conversation.check(item.id, previous_item_id)
        state = self.delegation.state_of(item.call_id)
        if state is None:
            raise EventError("item_not_found", f"there is no call {item.call_id[:64]}", param="item.call_id")
        if state is State.DONE:
            raise EventError("invalid_value", "this call has its output already", param="item.call_id")
        if state is State.RUNNING:
            self._read_job(item.call_id, item.output, "item.output")
            self.delegation.finish(item.call_id)
        item_id = item.id or self._conversation.new_id()
        kept = msgspec.structs.replace(item, id=item_id, object="realtime.item", status="completed")
        return self._added(kept, previous_item_id)

    def _clip_of(self, audio: bytes | None, param: str) -> Pcm:
        """The sound of a part, in whole turns."""
        if not audio:
            raise EventError("invalid_value", "a part that is input_audio has sound", param=param)
        try:
            pcm = SoundDecoder(self._input_format.sound_format).push(audio)
        except InputError as error:
            raise EventError("invalid_value", str(error), param=param) from error
        return np.pad(pcm, (0, -len(pcm) % TURN_SAMPLES))

    def _begin_clip(self, clip: Pcm, message: rt.Message) -> list[wire.ToClient]:
        """Have sound heard in the turns to come, whose words belong to ``message``."""
        events = self._settled()
        self._clip.extend(np.split(clip, len(clip) // TURN_SAMPLES))
        assert message.id is not None
        start_ms, until_turn = self.num_turns * TURN_MS, self._until(LATE_TURNS)
        self._user = Utterance(message.id, is_open=False, until_turn=until_turn, start_ms=start_ms)
        self._feed()
        return events

    def _feed(self) -> None:
        """The next turn of a clip."""
        if self._clip:
            self._inbox.push_sound(self._clip.popleft())

    def _truncate(self, event: rt.TruncateItem) -> list[wire.ToClient]:
        spoken = self._conversation.truncate(event.item_id, event.content_index, event.audio_end_ms)
        heard_ms = spoken.start_ms + event.audio_end_ms
        if self.playback.heard_until_ms <= heard_ms <= self.playback.sent_until_ms:
            self.playback.acknowledge(heard_ms, dropped=True)
        return [
            self._event(
                rt.ItemTruncated,
                item_id=event.item_id,
                content_index=event.content_index,
                audio_end_ms=event.audio_end_ms,
            )
        ]

    def _ask(self, config: rt.ResponseConfig) -> list[wire.ToClient]:
        if config.tools:
            raise EventError("unsupported", "functions are a session's, not a response's", param="response.tools")
        if config.conversation == "none":
            raise EventError("unsupported", "there is one conversation", param="response.conversation")
        if config.input:
            raise EventError("unsupported", "a response has no input of its own", param="response.input")
        if self._asked is not None or (self._spoken is not None and self._spoken.is_asked):
            raise EventError("conversation_already_has_active_response", "a response was asked for already")
        if config.instructions:
            self._read(
                TextSource.INSTRUCTIONS, config.instructions, limits.MAX_CONTEXT_CHARACTERS, "response.instructions"
            )
        if self._spoken is not None:
            # The model was quicker than the client's request.
            self._spoken.is_asked, self._spoken.metadata = True, config.metadata
        else:
            modality = _modality(config.output_modalities)
            self._asked = Asked(self._until(ANSWER_TURNS), config.metadata, modality)
        return []

    def _cancel(self, response_id: str | None) -> list[wire.ToClient]:
        if self._spoken is not None and response_id in (None, self._spoken.response_id):
            self._hushed = True
            self._speak_in(self._output_format)
            return self._yielded(self._spoken, "cancelled")
        if self._asked is not None and response_id is None:
            return self._unanswered(self._asked, "cancelled")
        raise EventError("response_cancel_not_active", "no such response is in progress")

    def _until(self, turns: int) -> int:
        """``turns`` after the sound that is there has been heard."""
        waiting_ms = self._inbox.waiting_ms + len(self._clip) * TURN_MS
        return self.num_turns + -(-waiting_ms // TURN_MS) + turns

    # From the model, and from whoever runs the connection.

    def _take(self, turn: Turn) -> list[wire.ToClient]:
        self._feed()
        events = self._heard(turn.made) + self._said(turn.made)
        for one in self.delegation.take(turn, self._inbox, self.playback):
            if isinstance(one, Delegated) and self._function is not None:
                events += self._called(self._function, one)
        if self._asked is not None and self.num_turns >= self._asked.until_turn:
            events += self._unanswered(self._asked, "completed")
        if self._expired:
            message = f"a session lasts at most {self._service.max_session_ms // 1000} s"
            events += self._give_up(EventError("session_expired", message), NORMAL)
        return events

    def _heard(self, made: TurnOutput) -> list[wire.ToClient]:
        """Words of the user, and where what they say begins and ends."""
        events: list[wire.ToClient] = []
        if made.hear:
            if self._user is None:
                start_ms = max(0, made.t_ms - LATE_TURNS * TURN_MS - WORD_MS)
                self._user = Utterance(self._conversation.new_id(), start_ms=start_ms)
                if not self._is_manual:
                    events.append(self._event(rt.SpeechStarted, item_id=self._user.item_id, audio_start_ms=start_ms))
            delta = made.hear if self._user.words else made.hear.lstrip()
            self._user.words += delta
            self._user.last_turn, self._user.end_ms = made.turn, made.t_ms
            events.append(self._event(rt.TranscriptionDelta, item_id=self._user.item_id, content_index=0, delta=delta))
        user = self._user
        if user is not None and user.is_open and not self._is_manual:
            if made.speaking and self._spoken is None:
                events += self._stopped(user, self.num_turns + LATE_TURNS)
            elif made.turn - user.last_turn >= QUIET_TURNS:
                events += self._stopped(user, self.num_turns)
        if user is not None and not user.is_open and self.num_turns >= user.until_turn:
            events.append(self._completed(user))
        return events

    def _stopped(self, user: Utterance, until_turn: int) -> list[wire.ToClient]:
        user.is_open = False
        stopped = self._event(rt.SpeechStopped, item_id=user.item_id, audio_end_ms=user.end_ms)
        return [*([] if self._is_manual else [stopped]), *self._committed(user, until_turn)]

    def _committed(self, user: Utterance, until_turn: int) -> list[wire.ToClient]:
        """What the user said is an item now."""
        user.until_turn = until_turn
        self._has_sound = False
        part = rt.Part("input_audio", transcript=user.words)
        message = rt.Message(role="user", content=[part], id=user.item_id, object="realtime.item", status="completed")
        previous = self._conversation.add(message)
        return [
            self._event(rt.Committed, item_id=user.item_id, previous_item_id=previous),
            self._event(rt.ItemAdded, item=message, previous_item_id=previous),
            self._event(rt.ItemDone, item=message, previous_item_id=previous),
        ]

    def _completed(self, user: Utterance) -> wire.ToClient:
        self._user = None
        self._conversation.transcribe(user.item_id, user.words)
        return self._event(
            rt.TranscriptionCompleted,
            item_id=user.item_id,
            content_index=0,
            transcript=user.words,
            usage={"type": "duration", "seconds": max(0, user.end_ms - user.start_ms) / 1000},
        )

    def _said(self, made: TurnOutput) -> list[wire.ToClient]:
        """What the model says, and where it begins and yields."""
        events: list[wire.ToClient] = []
        if self._hushed:
            self._hushed = made.speaking
            return events
        if self._spoken is None:
            if not made.speaking:
                return events
            events += self._begun(made.t_ms + TURN_MS)
        spoken = self._spoken
        assert spoken is not None
        if made.say:
            delta = spoken.say(made.t_ms + TURN_MS, made.say)
            kind = rt.TranscriptDelta if spoken.modality == "audio" else rt.TextDelta
            events.append(self._event(kind, **spoken.content, delta=delta))
        if spoken.modality == "audio":
            data, lasts_ms = self._encoded(made.audio, made.speaking)
            if data:
                start_ms = spoken.start_ms + spoken.sound_ms
                spoken.sound_ms += lasts_ms
                self.playback.sent(start_ms, start_ms + lasts_ms)
                events.append(self._event(rt.AudioDelta, **spoken.content, delta=data))
        if not made.speaking:
            events += self._yielded(spoken, "completed")
        return events

    def _begun(self, start_ms: int) -> list[wire.ToClient]:
        asked, self._asked = self._asked, None
        modality = (asked and asked.modality) or self._modality
        self._spoken = spoken = Spoken(
            self._new_response_id(), self._conversation.new_id(), modality, start_ms, asked is not None
        )
        spoken.metadata = None if asked is None else asked.metadata
        previous = self._conversation.add(spoken.message, spoken=spoken)
        response, item = self._response(spoken, "in_progress", []), spoken.message
        return [
            self._event(rt.ResponseCreated, response=response),
            self._event(rt.OutputItemAdded, **spoken.place, item=item),
            self._event(rt.ItemAdded, item=item, previous_item_id=previous),
            self._event(rt.ContentPartAdded, **spoken.content, part=spoken.part),
        ]

    def _yielded(self, spoken: Spoken, status: rt.Status) -> list[wire.ToClient]:
        self._spoken = None
        spoken.status = "completed" if status == "completed" else "incomplete"
        item, words = spoken.message, spoken.words
        previous = self._conversation.finish(spoken)
        events: list[wire.ToClient] = []
        if spoken.modality == "audio":
            events.append(self._event(rt.AudioDone, **spoken.content))
            events.append(self._event(rt.TranscriptDone, **spoken.content, transcript=words))
        else:
            events.append(self._event(rt.TextDone, **spoken.content, text=words))
        return [
            *events,
            self._event(rt.ContentPartDone, **spoken.content, part=spoken.part),
            self._event(rt.OutputItemDone, **spoken.place, item=item),
            self._event(rt.ItemDone, item=item, previous_item_id=previous),
            self._event(rt.ResponseDone, response=self._response(spoken, status, [item, *spoken.calls])),
        ]

    def _called(self, function: Function, delegated: Delegated) -> list[wire.ToClient]:
        """A function call: in the response in progress, or in one of its own."""
        call = function.call(self._conversation.new_id(), delegated.delegation, delegated.task)
        previous = self._conversation.add(call)
        if self._spoken is not None:
            self._spoken.calls.append(call)
            place = {**self._spoken.place, "output_index": len(self._spoken.calls)}
            return [self._event(kind, **fields) for kind, fields in called(call, previous, place)]
        asked, self._asked = self._asked or Asked(0, None, None), None
        alone = self._without_words(asked)
        return [
            self._event(rt.ResponseCreated, response=self._response(alone, "in_progress", [])),
            *(self._event(kind, **fields) for kind, fields in called(call, previous, alone.place)),
            self._event(rt.ResponseDone, response=self._response(alone, "completed", [call])),
        ]

    def _without_words(self, asked: Asked) -> Spoken:
        modality = asked.modality or self._modality
        return Spoken(self._new_response_id(), "", modality, 0, True, asked.metadata)

    def _unanswered(self, asked: Asked, status: rt.Status) -> list[wire.ToClient]:
        """The response that was asked for, without anything in it."""
        self._asked = None
        nothing = self._without_words(asked)
        return [
            self._event(rt.ResponseCreated, response=self._response(nothing, "in_progress", [])),
            self._event(rt.ResponseDone, response=self._response(nothing, status, [])),
        ]

    def _farewell(self) -> list[wire.ToClient]:
        return self._give_up(EventError("stopping", "the server goes down"), RESTART)

    def _error(self, error: EventError, client_event_id: str | None) -> wire.Error:
        return self._event(wire.Error, error=wire.detail_of(error, event_id=client_event_id))

    # What they are told with.

    def _new_response_id(self) -> str:
        self._num_responses += 1
        return f"resp_{self._num_responses}"

    def _response(self, spoken: Spoken, status: rt.Status, output: list[rt.Item]) -> rt.ResponseResource:
        details: dict[str, str] = {"type": status}
        if status == "cancelled":
            details["reason"] = "client_cancelled"
        return rt.ResponseResource(
            id=spoken.response_id,
            status=status,
            status_details=None if status == "in_progress" else details,
            output=output,
            conversation_id=f"conv_{self._opened.session_id}",
            output_modalities=[spoken.modality],
            metadata=spoken.metadata,
        )

    def _resource(self) -> rt.SessionResource:
        hearing: dict[str, Any] = {
            "format": self._input_format,
            "transcription": {"model": self._service.model},
            "noise_reduction": None,
            "turn_detection": None if self._is_manual else {"type": "semantic_vad"},
        }
        return rt.SessionResource(
            id=self._opened.session_id,
            expires_at=self._opened.expires_at,
            model=self._service.model,
            instructions=self._instructions,
            output_modalities=[self._modality],
            tools=[] if self._function is None else [self._function.tool],
            audio={"input": hearing, "output": {"format": self._output_format, "voice": VOICE, "speed": 1.0}},
        )


def _modality(modalities: list[rt.Modality] | None) -> rt.Modality | None:
    """Sound comes with its words; without sound there are words alone."""
    return None if modalities is None else "audio" if "audio" in modalities else "text"
