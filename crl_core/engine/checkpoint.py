"""The whole state of a run in one safetensors file, which is written under another name and then renamed.

Nested states (optimisers) get flat names. Values that are not tensors are JSON in the header.
Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CrlError

_TREE = "crl"


def save(state: Any, path: Path) -> None:
    """Writes nested dicts and lists of tensors, numbers, words and None."""
    tensors: dict[str, Tensor] = {}
    tree = _flatten(state, "", tensors, {})
    aside = path.with_name(path.name + ".partial")
    save_file(tensors, aside, metadata={_TREE: json.dumps(tree)})
    aside.chmod(0o644)  # safetensors makes files that only the owner can read
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)


def load(path: Path) -> Any:
    """Reads the state that `save` wrote.

    Raises:
        CrlError: the file is missing or broken, or `save` didn't write it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _restore(json.loads(header[_TREE]), tensors)
    except FileNotFoundError:
        raise CrlError(f"there is no {path}") from None
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CrlError(f"{path} is no checkpoint of crl, or it is broken: {type(error).__name__}: {error}") from None


def _flatten(value: Any, place: str, tensors: dict[str, Tensor], seen: dict[Any, str]) -> Any:
    if isinstance(value, Tensor):
        # A module at two places has the same tensors under two names.
        name = seen.setdefault((value.data_ptr() or place, value.shape, value.stride()), place)
        if name == place:
            tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        items = [[key, _flatten(inner, f"{place}/{key}", tensors, seen)] for key, inner in value.items()]
        return {"dict": items}
    if isinstance(value, (list, tuple)):
        return {"list": [_flatten(inner, f"{place}/{i}", tensors, seen) for i, inner in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise CrlError(f"{place}: a {type(value).__name__} can't be saved in a checkpoint")


def _restore(tree: Any, tensors: dict[str, Tensor]) -> Any:
    ((kind, value),) = tree.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {key: _restore(inner, tensors) for key, inner in value}
    if kind == "list":
        return [_restore(inner, tensors) for inner in value]
    return value


def random_state() -> dict[str, Tensor]:
    """The states of torch's random generators in this process."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])
