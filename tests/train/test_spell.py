"""Spelling under other names: letters and what words are made of are renamed alike, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from microturn.errors import CorpusError
from microturn.model.config import ModelConfig
from microturn.model.layout import Kind
from microturn.model.letters import MAX_LETTERS, NUM_LETTERS, Letters
from microturn.model.model import Network
from microturn.model.tokens import OutputVocabulary, default_tokenizer
from microturn.scenario.corpus import Record, to_record
from microturn.scenario.spelling import FAMILY, spellable, spelling
from microturn.train.data import Batches, DataConfig, StepKind
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


def test_what_is_learnt_under_other_names_is_read() -> None:
    """First letters told under ever new names are told of words that were never asked for."""
    torch.manual_seed(0)
    letters = Letters(TOKENIZER.vocab_size, 64)
    letters.learn(TOKENIZER)
    head = torch.nn.Linear(64, NUM_LETTERS)
    words = [word for word in spellable() if len(word) > 2 and len(TOKENIZER.encode_word(word)) == 1]
    tokens = torch.tensor([TOKENIZER.encode_word(word)[0] for word in words])
    first = torch.tensor([ord(word[0]) - ord("a") for word in words])
    asked, other = slice(0, None, 40), slice(1, None, 40)
    optimiser = torch.optim.Adam([*letters.parameters(), *head.parameters()], 0.01)
    for _ in range(200):
        names = torch.randperm(NUM_LETTERS)
        with letters.called(names):
            scores = head(letters()[tokens[asked]])
        optimiser.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(scores, names[first[asked]]))
        optimiser.step()
    told = head(letters()[tokens[other]]).argmax(-1)
    assert float((told == first[other]).double().mean()) > 0.9


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
