from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..data.view import Embeddings
from .logistic import LogisticRegression


class LinearProbe:
    """The accuracy of a linear classifier on the frozen representations.

    Logistic regression on standardised features, with the objective and the optimiser of scikit-learn. It runs on the
    device of the table. The result `linear` is from 0 to 1.

    >>> import torch
    >>> import crl_core as crl
    >>> table = crl.Embeddings(torch.eye(2).repeat(4, 1), {"label": torch.tensor([0, 1] * 4)})
    >>> crl.LinearProbe()(table, table, None)
    {'linear': 1.0}

    Args:
        strength: the inverse of the regularisation, scikit-learn's C.
        iterations: the maximum number of iterations of L-BFGS. On tens of thousands of raw images it would not
            converge in an hour, and the accuracy on test items would only fall.
    """

    needs: ClassVar[tuple[str, ...]] = ("label",)
    tables: ClassVar[tuple[str, ...]] = ("train", "test")

    def __init__(self, strength: float = 1.0, iterations: int = 100) -> None:
        self.strength, self.iterations = strength, iterations

    def __call__(self, train: Embeddings, test: Embeddings, views: tuple[Tensor, Tensor] | None) -> dict[str, float]:
        classes, label = torch.unique(train.meta["label"], return_inverse=True)
        if len(classes) == 1:  # nothing to classify
            return {"linear": float((test.meta["label"] == classes).float().mean())}
        model = LogisticRegression(train.z, label, len(classes), self.strength, self.iterations)
        return {"linear": float((classes[model.predict(test.z)] == test.meta["label"]).double().mean())}
