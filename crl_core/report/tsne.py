"""t-SNE in the plane, for the few hundred rows of the map in a report: exact, on all pairs at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_EXAGGERATED, _STEPS = 80, 250


def plane(z: Tensor) -> Tensor:
    """The places `[N, 2]` of the rows of `z`, by cosine; the same every time.

    Van der Maaten and Hinton 2008: neighbours by a Gaussian of perplexity 30 in `z`, by Student's t in the plane, and
    gradient descent on the divergence of the two, with momentum and a gain for each number. It begins with the first
    two principal components.
    """
    rows = F.normalize(z.float(), dim=1)
    if len(rows) < 3:
        return torch.arange(2.0 * len(rows)).view(-1, 2)
    near = _neighbours((2 - 2 * rows @ rows.T).clamp(min=0), min(30.0, max(1.0, (len(rows) - 1) / 4)))
    place = _components(rows)
    speed, gain = torch.zeros_like(place), torch.ones_like(place)
    rate = max(50.0, len(rows) / 48)
    for step in range(_STEPS):
        early = step < _EXAGGERATED
        slope = _slope(near * 12 if early else near, place)
        gain = torch.where(slope * speed < 0, gain + 0.2, gain * 0.8).clamp(min=0.01)
        speed = (0.5 if early else 0.8) * speed - rate * gain * slope
        place = place + speed
    return place - place.mean(0)


def _neighbours(distance: Tensor, perplexity: float) -> Tensor:
    """The probability of each pair, `[N, N]`, with sum 1; bisection finds the width of each row's Gaussian."""
    goal = torch.tensor(perplexity).log()
    distance = distance.masked_fill(torch.eye(len(distance), dtype=torch.bool), torch.inf)
    low, high = torch.full((len(distance), 1), -20.0), torch.full((len(distance), 1), 20.0)
    for _ in range(25):
        middle = (low + high) / 2
        share = (-distance * middle.exp()).softmax(1)
        wide = torch.special.entr(share).sum(1, keepdim=True) > goal
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return (share + share.T) / (2 * len(share))


def _components(rows: Tensor) -> Tensor:
    """The first two principal components, scaled down, with signs that don't depend on the machine."""
    rows = rows - rows.mean(0)
    sizes, vectors = torch.linalg.eigh(rows @ rows.T)
    found: Tensor = vectors[:, [-1, -2]] * sizes[[-1, -2]].clamp(min=0).sqrt()
    found *= found.gather(0, found.abs().argmax(0, keepdim=True)).sign()
    found *= 1e-4 / found[:, 0].std().clamp(min=1e-12)
    return found


def _slope(near: Tensor, place: Tensor) -> Tensor:
    """The gradient of the divergence with respect to the places."""
    square = place.square().sum(1)
    closeness = torch.addmm(square.unsqueeze(1) + (square + 1), place, place.T, alpha=-2)
    closeness = closeness.clamp_(min=1).reciprocal_().fill_diagonal_(0)
    force = torch.sub(near, closeness, alpha=1 / float(closeness.sum())).mul_(closeness)
    slope: Tensor = 4 * (force.sum(1, keepdim=True) * place - force @ place)
    return slope
