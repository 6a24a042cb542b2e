"""A trained pipeline as files: the spec, the weights as safetensors, and the encoder as ONNX."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .data.view import View, Views
from .engine import checkpoint, folder
from .errors import CrlError, SpecError, did_you_mean
from .method.pipeline import Pipeline
from .spec import spec, upgrade
from .spec.assembly import assemble, describe

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
    folder.refuse_local(data)
    # Each tensor is copied: a part at two places has the same tensors twice, which the format doesn't allow.
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in pipeline.state_dict().items()}
    try:
        path.mkdir(parents=True, exist_ok=True)
        folder.write_files(path, pipeline)
        spec.write({"schema": spec.SCHEMA, "requires": folder.requirements(data), "pipeline": data}, path / folder.SPEC)
        save_file(state, path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CrlError(f"can't write to {path}: {error}") from None
    (path / WEIGHTS).chmod(0o644)


def load(path: Path | str) -> Pipeline:
    """The trained pipeline from a folder of `save`, `crl export` or a run, in evaluation mode.

    Raises:
        CrlError: a file is missing or broken, or the distribution of a part isn't installed.
    """
    path = Path(path)
    data = folder.open_spec(path)
    if "pipeline" not in data:
        raise SpecError(f"{path}: the spec has no pipeline")
    pipeline = assemble(data["pipeline"])
    folder.load_files(path, pipeline)
    state = _weights(path, pipeline)
    try:
        pipeline.load_state_dict(state)
    except (CrlError, RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise CrlError(f"the weights in {path} don't fit its spec: {error}") from None
    return pipeline.eval()


def _weights(path: Path, pipeline: Pipeline) -> dict[str, Tensor]:
    if (path / WEIGHTS).exists():
        try:
            return upgrade.weights(load_file(path / WEIGHTS), pipeline)
        except (SafetensorError, OSError) as error:
            raise CrlError(f"{path / WEIGHTS} is broken: {error}") from None
    if (path / folder.CHECKPOINT).exists():
        found = upgrade.checkpoint(checkpoint.load(path / folder.CHECKPOINT), path / folder.CHECKPOINT, pipeline)
        return dict(found["pipeline"])
    raise CrlError(f"{path} holds no weights: neither {WEIGHTS} nor {folder.CHECKPOINT}")


class _Represent(nn.Module):
    """From data to representations, as a module whose arguments are the tensors that `inputs` names."""

    def __init__(self, pipeline: Pipeline, branch: str, views: Mapping[str, View], inputs: Mapping[str, Place]) -> None:
        super().__init__()
        self.pipeline, self.branch, self.views, self.inputs = pipeline, branch, views, inputs

    def forward(self, *tensors: Tensor) -> Tensor:
        given = dict(zip(self.inputs.values(), tensors, strict=True))
        made = {}
        for name, view in self.views.items():
            data = given[name, None] if (name, None) in given else {k: given[name, k] for k in view.data}
            # By shape: `len` would make the number of items a constant.
            made[name] = View(data, {"instance": torch.arange(tensors[0].shape[0])})
        first = next(iter(made.values()))
        if len(made) == 1:  # one view for all
            made = dict.fromkeys(self.pipeline.views, first)
        return self.pipeline.representation(made, self.branch)


Place: TypeAlias = tuple[str, str | None]  # a view, and the name of a tensor in its data, if the data are a mapping


def _inputs(views: Mapping[str, View]) -> dict[str, Place]:
    """The inputs of an ONNX graph for these views, by name: `data`, or the names of views or of entries of mappings.

    Raises:
        CrlError: the data are not tensors.
    """
    places: list[Place] = []
    for name, view in views.items():
        if isinstance(view.data, Tensor):
            places.append((name, None))
        elif isinstance(view.data, Mapping) and all(isinstance(value, Tensor) for value in view.data.values()):
            places += [(name, key) for key in view.data]
        else:
            raise CrlError(f"an encoder of {type(view.data).__name__} can't be written as ONNX")
    if len(places) == 1:
        return {"data": places[0]}
    return {(key or name) if len(views) == 1 else f"{name}.{key}" if key else name: (name, key) for name, key in places}


def to_onnx(pipeline: Pipeline, example: View | Views, path: Path | str, branch: str | None = None) -> float:
    """Writes the encoder of a branch as ONNX, for any number of items, and runs it once.

    Args:
        example: a clean view of a few items to trace the encoder with, or several views by name, from `pipeline.clean`.

    Returns:
        The largest difference between the representations of ONNX Runtime and of torch for the example.

    Raises:
        CrlError: the example's data are not tensors, or the encoder doesn't take them; there is no such branch; or
            the packages for ONNX are missing.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise CrlError(f"{error.name} is missing. Run: pip install 'crl-core[onnx]'") from None
    if branch is not None and branch not in pipeline.branches:
        raise CrlError(f"there is no branch {branch!r}.{did_you_mean(branch, pipeline.branches)}")
    name = branch or next(iter(pipeline.branches))
    every = dict.fromkeys(pipeline.views, example) if isinstance(example, View) else example
    read = {view: _two(every[view].to("cpu")) for view in pipeline.views_of(name)}
    if all(every[view].data is every[pipeline.views_of(name)[0]].data for view in read):
        read = dict(list(read.items())[:1])
    inputs = _inputs(read)
    module = (
        _Represent(copy.deepcopy(pipeline), name, read, inputs).eval().cpu()
    )  # a copy, so that the pipeline stays on its device
    tensors = tuple(read[view].data if key is None else read[view].data[key] for view, key in inputs.values())
    items = torch.export.Dim("items", min=1)
    with torch.no_grad():
        try:
            expected = module(*tensors)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            kind = type(next(iter(read.values())).data).__name__
            raise CrlError(f"branch {name!r} can't encode the example, whose data is a {kind}: {error}") from error
        program = torch.onnx.export(
            module,
            tensors,
            input_names=list(inputs),
            output_names=["representation"],
            dynamic_shapes=(tuple({0: items} for _ in tensors),),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=False)
    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    fed = {one: tensor.numpy() for one, tensor in zip(inputs, tensors, strict=True)}
    found = torch.from_numpy(session.run(None, fed)[0])
    return float((found - expected).abs().max())


def _two(view: View) -> View:
    """The view, with at least two items: with a single one, the number of items would become a constant."""
    return View.join([view, view]) if len(view) == 1 else view
