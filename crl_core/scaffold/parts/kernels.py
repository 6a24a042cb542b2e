from __future__ import annotations

from crl_core import Outcome, Problem, joined_outcomes, loss_of_rows


class ByQuery:
    """One query at a time against all keys: the slowest kernel, and the one that needs the least memory for scores."""

    def unsupported(self, problem: Problem) -> list[str]:
        reasons = []
        if problem.pairs.per_query:
            reasons.append("the keys are per query")
        if not len(problem.pairs.query):
            reasons.append("there are no queries")
        return reasons

    def preference(self, problem: Problem) -> float:
        return 0.1

    def __call__(self, problem: Problem) -> Outcome:
        ways = [problem.pairs, problem.pairs.reversed()] if problem.symmetric else [problem.pairs]
        rows = [(pairs, slice(i, i + 1)) for pairs in ways for i in range(len(pairs.query))]
        return joined_outcomes(
            [loss_of_rows(problem, pairs, row, pairs.query.z[row], pairs.key) for pairs, row in rows]
        )
