from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...contracts.parts import Progress, Schedule
from .cosine_decay import CosineDecay


class Scheduled(nn.Module):
    """A number that goes from `start` to `final` over the training: for an option of any part.

    It computes like a number: `self.margin - scores` uses its value at this step, a tensor without dimensions, and
    `float(self.margin)` is that value as a number. It is an `nn.Module`, saved with the part that has it, and
    `Pipeline.on_step` moves it on. A part that is no module calls `at(progress)`, as `Momentum` does.

    >>> import crl_core as crl
    >>> score = crl.Cosine(crl.Scheduled(0.5, 0.1))
    >>> [round(score.temperature.at(crl.Progress(step, 100, 0, 1)), 3) for step in (0, 50, 100)]
    [0.5, 0.3, 0.1]

    Args:
        start: before the first step.
        final: where the shape has come down to 0.
        shape: a schedule, the factor of their difference; None stands for half a cosine over the whole run.
    """

    now: Tensor

    def __init__(self, start: float, final: float, shape: Schedule | None = None) -> None:
        super().__init__()
        self.start, self.final, self.shape = start, final, shape
        self.register_buffer("now", torch.tensor(float(start)))

    def at(self, progress: Progress) -> float:
        """The number at this moment of the training."""
        shape = CosineDecay() if self.shape is None else self.shape
        return self.final + (self.start - self.final) * shape(progress)

    forward = at

    def on_step(self, progress: Progress) -> None:
        self.now.fill_(self.at(progress))

    def extra_repr(self) -> str:
        return f"{self.start} to {self.final}"

    # -- as a number ---------------------------------------------------------------------------

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = {name: _number(value) for name, value in (kwargs or {}).items()}
        return function(*(_number(value) for value in args), **given)

    def __float__(self) -> float:
        return float(self.now)

    def __neg__(self) -> Tensor:
        return -self.now

    def __add__(self, other: Any) -> Any:
        return self.now + _number(other)

    def __radd__(self, other: Any) -> Any:
        return other + self.now

    def __sub__(self, other: Any) -> Any:
        return self.now - _number(other)

    def __rsub__(self, other: Any) -> Any:
        return other - self.now

    def __mul__(self, other: Any) -> Any:
        return self.now * _number(other)

    def __rmul__(self, other: Any) -> Any:
        return other * self.now

    def __truediv__(self, other: Any) -> Any:
        return self.now / _number(other)

    def __rtruediv__(self, other: Any) -> Any:
        return other / self.now

    def __pow__(self, other: Any) -> Any:
        return self.now ** _number(other)

    def __rpow__(self, other: Any) -> Any:
        return other**self.now

    def __lt__(self, other: Any) -> Any:
        return self.now < _number(other)

    def __le__(self, other: Any) -> Any:
        return self.now <= _number(other)

    def __gt__(self, other: Any) -> Any:
        return self.now > _number(other)

    def __ge__(self, other: Any) -> Any:
        return self.now >= _number(other)


def _number(value: Any) -> Any:
    return value.now if isinstance(value, Scheduled) else value


def ends(value: float | Scheduled) -> tuple[float, ...]:
    """The numbers that an option has to be checked for: both ends of a schedule."""
    return (value.start, value.final) if isinstance(value, Scheduled) else (value,)
