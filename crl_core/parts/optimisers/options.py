"""What several optimisers ask of their options."""

from __future__ import annotations

from typing import Any


def below_one(instance: Any, field: Any, value: float) -> None:
    """A share that goes on from step to step: from 0 to less than 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{field.name} is from 0 to less than 1, not {value!r}")
