"""A trained pipeline as files: weights as safetensors beside the spec, and the encoder as ONNX."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import spec, upgrade
from .assembly import assemble, describe, refuse_local, requirements
from .engine import checkpoint, folder
from .errors import CrlError, did_you_mean
from .pipeline import Pipeline, averaged
from .protocols import View

WEIGHTS = "model.safetensors"
GRAPH = "encoder.onnx"


def save(pipeline: Pipeline, path: Path | str) -> None:
    """Writes `spec.toml` and `model.safetensors` into the folder `path`; `load` reads them back.

    Raises:
        CrlError: a part is not registered by an installed distribution, or the folder holds a run.
    """
    path = Path(path)
    if (path / folder.CHECKPOINT).exists():
        raise CrlError(f"{path} holds a run, whose spec would be overwritten: choose another folder")
    data = spec.plain(describe(pipeline))
    refuse_local(data)
    # Each tensor with memory of its own: parts that stand at two places share it, which the format doesn't know.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in pipeline.state_dict().items()}
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder.write_files(path, pipeline)
        spec.write({"schema": spec.SCHEMA, "requires": requirements(data), "pipeline": data}, path / folder.SPEC)
        save_file(state, path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CrlError(f"can't write to {path}: {error}") from None
    (path / WEIGHTS).chmod(0o644)


def load(path: Path | str) -> Pipeline:
    """The trained pipeline in a folder that `save`, `crl export` or a run has written, in evaluation mode.

    Raises:
        CrlError: something is missing or broken, or a part's distribution isn't installed.
    """
    path = Path(path)
    data = folder.open_spec(path)
    if "pipeline" not in data:
        raise spec.SpecError(f"{path}: the spec has no pipeline")
    pipeline = assemble(data["pipeline"])
    folder.load_files(path, pipeline)
    state = _weights(path)
    try:
        pipeline.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise CrlError(f"the weights in {path} don't fit its spec: {error}") from None
    return pipeline.eval()


def _weights(path: Path) -> dict[str, Tensor]:
    if (path / WEIGHTS).exists():
        try:
            return upgrade.weights(load_file(path / WEIGHTS))
        except (SafetensorError, OSError) as error:
            raise CrlError(f"{path / WEIGHTS} is broken: {error}") from None
    if (path / folder.CHECKPOINT).exists():
        found = upgrade.checkpoint(checkpoint.load(path / folder.CHECKPOINT), path / folder.CHECKPOINT)
        return dict(found["pipeline"])
    raise CrlError(f"{path} holds no weights: neither {WEIGHTS} nor {folder.CHECKPOINT}")


class _Represent(nn.Module):
    """The way from data to representations, as a module of its own."""

    def __init__(self, pipeline: Pipeline, branch: str | None) -> None:
        super().__init__()
        self.pipeline, self.branch = pipeline, branch or next(iter(pipeline.branches))

    def forward(self, data: Tensor) -> Tensor:
        return averaged(self.pipeline.branches[self.branch].representation(data, self.pipeline.branches))


def to_onnx(pipeline: Pipeline, example: View, path: Path | str, branch: str | None = None) -> float:
    """Writes a branch's encoder, with any number of items, and runs it once.

    Args:
        example: a clean view of a few items, to trace with.

    Returns:
        The largest difference between what ONNX Runtime and torch make of the example.

    Raises:
        CrlError: the encoder's data are no tensor, there is no such branch, or the packages for ONNX are missing.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise CrlError(f"{error.name} is missing. Run: pip install 'crl-core[onnx]'") from None
    if not isinstance(example.data, Tensor):
        raise CrlError(f"an encoder of {type(example.data).__name__} can't be written as ONNX")
    if branch is not None and branch not in pipeline.branches:
        raise CrlError(f"there is no branch {branch!r}.{did_you_mean(branch, pipeline.branches)}")
    module = _Represent(copy.deepcopy(pipeline), branch).eval().cpu()  # the pipeline itself stays where it is
    data = example.data.cpu()
    if len(data) == 1:
        data = data.expand(2, *data.shape[1:])  # of a single item, the number of items would become a constant
    with torch.no_grad():
        expected = module(data)
        program = torch.onnx.export(
            module,
            (data,),
            input_names=["data"],
            output_names=["representation"],
            dynamic_shapes={"data": {0: torch.export.Dim("items", min=1)}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"data": data.numpy()})[0])
    return float((found - expected).abs().max())
