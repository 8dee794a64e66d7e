"""Weights as a folder: ``config.json``, ``model-*.safetensors``, ``vocoder.safetensors``, ``tokenizer.json``.

``load`` takes the name of packaged weights, such a folder, or a repository of the Hugging Face hub. Large tensors are
stored in half precision and computed in single.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from microturn.errors import InputError, WeightsError
from microturn.language.tokenizer import TextTokenizer
from microturn.model.config import ModelConfig
from microturn.model.microturn import Microturn
from microturn.model.network import Network
from microturn.model.vocoder import Vocoder, VocoderConfig

PACKAGED = Path(__file__).parent.parent / "weights"
_FILES = ("config.json", "vocoder.safetensors", "tokenizer.json")
_PARTS = "model-*.safetensors"
MAX_PART_BYTES = 15 * 2**20
"""Tensors are spread over files of at most this size (a single larger tensor makes a larger file)."""


def load(name: str | Path = "nano", *, device: str = "cpu") -> Microturn:
    """Load weights, ready to run.

    ``name`` is a name of packaged weights (``"nano"``), a folder, or a hub repository (``"owner/name"``). Raises
    ``WeightsError`` naming what is missing, damaged or of another size.
    """
    folder = _find(name)
    for file in _FILES:
        if not (folder / file).is_file():
            raise WeightsError(f"{folder}: {file} is missing")
    config, vocoder_config = _read_config(folder / "config.json")
    tokenizer = TextTokenizer.from_file(folder / "tokenizer.json")
    if tokenizer.vocab_size != config.vocab_size:
        raise WeightsError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} tokens, the configuration says {config.vocab_size}"
        )
    network, vocoder = Network(config), Vocoder(vocoder_config)
    parts = sorted(folder.glob(_PARTS))
    if not parts:
        raise WeightsError(f"{folder}: {_PARTS} is missing")
    _fill(network, parts)
    _fill(vocoder, [folder / "vocoder.safetensors"])
    return Microturn(network.to(device), vocoder.to(device), tokenizer)


def save(
    folder: Path, config: ModelConfig, network: dict[str, Tensor], vocoder: Vocoder, tokenizer: TextTokenizer
) -> None:
    """Write a folder that ``load`` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(_PARTS):
        old.unlink()
    for number, part in enumerate(_split(_to_half(network)), 1):
        save_file(part, folder / f"model-{number:02d}.safetensors")
    save_file(_to_half(vocoder.state_dict()), folder / "vocoder.safetensors")
    (folder / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
    described = {"model": config.to_dict(), "vocoder": asdict(vocoder.config)}
    (folder / "config.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def fingerprint(model: Microturn) -> str:
    """A short name for exactly these weights: models of the same fingerprint go on with each other's sessions."""
    digest = hashlib.blake2b(json.dumps(model.config.to_dict(), sort_keys=True).encode(), digest_size=8)
    digest.update(model.tokenizer.to_json().encode())
    for part in (model.network, model.weights.vocoder):
        for name, tensor in part.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def _find(name: str | Path) -> Path:
    packaged, path = PACKAGED / str(name), Path(name)
    if packaged.is_dir():
        return packaged
    if path.exists():
        if not path.is_dir():
            raise WeightsError(f"{path}: not a folder of weights")
        return path
    if str(name).count("/") == 1 and not str(name).startswith((".", "/")):
        return _download(str(name))
    raise WeightsError(f"{name}: neither packaged weights nor a folder")


def _download(repository: str) -> Path:
    # Imported here: most runs never need the hub, and its import takes longer than loading the weights.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(snapshot_download(repository, allow_patterns=[*_FILES, _PARTS]))
    except (OSError, HfHubHTTPError, ValueError) as error:
        raise WeightsError(f"{repository}: cannot be had from the hub ({str(error).splitlines()[0]})") from error


def _read_config(path: Path) -> tuple[ModelConfig, VocoderConfig]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return ModelConfig.from_dict(values["model"]), VocoderConfig(**values["vocoder"])
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise WeightsError(f"{path}: not a model configuration ({error})") from error


def _fill(module: nn.Module, paths: list[Path]) -> None:
    tensors: dict[str, Tensor] = {}
    for path in paths:
        try:
            tensors.update(load_file(path))
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path}: damaged ({error})") from error
    path = paths[0] if len(paths) == 1 else paths[0].parent / _PARTS
    wanted = module.state_dict()
    if tensors.keys() != wanted.keys():
        odd = sorted(tensors.keys() ^ wanted.keys())[0]
        raise WeightsError(f"{path}: of another model, or a part is missing (tensor {odd})")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise WeightsError(
                f"{path}: of another size ({name} is {tuple(tensor.shape)}, expected {tuple(wanted[name].shape)})"
            )
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: {name} has values that are not numbers")
    module.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in tensors.items()})


def _split(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Tensors in their order, in parts of at most ``MAX_PART_BYTES``."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        num_bytes = tensor.numel() * tensor.element_size()
        if parts[-1] and size + num_bytes > MAX_PART_BYTES:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += num_bytes
    return parts


def _to_half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in half precision, small tensors as they are."""
    return {
        name: (value.half() if value.ndim >= 2 else value).detach().contiguous().cpu()
        for name, value in tensors.items()
    }
