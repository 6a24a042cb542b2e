from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ..contracts.parts import Progress

if TYPE_CHECKING:
    from ..method.pipeline import Pipeline


@attrs.frozen(eq=False)
class State:
    """The argument of the hooks that are called during training.

    Attributes:
        metrics: the metrics of the last logged step, and of the end of the last epoch, by name.
        folder: the folder of the run, if it has one.
    """

    pipeline: Pipeline
    progress: Progress
    metrics: dict[str, float]
    folder: Path | None
