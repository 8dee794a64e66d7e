"""``microturn bench open`` with weights that know nothing: it runs whole, says so in JSON, and refuses bad options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from microturn.cli import main
from microturn.model.config import ModelConfig
from microturn.model.model import Network
from microturn.model.tokens import default_tokenizer
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.model.weights import save


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


@pytest.mark.parametrize(
    ("options", "named"),
    [
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
