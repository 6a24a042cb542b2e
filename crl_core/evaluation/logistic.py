"""Multinomial logistic regression on a table, in chunks of rows, on the device of the table.

It minimises the mean cross-entropy + ‖W‖² / (2 C N) on standardised columns, as scikit-learn does; two classes
have one vector of weights. L-BFGS-B is SciPy's: there are few weights, and only the loss and its gradient, which read
the table, are computed on the device. Rounding is also as in scikit-learn, because L-BFGS stops at the precision of
float32, and other last digits would change the accuracy by an item or two.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

_CHUNK = 1 << 24  # so many numbers are standardised at a time
_KEPT = 1 << 26  # a table of up to so many numbers is standardised once


class LogisticRegression:
    """A classifier of the rows of `z`, which is trained in `__init__`.

    Args:
        z: `[N, D]`.
        label: `[N]`, from 0 to `classes` - 1.
        strength: C, the inverse of the regularisation.
        iterations: the maximum number of iterations of L-BFGS-B.
    """

    def __init__(self, z: Tensor, label: Tensor, classes: int, strength: float, iterations: int) -> None:
        from scipy.optimize import minimize

        self.mean, self.scale = _moments(z)
        self.shape = (1 if classes == 2 else classes, z.shape[1] + 1)
        decay = 1.0 / (strength * len(z))
        kept = list(self._chunks(z, label)) if z.numel() <= _KEPT else None

        def objective(flat: np.ndarray[tuple[int], np.dtype[np.floating]]) -> tuple[float, object]:
            weight = self._weight(flat)
            on = weight.to(z.device, torch.float32)
            loss, slope = 0.0, torch.zeros(self.shape, device=z.device)
            for rows, target in kept or self._chunks(z, label):
                value, error = _cross_entropy(_product(rows, on[:, :-1].T) + on[:, -1], target)
                loss, error = loss + value, error / len(z)
                slope[:, :-1] += _product(error.T, rows)
                slope[:, -1] += _sums(error)
            gradient = slope.cpu()
            gradient[:, :-1] += weight[:, :-1] * decay
            norm = float(np.dot(flat[: -self.shape[0]], flat[: -self.shape[0]]))
            return float(np.float32(loss) / np.float32(len(z))) + 0.5 * decay * norm, gradient.T.reshape(-1).numpy()

        # scikit-learn's tolerances, so that both stop after the same iteration.
        options = {"maxiter": iterations, "maxls": 50, "gtol": 1e-4, "ftol": 64 * np.finfo(float).eps}
        start = np.zeros(self.shape[0] * self.shape[1], np.float32)  # SciPy rounds each step to its type
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # NumPy's threads and torch's would wait for each other at every product
        try:
            found = minimize(objective, start, method="L-BFGS-B", jac=True, options=options)
        finally:
            torch.set_num_threads(threads)
        self.weight = self._weight(found.x).to(z.device, torch.float32)

    def predict(self, z: Tensor) -> Tensor:
        """`[N]`: the most probable class of each row."""
        found = [_product(self._standardised(rows), self.weight[:, :-1].T) for rows in z.split(self._rows)]
        logits = torch.cat(found) + self.weight[:, -1]
        return (logits.squeeze(1) > 0).long() if len(self.weight) == 1 else logits.argmax(1)

    def _weight(self, flat: np.ndarray[tuple[int], np.dtype[np.floating]]) -> Tensor:
        """The weights `[classes, D + 1]`, with the bias last; SciPy stores them by feature."""
        return torch.from_numpy(flat).view(self.shape[1], self.shape[0]).T

    @property
    def _rows(self) -> int:
        return max(1, _CHUNK // max(self.shape[1], 8 * self.shape[0]))

    def _chunks(self, z: Tensor, label: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for rows, target in zip(z.split(self._rows), label.split(self._rows), strict=True):
            yield self._standardised(rows), target

    def _standardised(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.scale


def _product(a: Tensor, b: Tensor) -> Tensor:
    if a.device.type == "cpu":  # NumPy adds in the same order as scikit-learn
        return torch.from_numpy(a.numpy() @ b.numpy())
    return a @ b


def _sums(table: Tensor) -> Tensor:
    """The sum of each column."""
    if table.device.type == "cpu":
        return torch.from_numpy(table.numpy().sum(0))
    return table.sum(0)


def _wide(table: Tensor) -> Tensor:
    """The table in float64, if the device has this type."""
    return table if table.device.type == "mps" else table.double()


def _cross_entropy(logits: Tensor, target: Tensor) -> tuple[float, Tensor]:
    """The sum over the rows, and its gradient for the logits `[n, classes]`; with two classes, `[n, 1]`."""
    if logits.shape[1] == 1:
        exact, goal = _wide(logits), _wide(target.float()).unsqueeze(1)
        loss = torch.nn.functional.softplus(exact) - goal * exact
        return float(_sums(loss.float())), (exact.sigmoid() - goal).float()
    highest = logits.max(1, keepdim=True).values
    share = (_wide(logits) - highest).exp().float()
    total = _wide(share).sum(1, keepdim=True).float()
    loss = (_wide(total).log() + highest).float() - logits.gather(1, target.unsqueeze(1))
    error = share.div_(total).scatter_add_(1, target.unsqueeze(1), total.new_full((len(target), 1), -1.0))
    return float(_sums(loss)), error


def _moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of each column; 1 for a constant column."""
    parts = z.split(max(1, _CHUNK // z.shape[1]))
    mean = torch.stack([_wide(rows).sum(0) for rows in parts]).sum(0) / len(z)
    variance = torch.stack([(_wide(rows) - mean).square().sum(0) for rows in parts]).sum(0) / len(z)
    rounding = len(z) * torch.finfo(torch.float64).eps
    constant = variance <= rounding * variance + (rounding * mean).square()
    return mean.float(), torch.where(constant, 1.0, variance.sqrt()).float()
