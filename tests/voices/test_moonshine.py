"""Recordings whose words nobody wrote down: Moonshine does, and they teach like the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from microturn.language.lexicon import UNSEEN
from microturn.scenario import filling
from microturn.split import Split
from microturn.turn import SAMPLE_RATE_HZ, Pcm
from microturn.voices import moonshine
from microturn.voices.bank import Part
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.people import unwritten
from microturn.voices.recordings import file_split
from microturn.voices.wordtimes import HIDE_VARIABLE
from tests.voices.recorded import in_quiet, record

SPEAKER = Voice("", "espeak", "m3", "en-us")
SENTENCE = "the weather is nice today and we are going to the garden"


def spoken(text: str) -> Pcm:
    return in_quiet(synthesise(SPEAKER, text, rate=0.9).pcm, 500, 500, 0.001)


@pytest.mark.needs_engine("moonshine")
def test_it_writes_what_is_said_and_nothing_of_silence() -> None:
    written = moonshine.transcript(spoken(SENTENCE)).lower().strip(".").replace(",", "").split()
    assert len(set(written) & set(SENTENCE.split())) >= 8 and len(written) <= 18
    assert moonshine.transcript(np.zeros(SAMPLE_RATE_HZ, np.float32)) == ""


def files_of(folder: Path, split: Split, count: int) -> list[Path]:
    """So many names of files of a split."""
    names = (folder / f"{number}.opus" for number in range(100))
    return [path for path in names if file_split(path) == split][:count]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two recordings to learn from, one to test with; what is heard in the n-th is the n-th of ``HEARD``."""
    folder = tmp_path / "data" / "speech" / "read"
    for path in (*files_of(folder, "train", 4), *files_of(folder, "heldout", 1)):
        record(path, spoken("hello there"))
    monkeypatch.setattr(moonshine, "installed", lambda: moonshine.SPEAKERS)
    return tmp_path / "data"


def test_what_is_heard_are_the_words(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = iter(("Hello, there.", "", "It cost $5.", f"the {UNSEEN[0]}", "not reached"))
    monkeypatch.setattr(moonshine, "transcript", lambda _: next(heard))
    train = files_of(data / "speech" / "read", "train", 4)
    (first, last) = unwritten(data, "read", "train")
    assert (first.path, first.words, first.speaker) == (train[0], ("hello", "there"), f"read/{train[0].stem}")
    assert last.words == ("the", UNSEEN[0])


def test_they_fill_a_part_of_a_bank(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without those that have words kept out of training."""
    heard = iter(("hello there", f"hello {UNSEEN[0]}", "hello there", "hello there", "hello there"))
    monkeypatch.setattr(moonshine, "transcript", lambda _: next(heard))
    config = filling.BankConfig(num_synthesised=0)
    assert [path.name for path in filling.fill(tmp_path / "bank", config, data, workers=1)] == ["people-train-read"]
    part = Part(tmp_path / "bank" / "people-train-read")
    assert len(part) == 3 and all(u.source == "read" and len(u.words) == 2 for u in part.utterances)


def test_where_it_is_hidden_there_is_no_such_part(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv(HIDE_VARIABLE, "moonshine")
    assert list(filling.fill(tmp_path / "bank", filling.BankConfig(num_synthesised=0), data, workers=1)) == []


def test_a_file_that_cannot_be_read_is_left_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moonshine, "transcript", lambda _: "hello there")
    damaged, *others = files_of(data / "speech" / "read", "train", 4)
    damaged.write_bytes(b"damaged")
    assert [clip.path for clip in unwritten(data, "read", "train")] == others
