"""Compiled loops for the few tokens of a turn, and what they are made of: functions, products, norms.

A turn is thousands of small operations on one to eight rows, and PyTorch takes longer to start each of them than to do
it. Here a whole stack is one call. A row's numbers come from the same instructions in the same order whatever the other
rows are, so a session has the same bits in any company (``tests/parity``), which no matrix library promises.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

# Shapes: N tokens (of all rows), I inputs, O outputs, D width.

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

ROWS_AT_ONCE = 4
"""A product reads its weights once for so many rows; there are always a multiple of them (``room``)."""
ROWS_IN_CACHE = 32
EPS = np.float32(1e-6)
ZERO, ONE, HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
NEVER = np.float32(-1e30)

log = logging.getLogger(__name__)

# Compiled code is kept on disk. Numba looks whether a function's own file has changed, and not at what it calls.
_SOURCES = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))


def cache_folder() -> Path:
    """A folder that can be written to: among the user's own, or else among temporary files."""
    version = sha256(_SOURCES).hexdigest()[:16]
    try:
        return _writable(Path.home() / ".cache" / "microturn" / "kernels" / version)
    except (OSError, RuntimeError) as error:  # there may be no home at all
        cause = error
    folder = Path(tempfile.gettempdir()) / f"microturn-kernels-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        # What lies here is run: nobody else may have put it there.
        if not S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(f"{folder} is not this user's alone")
        _writable(folder / version)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="microturn-kernels-"))
    log.warning("compiled code is kept in %s (%s)", folder, cause)
    return folder / version


def _writable(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return folder


vars(numba.config)["CACHE_DIR"] = str(cache_folder())

Arrays = TypeVar("Arrays", bound=tuple[Floats, ...])


def stacked(layers: list[Arrays]) -> Arrays:
    """The arrays of several layers, those of one name in one."""
    return type(layers[0])(*(np.stack(parts) for parts in zip(*layers, strict=True)))


def kernel(function: Function) -> Function:
    """Compile; sums may be taken in another order than written, but in the same one for every row."""
    return _compiled(function, {"reassoc", "contract", "nsz"})


def exact_kernel(function: Function) -> Function:
    """Compile without freedom in the order of sums."""
    return _compiled(function, {"contract"})


def _compiled(function: Function, freedom: set[str]) -> Function:
    decorate: Callable[[Function], Any] = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=freedom)
    compiled: Function = decorate(function)
    return compiled


def _bits_as_float(typing_context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], ir.FloatType())

    return types.float32(types.int32), generate


as_float: Any = intrinsic(_bits_as_float)
"""The float32 that 32 bits are."""


@exact_kernel
def exp(x: np.float32) -> np.float32:
    """e to the x in single precision (Cephes' polynomial), in vectors where it is in a loop."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    whole = np.floor(x * np.float32(1.44269504) + HALF)
    rest = x - whole * np.float32(0.693359375) + whole * np.float32(2.12194440e-4)
    poly = np.float32(1.9875691500e-4) * rest + np.float32(1.3981999507e-3)
    poly = poly * rest + np.float32(8.3334519073e-3)
    poly = poly * rest + np.float32(4.1665795894e-2)
    poly = poly * rest + np.float32(1.6666665459e-1)
    poly = poly * rest + np.float32(5.0000001201e-1)
    bits = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    result: np.float32 = (poly * rest * rest + rest + ONE) * as_float(bits)
    return result


@exact_kernel
def silu(x: np.float32) -> np.float32:
    return x / (ONE + exp(-x))


@exact_kernel
def gelu(x: np.float32) -> np.float32:
    """With the error function of Abramowitz & Stegun, 7.1.26 (1.5e-7)."""
    size = abs(x) * np.float32(0.70710678)
    t = ONE / (ONE + np.float32(0.3275911) * size)
    poly = np.float32(1.061405429) * t + np.float32(-1.453152027)
    poly = poly * t + np.float32(1.421413741)
    poly = poly * t + np.float32(-0.284496736)
    poly = poly * t + np.float32(0.254829592)
    beyond = poly * t * exp(-size * size)
    return x * (ONE - HALF * beyond) if x >= ZERO else x * HALF * beyond


@kernel
def room(rows: int, width: int) -> Floats:
    """Zeros for ``rows`` and as many more as products want."""
    return np.zeros(((rows + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE * ROWS_AT_ONCE, width), np.float32)


@kernel
def product(x_NI: Floats, weight_OI: Floats, y_NO: Floats) -> None:
    """``y = x weight^T``; N is a multiple of four."""
    rows, inputs = x_NI.shape
    for first in range(0, rows, ROWS_IN_CACHE):
        last = min(rows, first + ROWS_IN_CACHE)
        for o in range(weight_OI.shape[0]):
            w = weight_OI[o]
            for row in range(first, last, ROWS_AT_ONCE):
                x0, x1, x2, x3 = x_NI[row], x_NI[row + 1], x_NI[row + 2], x_NI[row + 3]
                y0, y1, y2, y3 = ZERO, ZERO, ZERO, ZERO
                for i in range(inputs):
                    y0 += w[i] * x0[i]
                    y1 += w[i] * x1[i]
                    y2 += w[i] * x2[i]
                    y3 += w[i] * x3[i]
                y_NO[row, o], y_NO[row + 1, o], y_NO[row + 2, o], y_NO[row + 3, o] = y0, y1, y2, y3


@kernel
def linear(x_NI: Floats, weight_OI: Floats, bias_O: Floats) -> Floats:
    """``x weight^T + bias`` of any number of rows."""
    x = room(x_NI.shape[0], x_NI.shape[1])
    x[: x_NI.shape[0]] = x_NI
    y = np.empty((x.shape[0], weight_OI.shape[0]), np.float32)
    product(x, weight_OI, y)
    for row in range(x_NI.shape[0]):
        for o in range(weight_OI.shape[0]):
            y[row, o] += bias_O[o]
    return y[: x_NI.shape[0]]


@kernel
def scaled(x: Floats, weight: Floats, y: Floats) -> None:
    """RMSNorm of one vector; ``weight`` has the width's root in it."""
    square = 0.0
    for i in range(x.shape[0]):
        square += np.float64(x[i]) * np.float64(x[i])
    factor = np.float32(1.0 / (np.sqrt(square) + EPS))
    for i in range(x.shape[0]):
        y[i] = x[i] * factor * weight[i]


@kernel
def added(x_ND: Floats, inputs_NI: Floats, weight_DI: Floats) -> None:
    """``x += inputs weight^T``."""
    y = np.empty_like(x_ND)
    product(inputs_NI, weight_DI, y)
    for row in range(x_ND.shape[0]):
        for i in range(x_ND.shape[1]):
            x_ND[row, i] += y[row, i]


@kernel
def gated(x_ND: Floats, gate_up_OD: Floats) -> Floats:
    """``silu(x gate^T) * (x up^T)``."""
    inner = gate_up_OD.shape[0] // 2
    both = np.empty((x_ND.shape[0], 2 * inner), np.float32)
    product(x_ND, gate_up_OD, both)
    y = np.empty((x_ND.shape[0], inner), np.float32)
    for row in range(x_ND.shape[0]):
        for i in range(inner):
            y[row, i] = silu(both[row, i]) * both[row, inner + i]
    return y


@kernel
def softmax(scores: Floats) -> None:
    """Of one vector, in place."""
    largest = NEVER
    for i in range(scores.shape[0]):
        largest = max(largest, scores[i])
    total = ZERO
    for i in range(scores.shape[0]):
        scores[i] = exp(scores[i] - largest) if scores[i] > NEVER else ZERO
        total += scores[i]
    for i in range(scores.shape[0]):
        scores[i] /= total
