"""Finds tensors that a part makes without a device, also on a machine without an accelerator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .outcome import Fails
from .trees import mapped, tensors_in

_MAKERS = frozenset(
    {
        torch.arange, torch.as_tensor, torch.bernoulli, torch.empty, torch.eye, torch.from_numpy, torch.full,
        torch.linspace, torch.logspace, torch.normal, torch.ones, torch.rand, torch.randint, torch.randn,
        torch.randperm, torch.tensor, torch.zeros,
    }
)  # fmt: skip
# Functions that move a tensor to the device of another one, or that take an index on the CPU.
_BRINGS = frozenset({Tensor.to, Tensor.copy_, Tensor.type_as, Tensor.__getitem__, Tensor.__setitem__})


class Elsewhere(Tensor):
    """A tensor that was made without a device: it is on the CPU, even if the data are not."""

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], kinds: Iterable[type], arguments: Any = (), options: Any = None
    ) -> Any:
        found = super().__torch_function__(function, kinds, arguments, options)  # type: ignore[no-untyped-call]
        tensors = list(tensors_in([arguments, options or {}]))
        at_home = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere)]
        if function in _BRINGS and (at_home or _names_a_device([*arguments[1:], *(options or {}).values()])):
            return mapped(at_data, found)
        # torch allows a single number on the CPU.
        if at_home and any(isinstance(tensor, Elsewhere) and tensor.dim() for tensor in tensors):
            raise Fails(
                f"{getattr(function, '__name__', 'a function')} gets a tensor that was made without a device: make it "
                f"with device=data.device"
            )
        return mapped(at_data, found) if at_home else found


def _names_a_device(arguments: list[Any]) -> bool:
    return any(isinstance(argument, (str, torch.device)) for argument in arguments)


def at_data(tensor: Tensor) -> Tensor:
    """The same tensor as an ordinary one."""
    return tensor.as_subclass(Tensor)


class UnsaidIsElsewhere(TorchFunctionMode):
    """Within this mode, a tensor that is made without a device is `Elsewhere`."""

    def __torch_function__(
        self, function: Callable[..., Any], kinds: Any, arguments: Any = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        found = function(*arguments, **(options or {}))
        made = function in _MAKERS and (options or {}).get("device") is None
        from_data = any(not isinstance(tensor, Elsewhere) for tensor in tensors_in([arguments]))
        return found.as_subclass(Elsewhere) if made and not from_data else found
