"""Weights as a folder: what is saved is what is loaded, and whatever is wrong with a folder is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from microturn.errors import WeightsError
from microturn.language.tokenizer import default_tokenizer
from microturn.model import weights
from microturn.model.config import ModelConfig
from microturn.model.weights import load, save
from microturn.session.session import Session
from microturn.turn import TURN_SAMPLES, TurnInput
from tests.parity.small import small_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = small_model()
    save(tmp_path / "w", model.config, model.network.state_dict(), model.weights.vocoder, model.tokenizer)
    return tmp_path / "w"


def test_saved_weights_load_and_run(folder: Path) -> None:
    model, loaded = small_model(), load(folder)
    assert loaded.config == model.config
    for one, other in ((model.network, loaded.network), (model.weights.vocoder, loaded.weights.vocoder)):
        wanted = one.state_dict()
        assert other.state_dict().keys() == wanted.keys()
        for name, value in other.state_dict().items():
            torch.testing.assert_close(value, wanted[name], atol=2e-3, rtol=2e-3)
    output = Session.open(loaded).step(TurnInput(audio=np.zeros(TURN_SAMPLES, np.float32)))
    assert output.turn == 0 and output.audio.shape == (TURN_SAMPLES,)


def test_loaded_weights_saved_again_are_the_same(folder: Path, tmp_path: Path) -> None:
    """Half precision rounds once."""
    first = load(folder)
    save(tmp_path / "again", first.config, first.network.state_dict(), first.weights.vocoder, first.tokenizer)
    second = load(tmp_path / "again").network.state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.network.state_dict().items())


def test_large_weights_are_split(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(folder)
    monkeypatch.setattr(weights, "MAX_PART_BYTES", 100_000)
    save(folder, model.config, model.network.state_dict(), model.weights.vocoder, model.tokenizer)
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 3
    again = load(folder).network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.network.state_dict().items())
    monkeypatch.undo()
    save(folder, model.config, model.network.state_dict(), model.weights.vocoder, model.tokenizer)
    assert len(list(folder.glob("model-*.safetensors"))) == 1, "no part of before is left"


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _rewrite(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def _of_size_two(path: Path) -> None:
    other = ModelConfig.of_size(2, vocab_size=default_tokenizer().vocab_size)
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": other.to_dict()}))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no configuration": ("config.json", Path.unlink, "config.json is missing"),
    "no tokenizer": ("tokenizer.json", Path.unlink, "tokenizer.json is missing"),
    "no vocoder": ("vocoder.safetensors", Path.unlink, "vocoder.safetensors is missing"),
    "no weights": ("model-01.safetensors", Path.unlink, r"model-\*.safetensors is missing"),
    "half of the weights": ("model-01.safetensors", _cut, "model-01.safetensors: damaged"),
    "half of the vocoder": ("vocoder.safetensors", _cut, "vocoder.safetensors: damaged"),
    "a configuration that is no JSON": ("config.json", lambda path: path.write_text("{"), "not a model configuration"),
    "a configuration without a model": ("config.json", lambda path: path.write_text("{}"), "not a model configuration"),
    "another size": ("config.json", _of_size_two, "of another"),
    "a tokenizer that is none": ("tokenizer.json", lambda path: path.write_text("{}"), "not a tokenizer file"),
    "a part missing": (
        "model-01.safetensors",
        lambda path: _rewrite(path, lambda tensors: tensors.pop("say.bias_V")),
        "a part is missing .tensor say.bias_V.",
    ),
    "another shape": (
        "model-01.safetensors",
        lambda path: _rewrite(path, lambda tensors: tensors.update({"say.bias_V": torch.zeros(3)})),
        "say.bias_V is .3,.",
    ),
    "a value that is no number": (
        "model-01.safetensors",
        lambda path: _rewrite(path, lambda tensors: tensors["say.bias_V"].fill_(float("nan"))),
        "say.bias_V has values that are not numbers",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_weights_are_named(folder: Path, name: str) -> None:
    file, damage, message = DAMAGES[name]
    damage(folder / file)
    with pytest.raises(WeightsError, match=message):
        load(folder)


def test_weights_that_are_nowhere(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere: neither packaged weights nor a folder"):
        load("nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="file: not a folder of weights"):
        load(tmp_path / "file")
