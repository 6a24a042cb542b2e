"""The core's own parts keep the contracts that the kit checks; and the kit catches who doesn't."""

from __future__ import annotations

from crl_core.testing import conformance

OPTIONS = {
    "core/bank": {"size": 400},
    "core/prototypes": {"clusters": 3},
    "core/swapped-assignment": {"prototypes": 6, "width": 8},
}

EXPECTED = {
    ("core/nwj", "finite_at_low_temperature"): "the bound has exp(s - 1) in it, without a logarithm",
    ("core/rince", "finite_at_low_temperature"): "the loss has exp(q s) in it, without a logarithm",
    ("core/swapped-assignment", "gradient_is_right"): "the assignment has no gradient, as in the paper",
    ("core/whitening", "compiles_without_breaks"): "it looks whether the covariance could be factorised",
}

test_conformance = conformance("crl-core", options=OPTIONS, expected_failures=EXPECTED)
