from __future__ import annotations

import warnings
from typing import ClassVar

import torch
from torch import Tensor

from ..protocols import Embeddings


class LinearProbe:
    """The share of test items that a linear classifier on the frozen representations gets right.

    Logistic regression on standardised features, by scikit-learn.

    Args:
        strength: inverse of the regularisation, scikit-learn's C.
        iterations: at most so many of L-BFGS. On tens of thousands of raw images it would not converge in
            an hour, and the test figure only falls on the way.
    """

    needs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(self, strength: float = 1.0, iterations: int = 100) -> None:
        self.strength, self.iterations = strength, iterations

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        classes = torch.unique(train.meta["label"])
        if len(classes) == 1:  # which scikit-learn refuses to tell apart
            return {"linear": float((test.meta["label"] == classes).float().mean())}
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=self.strength, max_iter=self.iterations))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(_array(train.z), _array(train.meta["label"]))
        return {"linear": float(probe.score(_array(test.z), _array(test.meta["label"])))}


def _array(tensor: Tensor) -> object:
    return tensor.cpu().numpy()
