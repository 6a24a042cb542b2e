"""Distributions as an installer would leave them, in a folder that a test may put on the path."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import crl_core as crl
from crl_core.registry import hooks, kernels, making, plugins

LOSS = """
from torch import Tensor, nn


class Loss(nn.Module):
    takes = "scores"

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, scores) -> Tensor:
        return scores.negative.logsumexp() + self.margin
"""


def distribution(
    folder: Path,
    name: str,
    parts: Mapping[str, Mapping[str, str]],
    *,
    version: str = "1.0",
    requires: Iterable[str] = (),
    modules: Mapping[str, str] | None = None,
) -> Path:
    """Writes an installed distribution into `folder`.

    Args:
        parts: by entry point group, the targets by name: `{"crl.loss": {"decoupled": "acme:Loss"}}`.
        requires: its requirements, as in Requires-Dist.
        modules: the code by dotted name: `{"acme.hooks": "…"}`; packages above are made empty.

    Returns:
        Its metadata folder.
    """
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    described = ["Description-Content-Type: text/markdown", "", *["A line of the README, as most have."] * 100]
    lines = [*head, *(f"Requires-Dist: {text}" for text in requires), *described]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    lines = [f"[{group}]\n" + "".join(f"{key} = {target}\n" for key, target in parts[group].items()) for group in parts]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (info / "INSTALLER").write_text("a test\n")
    for dotted, code in (modules or {}).items():
        write_module(folder, dotted, code)
    return info


def write_module(folder: Path, dotted: str, code: str) -> None:
    """One module, in packages that are empty unless they are written too."""
    *packages, last = dotted.split(".")
    for package in packages:
        folder /= package
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").touch()
    (folder / f"{last}.py").write_text(textwrap.dedent(code))


def many(folder: Path, distributions: int, parts: int) -> None:
    """So many plugins with so many parts each, none of which can be imported."""
    groups = [f"crl.{kind}" for kind in plugins.KINDS]
    for i in range(distributions):
        points: dict[str, dict[str, str]] = {}
        for j in range(parts):
            points.setdefault(groups[j % len(groups)], {})[f"part-{i}-{j}"] = f"crl_many_{i}.part_{j}:Part"
        distribution(folder, f"crl-many-{i}", points, requires=("crl-core>=0.2,<0.3", "numpy>=1.20"))


def forget() -> None:
    """What the registry remembers of the installed distributions, as in a new process."""
    crl.refresh()
    hooks.listeners.cache_clear()
    kernels._all_kernels.cache_clear()


@contextmanager
def fresh_registry(folder: Path | None = None) -> Iterator[None]:
    """The registry as in a new process, with `folder` on the path; afterwards all is as it was."""
    path, remembered = list(sys.path), [(table, dict(table)) for table in (plugins._local, making._opened)]
    if folder is not None:
        sys.path.insert(0, str(folder))
    forget()
    try:
        yield
    finally:
        for table, before in remembered:
            table.clear()
            table.update(before)  # type: ignore[arg-type]
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if folder is not None and (getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
                del sys.modules[name]
        forget()
