import torch

from crl_core import View
from crl_core.testing import conformance


def series() -> View:
    """What the parts take: some items, with a column of metadata for each row."""
    return View(torch.randn(8, 2, 64), {"instance": torch.arange(8)})


test_conformance = conformance("crl-old", examples={"old/jittered": series})
