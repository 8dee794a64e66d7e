"""Spelling under other names: letters and what words are made of are renamed alike, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import msgspec
import numpy as np
import pytest
import torch

from microturn.errors import CorpusError
from microturn.model.config import ModelConfig
from microturn.model.layout import Kind
from microturn.model.letters import MAX_LETTERS, NUM_LETTERS
from microturn.model.model import Network
from microturn.model.tokens import OutputVocabulary, default_tokenizer
from microturn.scenario.corpus import Record, to_record
from microturn.scenario.spelling import FAMILY, spellable, spelling
from microturn.train.data import Batches, DataConfig, StepKind
from microturn.train.loss import LossConfig, compute_losses
from microturn.train.pack import Batch, Packer, collate
from microturn.train.spell import letter_tokens, renamed
from tests.train.records import make_records

CPU = torch.device("cpu")
TOKENIZER = default_tokenizer()
OUTPUTS = OutputVocabulary(TOKENIZER.vocab_size)


def record() -> Record:
    """Typed: spell bat; said: b, a, t, a turn each."""
    [plain] = make_records(1)
    say = {8: ["b"], 9: ["a"], 10: ["t"]}
    return Record(FAMILY, 14, plain.user_mel, [], b"", {}, say, {1: [("typed", "spell bat")]}, {}, [], [])


def packed() -> Batch:
    row = Packer(TOKENIZER, 2, None).row(record(), np.random.default_rng(0))
    return collate([row], [0], CPU)


def texts(ids: list[int]) -> list[str]:
    return [TOKENIZER.decode([token]).strip() for token in ids]


def test_letters_that_are_said_are_renamed_and_no_other_text() -> None:
    names = (torch.arange(NUM_LETTERS) + 1) % NUM_LETTERS
    plain = packed()
    other = renamed(plain, letter_tokens(TOKENIZER), names, OUTPUTS)
    said = other.sequence.kind_BT == Kind.SAY
    assert texts(other.sequence.payload_BT[said].tolist()) == ["c", "b", "u"]
    assert torch.equal(other.sequence.payload_BT[~said], plain.sequence.payload_BT[~said])
    last = [said for said in other.sequence.said_BT[0].tolist() if said >= 0]
    assert texts(list(dict.fromkeys(last))) == ["c", "b", "u"]
    words = [int(output) - OUTPUTS.say for output in other.predict_P if OUTPUTS.say <= output < OUTPUTS.act]
    assert texts(words) == ["c", "b", "u"]
    assert not len(other.speak_at_S) and not len(other.mel_SFM)


def test_words_are_made_of_renamed_letters_and_letters_are_not() -> None:
    network = Network(ModelConfig.of_size(1, vocab_size=TOKENIZER.vocab_size))
    letters = network.embedder.letters
    letters.learn(TOKENIZER)
    torch.nn.init.normal_(letters.each.weight)
    names = torch.randperm(NUM_LETTERS)
    weight = letters.each.weight.view(-1, MAX_LETTERS, NUM_LETTERS)
    [bat], [letter_b] = TOKENIZER.encode_word("bat"), TOKENIZER.encode_word("b")
    plain = letters()
    with letters.called(names):
        other = letters()
    expected = sum(weight[:, place, names[ord(letter) - ord("a")]] for place, letter in enumerate("bat"))
    torch.testing.assert_close(other[bat], expected)
    torch.testing.assert_close(other[letter_b], plain[letter_b])
    torch.testing.assert_close(letters(), plain)


def test_spelling_is_learnt_from_letters() -> None:
    """With other names in every batch, no word's spelling can be learnt by heart, so what falls is what is read."""
    torch.manual_seed(0)
    config = ModelConfig.of_size(1, vocab_size=TOKENIZER.vocab_size)
    network = Network(config)
    network.embedder.letters.learn(TOKENIZER)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    words = ("at", "be", "do", "go", "in", "is", "me", "no", "up", "we")
    rows = [Packer(TOKENIZER, 2, None).row(replace_word(record(), word), rng) for word in words]
    losses = []
    for _ in range(150):
        names = torch.from_numpy(rng.permutation(NUM_LETTERS))
        batch = renamed(collate(rows, [0] * len(rows), CPU), letter_tokens(TOKENIZER), names, OUTPUTS)
        loss = compute_losses(network, batch, network.default_window, LossConfig(), generator)
        optimiser.zero_grad()
        torch.autograd.backward(loss.total)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        is_say = (batch.predict_P >= OUTPUTS.say) & (batch.predict_P < OUTPUTS.act)
        losses.append(float(loss.right_P[is_say].double().mean()))
    assert np.mean(losses[-10:]) > 0.5 > 0.2 > np.mean(losses[:10])


def replace_word(spelt: Record, word: str) -> Record:
    say = {8 + place: [letter] for place, letter in enumerate(word)}
    return msgspec.structs.replace(spelt, say=say, texts={1: [("typed", f"spell {word}")]})


def test_every_piece_of_text_may_be_asked_for() -> None:
    assert {"red", "the", "wor"} <= set(spellable())
    said = {word for words in to_record(spelling(1, "train")).say.values() for word in words}
    assert said and all(len(word) == 1 for word in said)


def test_one_step_of_so_many_spells() -> None:
    data = DataConfig(num_workers=0, spelling_every=3)
    assert [data.kind_of(step) for step in range(4)] == [
        StepKind.SESSIONS, StepKind.SPELLING, StepKind.SESSIONS, StepKind.SESSIONS
    ]  # fmt: skip
    stream = Batches([record(), *make_records(4)], TOKENIZER, 2, data, None)
    batches = [batch for batch in islice(iter(stream), 3) if isinstance(batch, Batch)]
    assert [torch.equal(batch.letter_names_L, torch.arange(26)) for batch in batches] == [True, False, True]
    with pytest.raises(CorpusError, match="words to spell"):
        Batches(make_records(4), TOKENIZER, 2, replace(data, spelling_every=2), None)
