"""The loop of a turn: rows are independent, replay is exact, bad input changes nothing; weights as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from microturn.errors import InputError, WeightsError
from microturn.model import weights
from microturn.model.config import ModelConfig
from microturn.model.microturn import Microturn
from microturn.model.model import Network
from microturn.model.tokens import SAY_WEIGHT, OutputVocabulary, default_tokenizer
from microturn.model.vocoder import Vocoder, VocoderConfig
from microturn.model.weights import load, save
from microturn.session.session import Session
from microturn.turn import MAX_HEAR_TOKENS, MAX_SAY_TOKENS, TextIn, TextSource, TurnInput, TurnOutput


@pytest.fixture(scope="module")
def model() -> Microturn:
    """A small network with random weights, biased so that it says and hears much and sometimes speaks."""
    torch.manual_seed(1)
    tokenizer = default_tokenizer()
    network = Network(ModelConfig.of_size(1, vocab_size=tokenizer.vocab_size))
    for name, parameter in network.named_parameters():
        if name.endswith("attention.out.weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.normal_(network.lanes.control.weight, std=0.4)
    network.lanes.control.bias.data.copy_(torch.tensor([-9.0, -9.0, 1.0, 1.0]))
    return Microturn(network, Vocoder(VocoderConfig(width=32, num_blocks=1)), tokenizer)


def random_input(rng: np.random.Generator) -> TurnInput:
    return TurnInput(
        audio=rng.normal(0, 0.1, 3200).astype(np.float32) if rng.random() < 0.9 else None,
        frame=rng.integers(0, 256, (60, 90, 3)).astype(np.uint8) if rng.random() < 0.3 else None,
        texts=(TextIn(TextSource.TYPED, "say red"),) if rng.random() < 0.2 else (),
    )


def same(one: TurnOutput, other: TurnOutput) -> bool:
    words = (one.turn, one.hear, one.say, one.act, one.speaking) == (
        other.turn, other.hear, other.say, other.act, other.speaking,
    )  # fmt: skip
    return words and np.array_equal(one.audio, other.audio)


def test_a_session_replays_to_the_same_bits(model: Microturn) -> None:
    rng = np.random.default_rng(0)
    inputs = [random_input(rng) for _ in range(20)]
    runs = []
    for _ in range(2):
        session = Session.open(model, seed=7)
        runs.append([session.step(one) for one in inputs])
    assert all(same(one, other) for one, other in zip(*runs, strict=True))
    assert any(output.speaking for output in runs[0])
    other_seed = Session.open(model, seed=8)
    outputs = [other_seed.step(one) for one in inputs]
    assert not all(same(one, other) for one, other in zip(runs[0], outputs, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_rows_never_mix(model: Microturn, seed: int) -> None:
    """Rows that skip and reset at random give what each session gives alone."""
    rng = np.random.default_rng(seed)
    state = model.initial_state(3, [1, 2, 3])
    alone = [Session.open(model, seed=row + 1) for row in range(3)]
    for _ in range(10):
        if rng.random() < 0.15:
            row = int(rng.integers(3))
            model.reset_row(state, row, seed=40 + row)
            alone[row] = Session.open(model, seed=40 + row)
        inputs = [random_input(rng) if rng.random() < 0.7 else None for _ in range(3)]
        outputs = model.step(inputs, state)
        for row in range(3):
            given_input, output = inputs[row], outputs[row]
            assert (given_input is None) == (output is None)
            if given_input is not None and output is not None:
                single = alone[row].step(given_input)
                assert (single.hear, single.say, single.speaking) == (output.hear, output.say, output.speaking)
                np.testing.assert_allclose(single.audio, output.audio, atol=2e-4)


def test_the_grammar_bounds_a_turn(model: Microturn) -> None:
    """However eager the network is, a turn has at most four tokens a lane and one act."""
    network = model.network
    kept = network.lanes.control.bias.data.clone()
    network.lanes.control.bias.data.fill_(-100.0)
    try:
        state = model.initial_state(1)
        output = model.step([TurnInput(audio=np.zeros(3200, np.float32))], state)[0]
    finally:
        network.lanes.control.bias.data.copy_(kept)
    assert output is not None
    text_tokens = int(state.backbone.num_text_R[0])
    assert text_tokens <= MAX_HEAR_TOKENS + MAX_SAY_TOKENS + 1
    assert len(model.tokenizer.encode(output.hear)) <= text_tokens


CHOICES = {
    "one word of many": ({"hear": 0.6, "say": 0.0, "listen": 0.35, "speak": 0.05}, "hear"),
    "silence is likelier than a word heard": ({"hear": 0.45, "say": 0.0, "listen": 0.4, "speak": 0.15}, "listen"),
    "nothing heard, but something to say": ({"hear": 0.4, "say": 0.35, "listen": 0.15, "speak": 0.1}, "say"),
    "silence is likelier than a word said": ({"hear": 0.4, "say": 0.25, "listen": 0.3, "speak": 0.05}, "listen"),
    "going on to speak": ({"hear": 0.1, "say": 0.1, "listen": 0.3, "speak": 0.5}, "speak"),
}


@pytest.mark.parametrize(("shares", "expected"), CHOICES.values(), ids=CHOICES.keys())
def test_a_word_is_chosen_when_it_is_likelier_than_none(
    model: Microturn, shares: dict[str, float], expected: str
) -> None:
    """A lane's share counts as a whole, also where no single word of it is the likeliest output. What training has
    learnt of words to be said is three times their share."""
    outputs = OutputVocabulary(model.tokenizer.vocab_size)
    places = {"hear": 3, "say": outputs.say + 7, "listen": outputs.listen, "speak": outputs.speak}
    probability = torch.full((1, outputs.size), 1e-9)
    probability[0, outputs.listen], probability[0, outputs.speak] = shares["listen"], shares["speak"]
    for lane in ("hear", "say"):
        probability[0, places[lane] : places[lane] + 10] = shares[lane] * 0.09
        probability[0, places[lane]] = shares[lane] * 0.19
    probability[0, outputs.say : outputs.act] *= SAY_WEIGHT
    assert model._choose(probability.log()).tolist() == [places[expected]]


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        (TurnInput(audio=np.zeros(100, np.float32)), "shape"),
        (TurnInput(audio=np.zeros(3200, np.float64)), "float64"),
        (TurnInput(audio=np.full(3200, np.nan, np.float32)), "not a number"),
        (TurnInput(audio=None, frame=np.zeros((0, 5, 3), np.uint8)), "5x0"),
        (TurnInput(audio=None, frame=np.zeros((5, 5), np.uint8)), "expected uint8"),
        (TurnInput(audio=None, texts=(TextIn(TextSource.TYPED, "red " * 600),)), "600 tokens"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(model: Microturn, bad: TurnInput, cause: str) -> None:
    rng = np.random.default_rng(2)
    inputs = [random_input(rng) for _ in range(6)]
    plain, disturbed = Session.open(model), Session.open(model)
    for one in inputs:
        with pytest.raises(InputError, match=f"turn {disturbed.turn}: .*{cause}"):
            disturbed.step(bad)
        assert same(plain.step(one), disturbed.step(one))


def test_long_text_goes_in_by_parts(model: Microturn) -> None:
    """More tokens than one forward pass takes: all of them arrive."""
    state = model.initial_state(1)
    text = TextIn(TextSource.INSTRUCTIONS, "red blue " * 100)
    model.step([TurnInput(audio=None, texts=(text,))], state)
    assert int(state.backbone.num_text_R[0]) >= 200


@pytest.fixture
def folder(model: Microturn, tmp_path: Path) -> Path:
    save(tmp_path / "w", model.config, model.network.state_dict(), model.vocoder, model.tokenizer)
    return tmp_path / "w"


def test_saved_weights_load_and_run(model: Microturn, folder: Path) -> None:
    loaded = load(folder)
    assert loaded.config == model.config
    wanted = model.network.state_dict()
    for name, value in loaded.network.state_dict().items():
        torch.testing.assert_close(value, wanted[name], atol=2e-3, rtol=2e-3)
    output = Session.open(loaded).step(TurnInput(audio=np.zeros(3200, np.float32)))
    assert output.turn == 0 and output.audio.shape == (3200,)


def test_large_weights_are_split(model: Microturn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_PART_BYTES", 100_000)
    save(tmp_path, model.config, model.network.state_dict(), model.vocoder, model.tokenizer)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    load(tmp_path)
    (tmp_path / "model-02.safetensors").unlink()
    with pytest.raises(WeightsError, match="a part is missing"):
        load(tmp_path)


def test_damaged_weights_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere: neither"):
        load("nowhere")
    file = folder / "model-01.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="model-01.safetensors: damaged"):
        load(folder)
    file.unlink()
    with pytest.raises(WeightsError, match=r"model-\*.safetensors is missing"):
        load(folder)


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    other = ModelConfig.of_size(2, vocab_size=default_tokenizer().vocab_size)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model": other.to_dict()}))
    with pytest.raises(WeightsError, match="of another"):
        load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="config.json: not a model configuration"):
        load(folder)


def test_weights_that_are_not_numbers_are_refused(folder: Path) -> None:
    file = folder / "model-01.safetensors"
    tensors = load_file(file)
    tensors["lanes.hear_bias"][3] = float("nan")
    save_file(tensors, file)
    with pytest.raises(WeightsError, match="lanes.hear_bias"):
        load(folder)
