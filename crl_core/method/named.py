from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Generic, TypeVar

from torch import nn

from ..errors import CrlError

M = TypeVar("M", bound=nn.Module)


class NamedModules(nn.Module, Generic[M]):
    """Modules by name, as in torch's ModuleDict, which refuses names like `keys` and `values`."""

    def __init__(self, modules: Mapping[str, M] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    @property
    def _named(self) -> dict[str, M]:
        return self._modules  # type: ignore[return-value]

    def __setitem__(self, name: str, module: M) -> None:
        if not name or "." in name:
            raise CrlError(f"a name has no dots and isn't empty: {name!r}")
        if not isinstance(module, nn.Module):
            raise CrlError(f"{name!r} has to be an nn.Module, not {type(module).__name__}")
        self._modules[name] = module

    def __getitem__(self, name: str) -> M:
        return self._named[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def get(self, name: str) -> M | None:
        return self._named.get(name)

    def keys(self) -> KeysView[str]:
        return self._modules.keys()

    def values(self) -> ValuesView[M]:
        return self._named.values()

    def items(self) -> ItemsView[str, M]:
        return self._named.items()
