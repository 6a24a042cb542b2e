"""Finds the parts with an optional method (`on_step`, `on_source`, `files`), or with a number on a schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from ..contracts.parts import Progress, Source
from ..parts.schedules.scheduled import Scheduled
from .branch import Branch
from .contrast import Contrast
from .named import NamedModules
from .sampling import ReadSource, Sampling


def parts_with(method: str, root: nn.Module, sampling: Sampling) -> Iterator[tuple[str, Any]]:
    """The parts of a pipeline that have an optional method, with the names of their places."""
    # By name: an isinstance check with a protocol takes ten times as long, and this runs in every step.
    for name, module in root.named_modules():
        if module is not root and not name.startswith("_samplers.") and hasattr(type(module), method):
            yield name, module
    outside = {f"sampler.{name}" if name else "sampler": one for name, one in sampling.samplers.items()}
    for name, part in {**outside, "reader": sampling.reader}.items():
        if hasattr(type(part), method) and (name.startswith("sampler.") or not isinstance(part, nn.Module)):
            yield name, part


def has_state(
    root: nn.Module, branches: NamedModules[Branch], contrasts: Sequence[Contrast], sampling: Sampling
) -> bool:
    """Whether anything needs `on_step`: a memory, a copy, a part that counts steps."""
    copies = any(branch.copies for branch in branches.values())
    return copies or any(parts_with("on_step", root, sampling)) or any(contrast.memories for contrast in contrasts)


def meet(source: Source, root: nn.Module, sampling: Sampling) -> None:
    """Hands the training items and their source to each part that has `on_source`."""
    reader = sampling.reader
    if reader is not None and (learn := getattr(reader, "on_source", None)) is not None:
        learn(source.items(source.splits[0]), source)
    sources = {"": source, **getattr(source, "sources", {})}
    for name, part in parts_with("on_source", root, sampling):
        if part is reader:
            continue  # it comes first: the others are handed what it has read
        own = sources.get(name.removeprefix("sampler.") if None not in sampling.samplers else "", source)
        own = own if reader is None else ReadSource(own, sampling)
        part.on_source(own.items(own.splits[0]), own)


def reschedule(progress: Progress, branches: NamedModules[Branch], sampling: Sampling) -> None:
    """Updates the scheduled numbers of parts that are no modules; in a module, a `Scheduled` updates itself."""
    updates = (branch.update for branch in branches.values())
    for part in (*sampling.samplers.values(), sampling.reader, *updates):
        for value in vars(part).values() if hasattr(part, "__dict__") and not isinstance(part, nn.Module) else ():
            if isinstance(value, Scheduled):
                value.on_step(progress)
