"""``microturn talk`` with the real model: small untrained weights in a folder, whole, damaged and of another size."""

from __future__ import annotations

import json
import shutil
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.cli import main
from microturn.language.tokenizer import default_tokenizer
from microturn.media.writer import FilmWriter
from microturn.model.config import ModelConfig
from microturn.model.network import Network
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.model.weights import save
from microturn.turn import TURN_SAMPLES


def save_untrained(folder: Path, size: int) -> Path:
    tokenizer = default_tokenizer()
    config = ModelConfig.of_size(size, vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    network = Network(config)
    with torch.no_grad():
        network.say.rest.bias[-1] = 5.0  # so that it speaks
    save(folder, config, network.state_dict(), Vocoder(VocoderConfig(width=32, num_blocks=1)), tokenizer)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("weights") / "tiny", size=1)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("in") / "v.mp4"
    writer = FilmWriter(path, (80, 80))
    noise = np.random.default_rng(0)
    for _ in range(6):
        sound = noise.uniform(-0.2, 0.2, TURN_SAMPLES).astype(np.float32)
        writer.write(noise.integers(0, 255, (80, 80, 3), np.uint8), sound, sound)
    writer.close()
    return path


def test_the_model_answers_the_same_way_twice(
    tmp_path: Path, weights: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[list[dict[str, object]]] = []
    sounds = []
    for name in ("a", "b"):
        out = tmp_path / name
        arguments = [str(recording), "--weights", str(weights), "--out", str(out), "--tail-seconds", "0.4", "--json"]
        assert main(["talk", *arguments, "--text", "0.4:hello", "--seed", "3"]) == 0
        lines.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
        with wave.open(str(out / "reply.wav")) as file:
            sounds.append(np.frombuffer(file.readframes(10**6), np.int16).reshape(-1, TURN_SAMPLES, 2))
        assert (out / "reply.mp4").is_file()
    assert len(sounds[0]) == len(lines[0]) + 1
    np.testing.assert_array_equal(sounds[0], sounds[1])
    for one, other in zip(*lines, strict=True):
        assert float(str(one.pop("compute_ms"))) > 0
        other.pop("compute_ms")
        assert one == other
    assert [one["turn"] for one in lines[0]] == list(range(len(lines[0])))
    spoken = [turn for turn, one in enumerate(lines[0]) if one["speaking"]]
    assert spoken, "these weights speak: the sound of their turns is checked"
    assert all(sounds[0][turn + 1, :, 1].any() for turn in spoken)


def cut_file(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize(
    "case", ["missing", "a file", "no model", "cut model", "cut vocoder", "cut config", "cut tokenizer", "other size"]
)
def test_bad_weights_are_refused(
    tmp_path: Path, weights: Path, recording: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    folder = tmp_path / "tiny"
    if case == "a file":
        folder.write_text("x")
    elif case == "other size":
        save_untrained(folder, size=2)
        shutil.copy(weights / "config.json", folder)
    elif case != "missing":
        shutil.copytree(weights, folder)
        if case == "no model":
            (folder / "model-01.safetensors").unlink()
        else:
            name = case.removeprefix("cut ").replace("model", "model-01")
            cut_file(folder, f"{name}.json" if name in ("config", "tokenizer") else f"{name}.safetensors")
    out = tmp_path / "out"
    assert main(["talk", str(recording), "--weights", str(folder), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("microturn: ") and printed.err.count("\n") == 1
    assert str(folder) in printed.err
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir() if path != folder] == []
