"""A recipe: a published method as a pipeline, with a source and a training that suit each other.

A recipe part (kind `recipe`) is a function of annotated options, all with defaults, that returns a
`Recipe`. Its defaults are its paper's. Its docstring has a line `Paper: …`, and says what it was checked against.
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
