"""Which rules a recipe trains, and the recipe of each."""

from __future__ import annotations

from altprop.experiment.data.examples import Task
from altprop.experiment.networks.names import BOUNDED
from altprop.experiment.networks.spiking import is_spiking
from altprop.experiment.recipes.schema import ALL, Recipe, RuleSection
from altprop.experiment.registry import CONTROL, REFERENCE, RULES


def with_rules_for(recipe: Recipe, task: Task, *, baselines: bool = False) -> Recipe:
    """A recipe with the rules named that ``all`` stands for.

    Args:
        recipe: any.
        task: what these rules must be fit for.
        baselines: whether backprop and the control take part in any case.

    Example:
        >>> compared = with_rules_for(Recipe(rule="lfp:epsilon=0"), "regression", baselines=True)
        >>> [rule.label for rule in compared.rules]
        ['backprop', 'lfp:epsilon=0', 'shallow']
    """
    out = left_out(recipe, task)
    fit = [RuleSection(name=name) for name, entry in RULES.items() if task in entry.tasks and name not in out]
    named = {one.label: one for rule in recipe.rules for one in (fit if rule.name == ALL else [rule])}
    rules, names = list(named.values()), {one.name for one in named.values()}
    if baselines and REFERENCE not in names:
        rules.insert(0, RuleSection(name=REFERENCE))
    if baselines and CONTROL not in names:
        rules.append(RuleSection(name=CONTROL))
    return recipe.model_copy(update={"rule": rules[0] if len(rules) == 1 else tuple(rules)})


def left_out(recipe: Recipe, task: Task) -> dict[str, str]:
    """The rules that are not among ``all`` because they cannot work in a recipe's network: by name, why.

    Args:
        recipe: before :func:`with_rules_for`.
        task: of its data.

    Example:
        >>> print(left_out(Recipe(rule="all"), "classification")["drtp"])
        drtp is left out: it needs a bounded activation, such as tanh, and relu is none. To have it, name it.
        >>> left_out(Recipe(rule="all", model={"activation": "tanh"}), "classification")
        {}
    """
    activation = recipe.model.activation
    if activation in BOUNDED or is_spiking(recipe.model.name) or all(rule.name != ALL for rule in recipe.rules):
        return {}
    named = {rule.name for rule in recipe.rules}
    return {
        name: f"{name} is left out: it needs a bounded activation, such as tanh, and {activation} is none. To have it, "
        f"name it."
        for name, entry in RULES.items()
        if entry.bounded and task in entry.tasks and name not in named
    }


def recipe_of_cell(recipe: Recipe, rule: RuleSection, lr: float | None = None) -> Recipe:
    """The recipe of one rule of a recipe.

    Args:
        recipe: with any number of rules.
        rule: one of them.
        lr: its learning rate. Unset: what the recipe gives for it.

    Example:
        >>> recipe = Recipe(rule="lfp,dfa", optimizer={"lr": "lfp=0.5,dfa=0.1"})
        >>> recipe_of_cell(recipe, recipe.rules[1]).optimizer.lr
        0.1
    """
    given = {"lr": recipe.optimizer.lr_of(rule.label) if lr is None else lr, "lr_grid": ()}
    optimizer = recipe.optimizer.model_copy(update=given)
    return recipe.model_copy(update={"rule": rule, "optimizer": optimizer})
