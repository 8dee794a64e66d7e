"""Filling a voice bank: the same arguments give the same bank, and what is there is not made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from microturn.language.lexicon import NUMBERS, UNSEEN
from microturn.scenario import filling
from microturn.scenario.filling import BankConfig, draw_text, fill
from microturn.split import Split
from microturn.voices import noise
from microturn.voices.bank import Part
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.people import HELDOUT_DIGIT_SPEAKER
from microturn.voices.wordtimes import tokens
from tests.voices.recorded import in_quiet, record

PART_UTTERANCES = 3


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes are forked from this one, so they make small parts too."""
    monkeypatch.setattr(filling, "PART_UTTERANCES", PART_UTTERANCES)


def made(bank: Path, config: BankConfig, data: Path | None = None) -> set[str]:
    """Names of the parts that ``fill`` tells of."""
    return {path.name for path in fill(bank, config, data, workers=1)}


def contents(bank: Path) -> dict[str, bytes]:
    return {path.relative_to(bank).as_posix(): path.read_bytes() for path in bank.rglob("*") if path.is_file()}


def test_the_same_arguments_give_the_same_bank(tmp_path: Path) -> None:
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    parts = {"synthesised-train-0000", "synthesised-train-0001"}
    assert made(first, BankConfig(num_synthesised=2 * PART_UTTERANCES)) == parts
    assert made(second, BankConfig(num_synthesised=2 * PART_UTTERANCES)) == parts
    made(other, BankConfig(num_synthesised=PART_UTTERANCES, seed=1))
    assert contents(first) == contents(second)
    assert not contents(other).items() & contents(first).items()
    assert len({*contents(first).values()}) == len(contents(first)), "no part is another one's copy"


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    """Stopped after its first part, and in the middle of the second, a run goes on where it was."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    config = BankConfig(num_synthesised=2 * PART_UTTERANCES)
    made(whole, config)
    made(stopped, BankConfig(num_synthesised=PART_UTTERANCES))
    half = stopped / "synthesised-train-0001.partial"
    half.mkdir()
    (half / "samples.i16").write_bytes(b"half of it")
    first = stopped / "synthesised-train-0000" / "samples.i16"
    before = first.stat().st_mtime_ns, first.stat().st_ino
    assert len(made(stopped, config)) == 2
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == before
    assert contents(stopped) == contents(whole)


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_synthesised_utterances_are_levelled_speech_of_the_splits_voices(split: Split, tmp_path: Path) -> None:
    made(tmp_path, BankConfig(num_synthesised=PART_UTTERANCES, split=split))
    part = Part(tmp_path / f"synthesised-{split}-0000")
    assert len(part) == PART_UTTERANCES
    for index, utterance in enumerate(part.utterances):
        speech = part.speech(index)
        assert utterance.speaker.startswith(utterance.source) and speech.words
        assert noise.rms(speech.pcm) == pytest.approx(noise.SPEECH_RMS, rel=0.05)
        assert speech.words[-1].end_ms <= len(speech.pcm) / 16.0


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_texts_can_be_spoken_and_hold_no_word_that_is_kept_unseen(split: Split) -> None:
    rng = np.random.default_rng(0)
    texts = [draw_text(rng, split) for _ in range(150)]
    assert len(set(texts)) > 120
    words = {token.word for text in texts for token in tokens(text)}
    assert len(words) > 150 and not words & set(UNSEEN)


def test_people_are_cut_timed_and_shared_out_by_speaker(tmp_path: Path) -> None:
    data, bank = tmp_path / "data", tmp_path / "bank"
    for speaker, digits in (("theo", (3, 7)), (HELDOUT_DIGIT_SPEAKER, (5,))):
        for digit in digits:
            speech = synthesise(Voice("", "espeak", "m3", "en-us"), NUMBERS[digit])
            record(data / f"speech/digits/{speaker}/{digit}_0.flac", in_quiet(speech.pcm, 600, 400, 0.001))
    (data / "speech/digits/theo/9_0.flac").write_bytes(b"damaged")
    assert made(bank, BankConfig(num_synthesised=0), data) == {"people-train-digits"}
    assert made(bank, BankConfig(num_synthesised=0, split="heldout"), data) == {"people-heldout-digits"}
    for split, speaker, words in (("train", "theo", ["three", "seven"]), ("heldout", HELDOUT_DIGIT_SPEAKER, ["five"])):
        part = Part(bank / f"people-{split}-digits")
        assert [utterance.speaker for utterance in part.utterances] == [f"digits/{speaker}"] * len(words)
        for index, wanted in enumerate(words):
            speech = part.speech(index)
            (word,) = speech.words
            assert word.text == wanted and 30.0 <= word.start_ms <= 70.0
            assert noise.rms(speech.pcm) == pytest.approx(noise.SPEECH_RMS, rel=0.05)
            assert len(speech.pcm) / 16.0 < 900.0, "the quiet around it is cut off"


def test_without_people_there_are_no_parts_of_people(tmp_path: Path) -> None:
    assert made(tmp_path / "bank", BankConfig(num_synthesised=0), tmp_path / "nowhere") == set()
    assert list((tmp_path / "bank").iterdir()) == []
