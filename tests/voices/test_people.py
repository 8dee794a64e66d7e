"""Real people: which recordings a data folder has, to which split they belong, and when their words are said.

The folder is made here, of synthesised speech whose word times are known, in the layout that people bring.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from microturn.errors import InputError, MediaError
from microturn.turn import SAMPLE_RATE_HZ
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.people import (
    HELDOUT_DIGIT_SPEAKER,
    HELDOUT_SHARE,
    Clip,
    clips,
    clips_of,
    plain_transcript,
    timed,
    written,
)
from microturn.voices.speech import Speech, Word
from tests.voices.recorded import in_quiet, record

SPEAKER = Voice("", "espeak", "m3", "en-gb-scotland")
"""Not the voice that sentences are aligned with."""
SENTENCE = "the green cat is in the garden on monday"
BEFORE_MS, AFTER_MS = 700, 500


def indexed(folder: Path, rows: dict[str, tuple[str, str]]) -> None:
    """An ``index.tsv`` of path -> (speaker, transcript), with a column that nobody asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{path}\t{speaker}\t{text}\t1.00" for path, (speaker, text) in rows.items()]
    (folder / "index.tsv").write_text("\n".join(["path\tspeaker\ttranscript\tseconds", *lines]) + "\n")


def recorded(path: Path, text: str, noise: float = 0.001) -> Speech:
    """Record ``text`` between two stretches of quiet; returns what is truly in the file."""
    speech = synthesise(SPEAKER, text)
    record(path, in_quiet(speech.pcm, BEFORE_MS, AFTER_MS, noise))
    return speech


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of empty files: to tell who says what, no file is opened."""
    speech = tmp_path / "speech"
    indexed(speech / "commands", {"a/up_0.opus": ("a", "Up"), "b/stop_1.opus": ("b", "stop")})
    indexed(
        speech / "sentences",
        {
            "a/1.opus": ("a", "It\u2019s \u201cnearly\u201d time, isn't it?"),
            "a/2.opus": ("a", "call 555"),
            "c/3.opus": ("c", ""),
        },
    )
    for name in (f"digits/{HELDOUT_DIGIT_SPEAKER}/7_0.flac", "digits/theo/0_4.flac", "digits/theo/3_1.flac"):
        (speech / name).parent.mkdir(parents=True, exist_ok=True)
        (speech / name).touch()
    for name in ("smart_mirror/x.opus", "alexa/x.opus", "marvin/x.opus"):
        (speech / "wake_words" / name).parent.mkdir(parents=True)
        (speech / "wake_words" / name).touch()
    return tmp_path


def test_every_recording_with_known_words_is_found(data: Path) -> None:
    found = {clip.path.relative_to(data / "speech").as_posix(): (clip.speaker, clip.words) for clip in clips(data)}
    assert found == {
        "commands/a/up_0.opus": ("a", ("up",)),
        "commands/b/stop_1.opus": ("b", ("stop",)),
        "sentences/a/1.opus": ("a", ("it's", "nearly", "time", "isn't", "it")),
        f"digits/{HELDOUT_DIGIT_SPEAKER}/7_0.flac": (HELDOUT_DIGIT_SPEAKER, ("seven",)),
        "digits/theo/0_4.flac": ("theo", ("zero",)),
        "digits/theo/3_1.flac": ("theo", ("three",)),
        "wake_words/alexa/x.opus": ("alexa/x", ("alexa",)),
        "wake_words/smart_mirror/x.opus": ("smart_mirror/x", ("smart", "mirror")),
    }
    assert [clip.path.name for clip in clips_of(data, "commands")] == ["up_0.opus", "stop_1.opus"]


def test_a_folder_without_recordings_is_an_input_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no recordings of people there"):
        list(clips(tmp_path / "nowhere"))
    assert not list(clips_of(data, "natives"))


def test_a_corpus_of_any_name_is_found_by_its_index(tmp_path: Path) -> None:
    mine = tmp_path / "speech" / "mine"
    mine.mkdir(parents=True)
    (mine / "index.tsv").write_text("path\tspeaker\ttranscript\nme/1.opus\tme\tTurn it up.\nme/2.opus\tme\tcall 555\n")
    assert written(tmp_path) == ("mine",)
    assert [(clip.corpus, clip.speaker, clip.words) for clip in clips(tmp_path)] == [
        ("mine", "me", ("turn", "it", "up"))
    ]
    (mine / "index.tsv").write_text("path\tspeaker\ttranscript\nme/2.opus\tme\tcall 555\n")
    with pytest.raises(InputError, match=r"mine/index.tsv: no transcript there is of words alone"):
        list(clips(tmp_path))
    (mine / "index.tsv").write_text("path,speaker,transcript\nme/1.opus,me,Turn it up.\n")
    with pytest.raises(InputError, match=r"mine/index.tsv: has no column path, speaker, transcript"):
        list(clips(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("In his absence, the council adopted the change.", "in his absence the council adopted the change"),
        ("O\u2019Clock - 'tis ROCK'n", "o'clock tis rock'n"),
        ("twenty-one", "twenty one"),
        ("call 555", ""),
        ("rock'n'roll", ""),
        ("...", ""),
    ],
)
def test_a_transcript_is_taken_if_every_word_is_spelt_as_it_is_said(text: str, words: str) -> None:
    assert plain_transcript(text) == tuple(words.split())


def test_a_speaker_is_in_one_split_whatever_the_clip() -> None:
    def split(corpus: str, speaker: str, name: str = "x") -> str:
        return Clip(Path(f"/somewhere/{name}.opus"), corpus, speaker, ("up",)).split

    speakers = [f"{number:04d}" for number in range(1000)]
    for corpus in ("commands", "sentences"):
        splits = [split(corpus, speaker) for speaker in speakers]
        assert splits == [split(corpus, speaker, f"other-{speaker}") for speaker in speakers]
        assert splits.count("heldout") / len(splits) == pytest.approx(HELDOUT_SHARE, abs=0.08)
    # Another selection of the same people: nobody may be trained on in one and tested in the other.
    assert [split("commands", speaker) for speaker in speakers] == [
        split("commands_small", speaker) for speaker in speakers
    ]
    assert split("digits", HELDOUT_DIGIT_SPEAKER) == "heldout" and split("digits", "theo") == "train"


def test_splits_never_change() -> None:
    """The same on every machine and in every version: who was trained on must not be tested with later."""
    heldout = [number for number in range(20) if Clip(Path(), "sentences", str(number), ()).split == "heldout"]
    assert heldout == [2, 3, 6, 7, 11, 15, 18, 19]


def shifted(speech: Speech, truth: Speech) -> tuple[Word, ...]:
    """The words of ``speech`` on the clock of ``truth``: its sound is laid where it fits best."""
    room = len(truth.pcm)
    fit = np.correlate(np.pad(speech.pcm, room), truth.pcm, "valid")
    shift_ms = (int(np.argmax(fit)) - room) * 1000 / SAMPLE_RATE_HZ
    return tuple(Word(word.text, word.start_ms - shift_ms, word.end_ms - shift_ms) for word in speech.words)


def check_frame(speech: Speech, truth: Speech) -> None:
    """Words in order inside the sound, which is that of the words with little quiet around it."""
    assert [word.text for word in speech.words] == [word.text for word in truth.words]
    length_ms = len(speech.pcm) * 1000 / SAMPLE_RATE_HZ
    assert length_ms == pytest.approx(len(truth.pcm) * 1000 / SAMPLE_RATE_HZ, abs=130.0)
    assert speech.words[0].start_ms >= 0.0 and speech.words[-1].end_ms <= length_ms
    assert all(word.end_ms > word.start_ms for word in speech.words)


@pytest.mark.parametrize("suffix", ["flac", "opus"])
@pytest.mark.parametrize("text", ["computer", "smart mirror"])
def test_single_words_lie_where_the_sound_is(text: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{suffix}"
    truth = recorded(path, text)
    speech = timed(Clip(path, "commands", "a", tuple(text.split())))
    check_frame(speech, truth)
    for found, wanted in zip(shifted(speech, truth), truth.words, strict=True):
        # Where two words meet is guessed from their letters; where the clip's speech begins and ends is seen.
        assert found.start_ms == pytest.approx(wanted.start_ms, abs=90.0)
        assert found.end_ms == pytest.approx(wanted.end_ms, abs=90.0)
    assert shifted(speech, truth)[-1].end_ms == pytest.approx(truth.words[-1].end_ms, abs=25.0)


@pytest.mark.parametrize("noise", [0.0, 0.005])
@pytest.mark.parametrize("suffix", ["flac", "opus"])
def test_words_of_a_sentence_lie_near_the_true_ones(suffix: str, noise: float, tmp_path: Path) -> None:
    path = tmp_path / f"clip.{suffix}"
    truth = recorded(path, SENTENCE, noise)
    speech = timed(Clip(path, "sentences", "a", tuple(SENTENCE.split())))
    check_frame(speech, truth)
    pairs = list(zip(shifted(speech, truth), truth.words, strict=True))
    ends_ms = [abs(found.end_ms - wanted.end_ms) for found, wanted in pairs]
    assert max(ends_ms) < 80.0 and np.median(ends_ms) < 30.0
    assert max(abs(found.start_ms - wanted.start_ms) for found, wanted in pairs) < 100.0


def test_words_that_no_synthesiser_reads_and_damaged_files_are_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.opus"
    bad.write_bytes(b"this is not sound" * 100)
    with pytest.raises(MediaError, match=r"bad\.opus"):
        timed(Clip(bad, "commands", "a", ("up",)))
    path = tmp_path / "good.flac"
    recorded(path, "one two three")
    with pytest.raises(InputError, match="cannot speak"):
        timed(Clip(path, "sentences", "a", ("one", "zwei2", "three")))
