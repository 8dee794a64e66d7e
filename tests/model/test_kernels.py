"""The compiled kernels against PyTorch, and the law that a row's bits are its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from microturn.media.mel import LEVELS, MEL_BANDS, TURN_FRAMES
from microturn.model.config import ModelConfig
from microturn.model.ear import CONTEXT_FRAMES, Ear
from microturn.model.flow import FlowHead
from microturn.model.kernels import basics
from microturn.model.kernels.flow import flow
from microturn.model.kernels.hear import convolved, hear
from microturn.model.kernels.read import read
from microturn.model.linear import Linear, gelu, sigmoid, silu, streams
from microturn.model.spelling import NUM_LETTERS
from tests.parity.small import random_input, small_model

CONFIG = ModelConfig.of_size(2, vocab_size=50)


@basics.kernel
def _mapped(function: int, x: basics.Floats) -> basics.Floats:
    y = np.empty_like(x)
    for i in range(x.shape[0]):
        if function == 0:
            y[i] = basics.exp(x[i])
        elif function == 1:
            y[i] = basics.silu(x[i])
        else:
            y[i] = basics.gelu(x[i])
    return y


@pytest.mark.parametrize(("number", "exact"), [(0, torch.exp), (1, F.silu), (2, F.gelu)])
def test_functions_of_single_values(number: int, exact: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = np.concatenate([np.linspace(-80, 80, 20_001), np.linspace(-6, 6, 20_001), [0.0, -1e30]]).astype(np.float32)
    if number == 0:
        assert np.isfinite(_mapped(number, np.array([1e4, -1e4], np.float32))).all(), "no overflow"
    wanted = exact(torch.from_numpy(x).double())
    torch.testing.assert_close(torch.from_numpy(_mapped(number, x)).double(), wanted, atol=3e-7, rtol=3e-7)


@pytest.mark.parametrize("function", [gelu, silu, sigmoid])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(rows=st.integers(1, 40), width=st.integers(1, 70), first=st.integers(0, 8))
def test_functions_give_a_row_the_same_bits_in_any_company(
    function: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype, rows: int, width: int, first: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(48, width, dtype=dtype) * 3
    with torch.inference_mode():
        assert torch.equal(function(x[first : first + rows]), function(x)[first : first + rows])


@pytest.mark.parametrize("num_out", [1, 3, 64])
@given(rows=st.integers(1, 40), first=st.integers(0, 8))
def test_a_product_gives_a_row_the_same_bits_in_any_company(num_out: int, rows: int, first: int) -> None:
    torch.manual_seed(0)
    linear = Linear(100, num_out)
    x = torch.randn(48, 100)
    with torch.inference_mode():
        assert streams(x)
        assert torch.equal(linear(x[first : first + rows]), linear(x)[first : first + rows])
        torch.testing.assert_close(linear(x), F.linear(x, linear.weight, linear.bias))


def test_the_ear_hears_what_it_learnt_to_hear() -> None:
    torch.manual_seed(0)
    ear = Ear(64, 16)
    levels = torch.randint(0, LEVELS, (3, CONTEXT_FRAMES + TURN_FRAMES, MEL_BANDS), dtype=torch.uint8)
    wanted = ear(levels)
    with torch.inference_mode():
        torch.testing.assert_close(ear(levels), wanted, atol=1e-5, rtol=1e-5)
        assert torch.equal(ear(levels[1:2]), ear(levels)[1:2])


@pytest.mark.parametrize("turns", [1, 3])
def test_the_flow_head_speaks_as_it_learnt_to_speak(turns: int) -> None:
    torch.manual_seed(0)
    head = FlowHead(CONFIG).eval()
    for parameter in head.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    head.letters_VL.copy_(torch.randint(NUM_LETTERS, head.letters_VL.shape))
    said = torch.randint(0, CONFIG.vocab_size, (turns, 4))
    last, noise = torch.randn(2, turns, TURN_FRAMES, MEL_BANDS)
    with torch.no_grad():
        age = torch.arange(turns).unsqueeze(1).expand(turns, 4)
        wanted = head.sample(head.condition(said, age), last, noise)
    with torch.inference_mode():
        found = head.sample(head.condition(said, age), last, noise)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
        assert torch.equal(head.sample(head.condition(said[-1:], age[-1:]), last[-1:], noise[-1:]), found[-1:])


def test_weights_that_changed_are_read_anew() -> None:
    """What kernels keep of the weights is forgotten in training."""
    torch.manual_seed(0)
    head = FlowHead(CONFIG).eval()
    said, noise = torch.zeros(1, 1, dtype=torch.int64), torch.randn(1, TURN_FRAMES, MEL_BANDS)

    def sampled() -> torch.Tensor:
        with torch.inference_mode():
            return head.sample(head.condition(said, torch.ones_like(said)), noise, noise)

    before = sampled()
    nn.init.normal_(head.out.weight)
    nn.init.normal_(head.train().blocks[0].get_parameter("up.weight"))
    head.eval()
    assert not torch.equal(before, sampled())


def test_compiled_code_has_a_place_where_nobody_has_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = basics.cache_folder()
    assert folder.parent == tmp_path / f"microturn-kernels-{os.getuid()}"
    assert folder.parent.stat().st_mode & 0o777 == 0o700 and len(caplog.records) == 1
    assert basics.cache_folder() == folder
    # Code that others may have written is not run.
    folder.parent.chmod(0o777)
    assert basics.cache_folder().parent.parent == tmp_path and basics.cache_folder() != folder


def test_no_turn_waits_for_a_compiler() -> None:
    """After ``prepare`` whatever comes in meets compiled code."""
    model = small_model()
    model.prepare()
    stacks: tuple[Any, ...] = (hear, read, flow, basics.linear, convolved)

    def compiled() -> list[int]:
        return [len(stack.signatures) for stack in stacks]

    before = compiled()
    assert min(before) > 0
    rngs = [np.random.default_rng(seed) for seed in range(2)]
    state, spoke = model.initial_state(2), 0
    for turn in range(30):
        inputs = [None if turn % 7 == row else random_input(rng) for row, rng in enumerate(rngs)]
        outputs, state = model.step(inputs, state)
        spoke += sum(getattr(output, "speaking", False) for output in outputs)
    assert spoke and compiled() == before
