"""Words placed anew by phones: of a bank's sentences, and of nothing else in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from microturn.train import realign
from microturn.train.hear import PHONE_MS, phone_targets
from microturn.train.learner import Learner
from microturn.turn import SAMPLE_RATE_HZ, TURN_MS, Pcm
from microturn.voices.bank import Part, write_part
from microturn.voices.forced import Span
from microturn.voices.phones import PHONES, phone_row
from microturn.voices.speech import Speech, Word
from tests.train import tiny

SAID = ("red", "seven", "green")
LATE_MS = 700.0
"""Labels are wrong by this much."""


@pytest.fixture
def learner() -> Learner:
    return Learner(tiny.model(), tiny.VOCODER)


def mistimed(words: tuple[str, ...], truly: tuple[str, ...] | None = None) -> Speech:
    """Chords of ``truly`` that are said to be ``words``, in the wrong places."""
    speech = tiny.chords(truly or words)
    length_ms = len(speech.pcm) * 1000 / SAMPLE_RATE_HZ
    return Speech(speech.pcm, tuple(Word(word, min(LATE_MS, length_ms - 50.0), length_ms) for word in words))


def perfectly(pcm: Pcm, _: Learner) -> NDArray[np.float32]:
    """The phones of the chords that sound, as a network would hear them that makes no mistakes."""
    count = realign.LEAD_TURNS * TURN_MS // PHONE_MS + len(pcm) * 1000 // SAMPLE_RATE_HZ // PHONE_MS + 12
    words = []
    for place in range(len(pcm) // len(tiny.chord("red"))):
        start = place * len(tiny.chord("red"))
        for word in tiny.WORDS:
            if np.allclose(pcm[start : start + 4000], tiny.chord(word)[:4000], atol=1e-3):
                start_ms = start * 1000 / SAMPLE_RATE_HZ + realign.LEAD_TURNS * TURN_MS
                words.append(Word(word, start_ms, start_ms + tiny.WORD_MS))
    row = phone_row(Speech(pcm, tuple(words)), PHONE_MS, count)
    log_NP = np.full((count, len(PHONES)), -9.0, np.float32)
    log_NP[np.arange(count), row] = 0.0
    return log_NP


def test_sentences_are_placed_and_single_words_stay(
    tmp_path: Path, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realign, "heard_phones", perfectly)
    wrong = ("blue", "dog", "blue", "dog", "blue", "dog")
    write_part(
        tmp_path / "people-train-natives",
        [("natives", "a", mistimed(SAID)), ("natives", "b", mistimed(("dog",))),
         ("natives", "c", mistimed(wrong, ("red", "seven", "green", "red", "seven", "green")))],
    )  # fmt: skip
    for name in ("people-train-commands", "synthesised-train-0000"):
        write_part(tmp_path / name, [("x", "a", mistimed(SAID if "synthesised" in name else ("red",)))])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "people-train-natives.anew").mkdir()  # of a run that was killed
    realign.realign(tmp_path, learner)
    assert {folder.name for folder in tmp_path.iterdir()} == {
        "people-train-natives", "people-train-commands", "synthesised-train-0000",
    }  # fmt: skip
    changed = {path.parent.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"people-train-natives"}
    part = Part(tmp_path / "people-train-natives")
    assert [utterance.speaker for utterance in part.utterances] == ["a", "b"], "what fits nowhere is left out"
    placed = part.speech(0)
    assert [word.text for word in placed.words] == list(SAID)
    for place, word in enumerate(placed.words):
        assert word.start_ms == pytest.approx(tiny.WORD_MS * place, abs=PHONE_MS)
        assert word.end_ms == pytest.approx(tiny.WORD_MS * (place + 1), abs=PHONE_MS)
    assert np.allclose(placed.pcm, mistimed(SAID).pcm, atol=1e-4)
    assert part.speech(1).words[0].start_ms == pytest.approx(mistimed(("dog",)).words[0].start_ms)


@pytest.mark.parametrize("left", [[], ["people-train-natives.old"]])
def test_a_part_is_not_lost_when_a_run_is_killed_before_it_has_its_name(
    left: list[str], tmp_path: Path, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realign, "heard_phones", perfectly)
    for name in left:
        (tmp_path / name).mkdir()
    write_part(tmp_path / "people-train-natives.anew", [("natives", "a", mistimed(SAID))])
    realign.realign(tmp_path, learner)
    assert [folder.name for folder in tmp_path.iterdir()] == ["people-train-natives"]
    assert len(Part(tmp_path / "people-train-natives")) == 1


def test_a_network_tells_of_every_piece_of_time(learner: Learner) -> None:
    pcm = tiny.chords(SAID).pcm
    log_NP = realign.heard_phones(pcm, learner.eval())
    pieces = (realign.LEAD_TURNS + realign.TAIL_TURNS) * TURN_MS // PHONE_MS + len(
        pcm
    ) * 1000 // SAMPLE_RATE_HZ // PHONE_MS
    assert pieces - 1 <= len(log_NP) < pieces + TURN_MS // PHONE_MS and log_NP.shape[1] == len(PHONES)
    assert np.allclose(np.exp(log_NP).sum(1), 1.0, atol=1e-4)


def test_a_phone_is_told_one_piece_of_time_after_its_own() -> None:
    """What the labels of training have is what ``heard_phones`` takes back."""
    speech = tiny.chords(SAID)
    told = phone_targets(speech, 12).flatten()
    assert np.array_equal(told[1:], phone_row(speech, PHONE_MS, len(told) - 1))


def test_words_that_are_nowhere_keep_their_order(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realign, "heard_phones", lambda *_: np.zeros((40, len(PHONES)), np.float32))
    monkeypatch.setattr(
        realign, "word_spans", lambda *_: [Span(5, 8, 0.0), *[Span(8, 10, 0.0)] * 8, None, Span(11, 12, 0.0)]
    )
    speech = Speech(np.zeros(16_000, np.float32), tuple(Word("red", 0.0, 10.0) for _ in range(11)))
    placed = realign.placed(speech, learner)
    assert placed is not None
    times = [time for word in placed.words for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times) and all(word.end_ms - word.start_ms >= realign.SHORTEST_MS for word in placed.words)
