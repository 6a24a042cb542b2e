"""The optimisers of a training: which weights each moves, and at what rate; and their state by parameter name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from torch import Tensor, nn
from torch.optim import Optimizer

from ..contracts.parts import Optimiser, Progress, Schedule
from ..errors import CrlError, did_you_mean
from .training import Group, Training


@attrs.frozen(eq=False)
class _Weight:
    """A parameter that trains."""

    name: str
    names: tuple[str, ...]
    """All its names: a module at two places has the same weights under two names."""
    parameter: Tensor
    sparse: bool
    """Whether its gradients are sparse."""


def make_optimisers(module: nn.Module, training: Training) -> list[Optimizer]:
    """The optimisers of `training`, over all parameters of `module` that train.

    There is one for the training's own optimiser, unless all weights are in groups with another one, and one for each
    other optimiser of a group. Next to the entries of torch, a group of parameters has `name`, `param_names`, `base`
    (the highest rate of the schedule) and `schedule`, which `set_rates` reads.

    Raises:
        CrlError: no parameter trains, a group has no parameter, or settings can't be combined.
    """
    weights = _weights(module)
    if not weights:
        raise CrlError("no part has weights that train: all are frozen, or there are none")
    shares = _shares(weights, training.groups)
    by_optimiser: list[tuple[Optimiser, list[tuple[Group, list[_Weight]]]]] = []
    for group, members in shares:
        wanted = group.optimiser or training.optimiser
        shares_so_far = next((held for optimiser, held in by_optimiser if optimiser == wanted), None)
        if shares_so_far is None:
            by_optimiser.append((wanted, [(group, members)]))
        else:
            shares_so_far.append((group, members))
    optimisers = [_torch_optimiser(optimiser, groups, training.schedule) for optimiser, groups in by_optimiser]
    _check_training(training, optimisers, weights)
    return optimisers


def set_rates(optimisers: Iterable[Optimizer], progress: Progress) -> None:
    """Sets the learning rate of each group for the step after `progress`."""
    for group in _groups(optimisers):
        group["lr"] = group["base"] * group["schedule"](progress)


def moved_by(optimisers: Iterable[Optimizer]) -> list[Tensor]:
    """All parameters of the optimisers, in the order of their groups."""
    return [parameter for group in _groups(optimisers) for parameter in group["params"]]


# -- which optimiser moves which weights ------------------------------------------------------------


def _weights(module: nn.Module) -> list[_Weight]:
    """The parameters that train, in the module's order."""
    sparse = {
        id(parameter)
        for owner in module.modules()
        if getattr(owner, "sparse", False) is True
        for parameter in owner.parameters(recurse=False)
    }
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [
        _Weight(name, tuple(names[id(parameter)]), parameter, id(parameter) in sparse)
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    ]


def _shares(weights: Sequence[_Weight], groups: Sequence[Group]) -> list[tuple[Group, list[_Weight]]]:
    """The weights that are in no group, as a group without a place; then the weights of each group."""
    rest = Group("")
    members: dict[int, list[_Weight]] = {id(group): [] for group in (rest, *groups)}
    for group in groups:
        if not any(_holds(group.place, name) for weight in weights for name in weight.names):
            raise CrlError(_unknown(group.place, weights))
    for weight in weights:
        members[id(_owner(weight, groups) or rest)].append(weight)
    return [(group, members[id(group)]) for group in (rest, *groups) if members[id(group)]]


def _holds(place: str, name: str) -> bool:
    return name == place or name.startswith(place + ".")


def _owner(weight: _Weight, groups: Sequence[Group]) -> Group | None:
    """The group of a weight: of those that hold it, the one with the longest place."""
    holding = [group for group in groups if any(_holds(group.place, name) for name in weight.names)]
    if not holding:
        return None
    longest = max(len(group.place) for group in holding)
    first, *others = [group for group in holding if len(group.place) == longest]
    if others:
        places = " and ".join(repr(group.place) for group in (first, *others))
        raise CrlError(f"training.groups: {weight.name} is in both groups {places}: remove one")
    return first


def _unknown(place: str, weights: Sequence[_Weight]) -> str:
    steps = [name.split(".") for weight in weights for name in weight.names]
    places = {".".join(step[:end]) for step in steps for end in range(1, len(step) + 1)}
    return f"training.groups: no parameter that trains is at {place!r}.{did_you_mean(place, places)}"


def _torch_optimiser(
    optimiser: Optimiser, shares: Sequence[tuple[Group, list[_Weight]]], schedule: Schedule
) -> Optimizer:
    """An optimiser of torch with, for each group, first the matrices, then the vectors, which never decay."""
    _check_sparse(optimiser, [weight for _, members in shares for weight in members])
    asked: list[dict[str, Any]] = []
    known: dict[int, tuple[Group, _Weight]] = {}
    for group, members in shares:
        known |= {id(weight.parameter): (group, weight) for weight in members}
        matrices = [weight.parameter for weight in members if weight.parameter.dim() > 1]
        vectors = [weight.parameter for weight in members if weight.parameter.dim() <= 1]
        decay = {} if group.weight_decay is None else {"weight_decay": group.weight_decay}
        asked += [{"params": matrices, **decay}] if matrices else []
        asked += [{"params": vectors, "weight_decay": 0.0}] if vectors else []
    made = optimiser(asked)
    for held in made.param_groups:
        group, first = known[id(held["params"][0])]
        what = "matrices" if first.parameter.dim() > 1 else "vectors"
        held["name"] = f"{group.place or 'all others'}: {what}"
        held["param_names"] = [known[id(parameter)][1].name for parameter in held["params"]]
        held["base"] = held["lr"] = held["lr"] * group.rate
        held["schedule"] = group.schedule or schedule
        _check_group(optimiser, made, held, group, [known[id(parameter)][1] for parameter in held["params"]])
    return made


# -- settings that can't be combined ----------------------------------------------------------------


def _check_sparse(optimiser: Optimiser, weights: Sequence[_Weight]) -> None:
    who = type(optimiser).__name__
    if optimiser.sparse == "no" and (sparse := [weight.name for weight in weights if weight.sparse]):
        raise CrlError(
            f"{sparse[0]} has sparse gradients, which {who} doesn't take: give it a group with an optimiser that does, "
            f"e.g. crl.Group({sparse[0]!r}, optimiser=crl.SparseAdam(1e-3))"
        )
    if optimiser.sparse == "only" and (dense := [weight.name for weight in weights if not weight.sparse]):
        raise CrlError(
            f"{who} takes only sparse gradients, and those of {dense[0]} are dense: give {who} to a group with the "
            f"sparse parameters, and the others another optimiser"
        )


def _check_group(
    optimiser: Optimiser, made: Optimizer, held: Mapping[str, Any], group: Group, weights: Sequence[_Weight]
) -> None:
    who = type(optimiser).__name__
    if group.weight_decay and "weight_decay" not in made.defaults:
        raise CrlError(f"the group {group.place!r} has a weight decay, and {who} has none")
    sparse = [weight.name for weight in weights if weight.sparse]
    for option in ("weight_decay", "momentum") if sparse else ():
        if held.get(option):
            raise CrlError(
                f"{sparse[0]} has sparse gradients: with {option} all its rows would move at every step. Give it a "
                f"group without {option}"
            )


def _check_training(training: Training, made: Sequence[Optimizer], weights: Sequence[_Weight]) -> None:
    if training.precision == "16-mixed" and len(made) > 1:
        raise CrlError("the loss scale of float16 works with one optimiser: for several, use 32-true or bf16-mixed")
    if training.clip is not None and (sparse := [weight.name for weight in weights if weight.sparse]):
        raise CrlError(f"clip needs the norm of all gradients, but those of {sparse[0]} are sparse: leave clip out")


# -- states ----------------------------------------------------------------------------------------


def optimiser_state(optimisers: Iterable[Optimizer]) -> dict[str, Any]:
    """The states of the optimisers, by the names of the parameters."""
    state = {
        name: dict(optimiser.state[parameter])
        for optimiser in optimisers
        for name, parameter in _named(optimiser)
        if optimiser.state.get(parameter)
    }
    return {"state": state}


def load_optimiser_state(optimisers: Sequence[Optimizer], state: Mapping[str, Any]) -> None:
    """Restores what `optimiser_state` returned, for any order of the parameters.

    It also reads the state of version 0.1.0: the `state_dict` of its one optimiser, by number.

    Raises:
        CrlError: the state has other parameters.
    """
    by_name = _by_name(optimisers, state) if "param_groups" in state else dict(state["state"])
    here = {name: parameter for optimiser in optimisers for name, parameter in _named(optimiser)}
    for name, kept in by_name.items():
        if name not in here:
            raise CrlError(
                f"the optimiser's state has {name}, but no such parameter trains here.{did_you_mean(name, here)}"
            )
        for what, value in kept.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != here[name].shape:
                raise CrlError(
                    f"the optimiser's {what} of {name} has the shape {list(value.shape)}, and the parameter has "
                    f"{list(here[name].shape)}"
                )
    for optimiser in optimisers:
        names = [name for name, _ in _named(optimiser)]
        # torch's own loader moves the state to the right device and type.
        numbered = {number: dict(by_name[name]) for number, name in enumerate(names) if name in by_name}
        optimiser.load_state_dict({**optimiser.state_dict(), "state": numbered})


def _by_name(optimisers: Sequence[Optimizer], state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of 0.1.0 by name: it numbered all matrices, then all vectors, in the order of the module."""
    names = [name for optimiser in optimisers for name, _ in _named(optimiser)]
    count = sum(len(group["params"]) for group in state["param_groups"])
    places = {group["name"].partition(":")[0] for group in _groups(optimisers)}
    if len(optimisers) > 1 or len(places) > 1 or count != len(names):
        raise CrlError(
            f"the optimiser's state of version 0.1.0 has {count} parameters without groups; here are {len(names)}"
        )
    return {names[int(number)]: kept for number, kept in state["state"].items()}


def _groups(optimisers: Iterable[Optimizer]) -> Iterator[dict[str, Any]]:
    return (group for optimiser in optimisers for group in optimiser.param_groups)


def _named(optimiser: Optimizer) -> Iterator[tuple[str, Tensor]]:
    for group in optimiser.param_groups:
        yield from zip(group["param_names"], group["params"], strict=True)
