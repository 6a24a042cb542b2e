from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ..contracts.parts import Progress

if TYPE_CHECKING:
    from ..method.pipeline import Pipeline


@attrs.frozen(eq=False)
class State:
    """What a listener is told during training.

    Attributes:
        metrics: of the last logged step, and of the last epoch's end, by name.
        folder: of the run, if it has one.
    """

    pipeline: Pipeline
    progress: Progress
    metrics: dict[str, float]
    folder: Path | None
