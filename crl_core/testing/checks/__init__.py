"""The checks of the kit by kind. Each is a function of a `Case`; its docstring says what a part promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ..plugin import Case
from . import (
    evaluators,
    kernels,
    keys,
    loading,
    losses,
    modules,
    numbers,
    optimisers,
    options,
    readers,
    recipes,
    samplers,
    schedules,
    scores,
    sources,
    updates,
)

Check: TypeAlias = Callable[[Case], None]

_OF_ALL: tuple[Check, ...] = (
    loading.loads,
    loading.importing_changes_nothing,
    loading.package_is_light,
    loading.says_what_it_is,
    options.options_are_named_and_annotated,
    options.options_are_data,
    options.arrives_in_a_worker,
    options.takes_no_source,
)
_OF_CLASSES: tuple[Check, ...] = (
    *_OF_ALL,
    options.keeps_its_contract,
    options.keeps_its_options,
    options.spec_round_trip,
    options.reads_old_specs,
)
_OF_NUMBERS: tuple[Check, ...] = (
    numbers.deterministic_under_a_seed,
    numbers.leaves_the_generators_alone,
    numbers.leaves_its_inputs_alone,
    numbers.makes_tensors_where_its_data_are,
)
_OF_FUNCTIONS: tuple[Check, ...] = (
    *_OF_NUMBERS,
    numbers.gradient_is_right,
    numbers.state_through_safetensors,
    numbers.compiles_without_breaks,
)
_OF_LAYERS: tuple[Check, ...] = (
    *_OF_FUNCTIONS,
    modules.returns_rows,
    modules.trains,
    modules.rows_alone_in_evaluation,
    modules.one_row,
    modules.no_rows,
    modules.works_in_bfloat16,
)

CHECKS: dict[str, tuple[Check, ...]] = {
    "sampler": (
        *_OF_CLASSES,
        *_OF_NUMBERS,
        samplers.draws_the_views_it_names,
        samplers.metadata_are_complete,
        samplers.clean_is_not_random,
        samplers.rows_depend_on_nothing_else,
        samplers.rows_are_drawn_by_themselves,
        samplers.every_row_finds_its_other_view,
        samplers.positives_and_negatives_are_disjoint,
        samplers.one_item,
    ),
    "encoder": (*_OF_CLASSES, *_OF_LAYERS),
    "head": (*_OF_CLASSES, *_OF_LAYERS),
    "score": (
        *_OF_CLASSES,
        *_OF_FUNCTIONS,
        scores.all_against_all,
        scores.keys_per_query_agree,
        scores.pairs_depend_on_nothing_else,
        scores.higher_means_closer,
        scores.factors_give_the_score,
        scores.symmetric_as_it_says,
        scores.no_rows,
        scores.works_in_bfloat16,
    ),
    "loss": (
        *_OF_CLASSES,
        *_OF_FUNCTIONS,
        losses.values_have_the_right_shape,
        losses.order_does_not_matter,
        losses.rows_depend_on_nothing_else,
        losses.prefers_close_positives,
        losses.finite_at_low_temperature,
        losses.works_in_bfloat16,
        losses.no_rows,
        losses.one_row,
        losses.every_kernel_agrees,
        losses.two_processes_are_one,
    ),
    "keys": (
        *_OF_CLASSES,
        keys.works_in_a_contrast,
        keys.empty_at_first,
        keys.holds_what_it_took,
        keys.keeps_the_metadata,
        keys.holds_no_gradient,
        keys.owns_what_it_holds,
        keys.takes_any_batch,
        keys.state_through_safetensors,
        keys.chooses_among_the_candidates,
        keys.keeps_a_positive,
    ),
    "update": (
        *_OF_CLASSES,
        updates.starts_the_same,
        updates.lets_no_gradient_through,
        updates.leaves_the_followed_alone,
        updates.advances_towards_the_followed,
        updates.works_without_weights,
        updates.works_in_a_branch,
    ),
    "source": (
        *_OF_CLASSES,
        sources.names_its_splits,
        sources.refuses_other_splits,
        sources.instance_is_the_index,
        sources.same_items_every_time,
        sources.any_order,
        sources.orders_itself_by_a_seed,
        sources.a_stream_goes_on_from_any_place,
        sources.processes_share_a_stream,
    ),
    "evaluator": (
        *_OF_CLASSES,
        evaluators.gives_figures,
        evaluators.same_figures_every_time,
        evaluators.order_does_not_matter,
        evaluators.leaves_its_tables_alone,
        evaluators.works_without_views,
        evaluators.looks_at_the_tables_it_names,
        evaluators.leaves_the_generators_alone,
    ),
    "recipe": (
        *_OF_ALL,
        recipes.has_a_default_for_everything,
        recipes.names_its_paper,
        recipes.spec_round_trip,
        recipes.trains,
        recipes.deterministic_under_a_seed,
        recipes.positives_and_negatives_are_disjoint,
        recipes.stands_in_the_tables,
        recipes.state_through_safetensors,
    ),
    "kernel": (
        *_OF_CLASSES,
        kernels.answers_with_reasons,
        kernels.agrees_with_the_oracle,
        kernels.agrees_in_float32,
        kernels.scales_with_what_follows,
        kernels.leaves_the_generators_alone,
    ),
    "optimiser": (
        *_OF_CLASSES,
        optimisers.says_what_it_takes,
        optimisers.moves_every_weight,
        optimisers.lowers_a_loss,
        optimisers.moves_nothing_without_a_rate,
        optimisers.decays_no_vectors,
        optimisers.takes_sparse_gradients_as_it_says,
        optimisers.goes_on_from_its_state,
    ),
    "schedule": (
        *_OF_CLASSES,
        schedules.gives_numbers,
        schedules.depends_on_the_moment_alone,
        schedules.is_a_number_where_nobody_knows_the_end,
        schedules.short_runs,
    ),
    "reader": (
        *_OF_CLASSES,
        readers.gives_a_view,
        readers.instance_is_the_place,
        readers.rows_are_their_own,
        readers.reads_the_same_every_time,
        readers.one_item,
    ),
}
"""The checks of each kind."""

MINIMUM: dict[str, int] = {
    "sampler": 19, "encoder": 21, "head": 21, "score": 19, "loss": 21, "keys": 12, "update": 16, "source": 14,
    "evaluator": 14, "recipe": 14, "kernel": 12, "optimiser": 16, "schedule": 14, "reader": 16,
}  # fmt: skip
"""The lowest number of checks that have to run, without skipped ones, so that a part can't pass untested."""
