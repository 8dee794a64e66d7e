"""What training takes in is what streaming takes in: the same tokens, words before them, pictures, levels of sound."""

from __future__ import annotations

import numpy as np
import pytest

from microturn.bench.systems import turn_input
from microturn.model import layout
from microturn.model.config import ModelConfig
from microturn.model.layout import TEXT_KINDS, Kind
from microturn.model.mel import normalise_mel
from microturn.model.microturn import Microturn
from microturn.model.model import Network
from microturn.model.sequence import SequenceBuilder
from microturn.model.tokens import default_tokenizer
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.scenario.corpus import decode_frame, mel_from_bytes, to_record
from microturn.scenario.generate import generate
from microturn.train.pack import Packer

NAMES = ("kinds", "turns", "slots", "payloads", "heard", "said", "reply", "age")
OUTPUT_KINDS = TEXT_KINDS - {Kind.TEXT_IN}


@pytest.mark.parametrize("family", ["count", "say", "time"])
def test_streaming_takes_in_what_training_takes_in(family: str) -> None:
    tokenizer = default_tokenizer()
    scenario = generate(family, 3, "train", assistant=False)
    record = to_record(scenario)
    scenario.frames = {turn: decode_frame(frame) for turn, frame in record.frames.items()}
    whole = Packer(tokenizer, 2, None).row(record, np.random.default_rng(0)).tokens
    network = Network(ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size))
    model = Microturn(network, Vocoder(VocoderConfig(width=32, num_blocks=1)), tokenizer)
    row = model.initial_state(1).rows[0]
    mel_of = dict(zip(record.speaking, mel_from_bytes(record.model_mel), strict=True))
    streamed = SequenceBuilder()
    for turn in range(record.num_turns):
        builder = model._input_tokens(turn_input(scenario, turn), row)
        for place, kind in enumerate(whole.kinds):
            if whole.turns[place] == turn and kind in OUTPUT_KINDS:
                builder.add(Kind(kind), turn, whole.slots[place], whole.payloads[place])
        for name in (*NAMES, "audio", "own", "patches"):
            getattr(streamed, name).extend(getattr(builder, name))
        row.last = builder.last
        row.turn = turn + 1
        row.end = layout.END_SPEAK if turn in mel_of else layout.END_LISTEN
        row.last_mel = normalise_mel(mel_of[turn]) if turn in mel_of else None
    for name in NAMES:
        assert getattr(streamed, name) == getattr(whole, name), name
    assert np.array_equal(streamed.patches, whole.patches)
    for name in ("audio", "own"):
        # A record keeps sound in 256 steps: a level on the edge may fall to the other side.
        one, other = (np.stack(getattr(builder, name)).astype(int) for builder in (streamed, whole))
        assert np.abs(one - other).max() <= 1
        assert (one != other).mean() < 0.05
