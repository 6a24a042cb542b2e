"""A recipe: a published method as a pipeline, with a source and a training.

A part of kind `recipe` is a function of annotated options, all with defaults, that returns a
`Recipe`. The defaults are those of the paper. The docstring has a line `Paper: …`, and says how it was checked.
"""

from __future__ import annotations

import attrs

from ..contracts.parts import Source
from ..engine.training import Training
from ..method.pipeline import Pipeline


@attrs.frozen(eq=False)
class Recipe:
    pipeline: Pipeline
    source: Source
    training: Training | list[Training]
    """Several are stages, one after the other."""
