"""Networks of other people's in ONNX files, run on one thread by ``onnxruntime``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def inference_session(model: bytes, further_output: str) -> InferenceSession:
    """The network of an ONNX file, with a tensor inside of its graph as its last output."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return InferenceSession(model + _output(further_output), options, providers=["CPUExecutionProvider"])


def _output(name: str) -> bytes:
    """What makes a tensor of a graph an output when it is appended to an ONNX file.

    Protocol buffers that follow each other are merged, and lists in them joined: this one is a model whose graph (field
    7) has only an output (field 12) with only a name (field 1), all shorter than 128 bytes.
    """
    encoded = name.encode()
    for field in (1, 12, 7):
        encoded = bytes([field << 3 | 2, len(encoded)]) + encoded
    return encoded
