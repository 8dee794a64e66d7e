"""``microturn bench open`` with weights that know nothing: it runs whole, says so in JSON, and refuses bad options."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest
import torch

import microturn.bench.people
from microturn.bench.heard import HELDOUT_ENGINE
from microturn.cli import main
from microturn.language.tokenizer import default_tokenizer
from microturn.model.config import ModelConfig
from microturn.model.network import Network
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.model.weights import save
from microturn.turn import SAMPLE_RATE_HZ
from microturn.voices.catalogue import Voice, synthesise
from microturn.voices.wordtimes import HIDE_VARIABLE


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    tokenizer = default_tokenizer()
    config = ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size)
    save(folder, config, Network(config).state_dict(), Vocoder(VocoderConfig()), tokenizer)
    return folder


def test_one_family_as_json(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weights", str(weights), "--part", "families", "--families", "idle", "--sessions", "1", "--no-sound"]
    assert main(["bench", "open", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in found["families"]] == [str(weights), "never speak", "always speak"]
    assert found["num_sessions"] == 1
    assert [bar["figure"] for bar in found["bars"]] == ["idle: words a minute"]


def test_people_as_json(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microturn.bench.people, "NOISE_SECONDS", 1)
    spoken = synthesise(Voice("", "espeak", "m3", "en-us"), "seven").pcm
    for number in range(2):
        path = tmp_path / "speech" / "digits" / "yweweler" / f"7_yweweler_{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
            file.writeframes((spoken * 32767).astype("<i2").tobytes())
        # What is in a file is told by its content, which corpora it belongs to by its name.
        path.rename(path.with_suffix(".flac"))
    options = ["--weights", str(weights), "--part", "people", "--data", str(tmp_path), "--clips", "1", "--seed", "3"]
    assert main(["bench", "open", *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["system"] for row in found["people"]["groups"]] == [str(weights), "nothing", 'always "seven"']
    assert {row["num_clips"] for row in found["people"]["groups"]} == {1}
    assert [row["sound"] for row in found["people"]["noises"]] == ["quiet", "noise"]
    assert "people: digits" in [bar["figure"] for bar in found["bars"]]
    assert found["families"] == found["heard"] == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--part", "people"], "--data"),
        (["--families", "say,dance"], "dance"),
        (["--data", "/nowhere"], "/nowhere"),
        (["--weights", "nowhere"], "nowhere"),
        (["--minutes", "4", "--part", "long"], "edges"),
    ],
)
def test_bad_options(options: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "open", *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert named in said.err
    assert said.err.count("\n") == 1


def test_a_program_that_is_missing_is_named_before_anything_is_played(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts come one after the other, and the first ones may take hours."""
    monkeypatch.setenv(HIDE_VARIABLE, HELDOUT_ENGINE)
    monkeypatch.setattr("microturn.bench.suite.score_family", lambda *_: pytest.fail("a family was played"))
    assert main(["bench", "open", "--part", "families", "--part", "heard", "--no-sound"]) == 2
    assert f"({HELDOUT_ENGINE}) is not installed" in capsys.readouterr().err
