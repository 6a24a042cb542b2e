from __future__ import annotations

from crl_core import Progress


class Steps:
    """After each third of the run, the rate falls to a share of its value.

    Args:
        share: the share that remains each time.
    """

    def __init__(self, share: float = 0.1) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share is above 0 and at most 1, not {share!r}")
        self.share = share

    def __call__(self, progress: Progress) -> float:
        return float(self.share ** min(2, int(3 * progress.fraction)))
