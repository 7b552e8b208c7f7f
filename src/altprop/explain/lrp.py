"""Layer-wise relevance propagation: what each input, and each neuron, contributed to an output."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

from altprop._names import did_you_mean
from altprop._quantised import quantised_layers
from altprop.explain._captum import with_wrapped
from altprop.explain.composites import Composite, Pairs, as_composite
from altprop.explain.concepts import Concepts, masks_of
from altprop.explain.conservation import Conservation, LayerConservation
from altprop.explain.forward_pass import ForwardPass, Inputs, forward_pass, like_inputs
from altprop.explain.preactivation import Start
from altprop.explain.rules import Epsilon, LayerRule
from altprop.explain.targets import Target, is_relevance, relevance_at, relevance_within
from altprop.ops.lrp.layer import WeightCache, WeightedSum
from altprop.ops.lrp.nodes import RelevanceNode
from altprop.ops.lrp.pass_ import LRPPass
from altprop.ops.names import OpRule
from altprop.rule import wrapper_of


class LRP:
    """Explains a model's outputs by layer-wise relevance propagation, without changing the model.

    The explained output's value is handed back from layer to layer, by a rule for each, until it reaches the input: the
    relevances of the inputs add up to the output, but for what biases and stabilisers keep (:meth:`conservation` says
    how much). Any model works as it is, functional calls and residual sums too; a batch norm is one with the layer
    before it. A model in training mode is explained in evaluation mode, and left as it was.

    Args:
        model: any module.
        composite: which layer has which rule: the name of one (:data:`altprop.explain.COMPOSITES`), a
            :class:`~altprop.explain.Composite`, pairs (predicate, rule) to make one of, or one rule for all layers.
        strict: raise on an operation that has no rule; otherwise its relevance is the gradient times the input, and
            there is one warning.

    Raises:
        TypeError: ``model`` is no module, or ``composite`` nothing of these.
        ValueError: there is no composite of that name, or it needs arguments.

    Example:
        >>> import altprop, torch
        >>> layers = [torch.nn.Linear(4, 8, bias=False), torch.nn.ReLU(), torch.nn.Linear(8, 3, bias=False)]
        >>> model = torch.nn.Sequential(*layers)
        >>> x = torch.randn(5, 4)
        >>> relevance = altprop.LRP(model, "epsilon").attribute(x, target=2)
        >>> torch.allclose(relevance.sum(1), model(x)[:, 2], atol=1e-4)
        True

    Reference:
        Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
        Propagation", PLoS ONE 2015; Montavon et al., "Layer-Wise Relevance Propagation: An Overview", 2019.
    """

    def __init__(
        self,
        model: nn.Module,
        composite: str | Composite | LayerRule | Pairs = "epsilon_plus",
        *,
        strict: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"LRP explains a torch.nn.Module, got {type(model).__name__}.")
        for module in model.modules():
            wrapper = wrapper_of(module)
            if wrapper:
                raise ValueError(
                    f"LRP cannot look into a {type(module).__name__}: {wrapper} hides the model. Give the inner one."
                )
        quantised = quantised_layers(model)
        if quantised:
            more = f", and {len(quantised) - 1} more of its layers" if len(quantised) > 1 else ""
            raise ValueError(
                f"LRP cannot explain this {type(model).__name__}: {quantised[0]} is quantised{more}. Its weights are "
                f"codes, among which relevance cannot be shared. Load the model with floating-point weights."
            )
        self.model = model
        self.composite = as_composite(composite)
        self.strict = strict
        self._cache = WeightCache()
        self._warned: set[str] = set()
        self._seen: dict[int, list[str]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """All but the cached weights, which a copy computes anew."""
        kept = {name: value for name, value in vars(self).items() if name not in {"_cache", "_seen"}}
        return kept | {"_warned": set(self._warned)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _cache=WeightCache(), _seen={})

    def __repr__(self) -> str:
        return f"LRP({type(self.model).__name__}, {self.composite.name or self.composite!r})"

    # What captum's NoiseTunnel asks of a method beyond attribute(): LRP takes the place of captum.attr.LRP there.

    @property
    def forward_func(self) -> nn.Module:
        """The model."""
        return self.model

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether the input has its part in what is handed back: not so with gradients."""
        return self.composite.otherwise == "relevance"

    def has_convergence_delta(self) -> bool:
        """Whether :meth:`attribute` takes ``return_convergence_delta``: yes."""
        return True

    @overload
    def attribute(self, inputs: Tensor, target: Target = ..., additional_forward_args: Any = ...) -> Tensor: ...

    @overload
    def attribute(
        self,
        inputs: Inputs,
        target: Target = ...,
        additional_forward_args: Any = ...,
        return_convergence_delta: bool = ...,
    ) -> Any: ...

    @with_wrapped
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        return_convergence_delta: bool = False,
        *,
        layer: str | None = None,
        concepts: Concepts | None = None,
    ) -> Any:
        """The relevance of the inputs to an output.

        Args:
            inputs: (batch, ...), or a tuple of such tensors, or a dict of keyword inputs. Integer tensors are tokens,
                whose relevance is summed over their embedding vectors.
            target: which output is explained. None: the largest of each example; an int or a tensor or list of ints
                (batch): its index; a tuple, or a list of a tuple for each example: its indices, where outputs have more
                dimensions; a float tensor of the output's shape: the relevance to start with. Negative indices count
                from the end, and the last ones may be left out where they leave one element. Of an activation at the
                model's end that does not keep the sign (a softmax or its logarithm, a sigmoid, an exponential), the
                value before it is explained: the logit, with its sign. A rule that the composite gives the activation
                prevails, and so does a tensor of floats.
            additional_forward_args: further arguments of the model, which are not explained: one, a tuple of them, or
                with keyword inputs a dict.
            return_convergence_delta: whether to return what is lost on the way too.
            layer: the name of a module whose output is explained in place of the model's; ``target`` is then the index
                of its neuron, or of its channel with all positions.
            concepts: for modules by name the channels (or neurons) that relevance may pass through: the concepts
                whose part in the explanation is asked for (Achtibat et al., "From attribution maps to
                human-understandable explanations through Concept Relevance Propagation", 2023).

        Returns:
            The relevances, in the structure of ``inputs`` and each of its input's shape; of a dict, those that have
            any. With ``return_convergence_delta`` a pair of them and of (batch): the explained output less the
            relevances' sum.

        Raises:
            ValueError: the target does not fit the output, or there is no module of that name.
            RuntimeError: ``strict`` is set, and the model calls an operation that has no rule.
        """
        masks = masks_of(concepts, self._checked)
        lrp = self._new_pass()
        within = None if layer is None else self._checked(layer)
        with forward_pass(self.model, lrp, inputs, additional_forward_args, values_of=within, masks=masks) as done:
            start = self._start(done, target, layer)
            arrived = done.hand_back(start, [place for _, places in done.entries for place in places])
            relevances = done.relevance_of_inputs(arrived)
        result = like_inputs(inputs, relevances, lrp)
        if not return_convergence_delta:
            return result
        total = sum(_per_example(R) for R in relevances if R is not None)
        return result, _per_example(start.seed) - total

    def trace(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,
        modules: Iterable[str] | None = None,
        *,
        layer: str | None = None,
        concepts: Concepts | None = None,
    ) -> dict[str, Tensor]:
        """The relevance of what each module returns.

        Args:
            inputs: as for :meth:`attribute`.
            target: as for :meth:`attribute`.
            additional_forward_args: as for :meth:`attribute`.
            modules: the names of those that are asked for; by default all but the model itself.
            layer: as for :meth:`attribute`.
            concepts: as for :meth:`attribute`.

        Returns:
            From the module's name to the relevance of its output (the first tensor of it), in the order in which they
            ran. A module that runs more than once has an entry for each, ``"relu"``, ``"relu#2"`` and so on. There is
            none for a call whose output does not depend on the inputs that are explained, such as an embedding of
            ``additional_forward_args``: it is a constant, to which no relevance is handed back. Zeros are relevance: of
            what the explained output does not use.

        Raises:
            ValueError: one of ``modules`` did not run, or returned nothing that depends on the inputs; or as for
                :meth:`attribute`.
        """
        names = None if modules is None else {self._checked(name) for name in modules}
        found = self._traced(inputs, target, additional_forward_args, names, layer, concepts)
        for name in names or ():
            if not any(node.partition("#")[0] == name for node in found):
                raise ValueError(
                    f"The module {name!r} did not run, or returned nothing that depends on the inputs that are "
                    f"explained: it has no relevance. Explain its input too, or leave it out of modules."
                )
        return found

    def _traced(
        self, inputs: Inputs, target: Target, more: Any, names: Collection[str] | None, layer: str | None = None,
        concepts: Concepts | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """As :meth:`trace`, for those of the modules that have any relevance."""
        lrp = self._new_pass()
        with forward_pass(
            self.model,
            lrp,
            inputs,
            more,
            record=_any_but_the_model if names is None else names,
            values_of=None if layer is None else self._checked(layer),
            masks=masks_of(concepts, self._checked),
        ) as done:
            start = self._start(done, target, layer)
            edges = {name: recorded.edge for name, recorded in done.recorded.items() if recorded.edge is not None}
            arrived = dict(zip(edges, done.hand_back(start, list(edges.values())), strict=True))
            layers = {}
            for name in edges:
                like, R = done.recorded[name].like, arrived[name]
                layers[name] = torch.zeros_like(like, device=start.seed.device) if R is None else R
        if layer is not None and (names is None or layer not in names):
            layers.pop(layer, None)
        return layers

    def conservation(self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None) -> Conservation:
        """How much relevance each operation received, handed on, and lost, and to what.

        Args:
            inputs: as for :meth:`attribute`.
            target: as for :meth:`attribute`.
            additional_forward_args: as for :meth:`attribute`.

        Returns:
            A list of records, from the output to the input, that prints as a table.

        Raises:
            ValueError: the composite hands gradients back, of which nothing is conserved; or as for :meth:`attribute`.
        """
        self._check_conserves()
        lrp = self._new_pass(report=True)
        with forward_pass(self.model, lrp, inputs, additional_forward_args) as done:
            start = self._start(done, target, None)
            for _, node in lrp.operations:
                node.watch()  # from zero, whatever was handed back to find the start
            arrived = done.hand_back(start, [place for _, places in done.entries for place in places])
            relevances = done.relevance_of_inputs(arrived)
            skipped = set(map(id, start.operations))
            counted = [
                (layer, node) for layer, node in reversed(lrp.operations) if node.counts and id(node) not in skipped
            ]
            records = [LayerConservation.of(layer, node) for layer, node in counted]
        reached = sum(float(R.double().sum()) for R in relevances if R is not None)
        return Conservation(records, float(start.seed.double().sum()), reached)

    def weight_relevance(
        self, inputs: Inputs, target: Target = None, additional_forward_args: Any = None
    ) -> dict[str, Tensor]:
        """How much of the explained outputs' relevance goes through each weight: x_i w_ij R_j / z_j.

        Args:
            inputs: as for :meth:`attribute`.
            target: as for :meth:`attribute`.
            additional_forward_args: as for :meth:`attribute`.

        Returns:
            From the name of a parameter (of linear layers and convolutions; not of the joint projection of
            ``nn.MultiheadAttention``) to a tensor of its shape, summed over the batch, all positions and all uses.

        Raises:
            ValueError: the composite hands gradients back; or as for :meth:`attribute`.

        Reference:
            Yeom et al., "Pruning by explaining: A novel criterion for deep neural network pruning", Pattern Recognition
            2021.
        """
        self._check_conserves()
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        lrp = self._new_pass()
        found: dict[str, Tensor] = {}
        with forward_pass(self.model, lrp, inputs, additional_forward_args) as done:
            layers = [
                node for _, node in lrp.operations if isinstance(node, WeightedSum) and id(node.parameter) in names
            ]
            for node in layers:
                node.wants_weight_relevance = True
            start = self._start(done, target, None)
            done.hand_back(start, [place for _, places in done.entries for place in places])
            for node in layers:
                if node.weight_relevance is not None:
                    name = names[id(node.parameter)]
                    found[name] = found[name] + node.weight_relevance if name in found else node.weight_relevance
        return found

    def _check_conserves(self) -> None:
        if self.composite.otherwise == "gradient":
            raise ValueError(f"{self!r} hands gradients back: there is no relevance to be conserved.")

    def refresh(self) -> None:
        """Clear the cache of modified weights. There is no need to: every change of a weight is noticed."""
        self._cache.clear()

    def operations(self, inputs: Inputs) -> list[tuple[str, str, str, bool, str]]:
        """Every operation of a forward pass, for :func:`altprop.inspect`.

        Args:
            inputs: as for :meth:`attribute`.

        Returns:
            Of each the torch function, the module's name, its rule, whether there is one, and what the rule does.
        """
        lrp = self._new_pass(strict=False)
        seen: list[tuple[str, str, OpRule | None, RelevanceNode | None]] = []
        seen_so_far = 0

        def observe(name: str, op_rule: OpRule | None) -> None:
            nonlocal seen_so_far
            made, seen_so_far = lrp.operations[seen_so_far:], len(lrp.operations)
            where = lrp.inside[-1][0] if lrp.inside else ""
            seen.append((name, where, op_rule, made[0][1] if len(made) == 1 else None))

        with forward_pass(self.model, lrp, inputs, observer=observe):
            return [self._as_operation(*operation) for operation in seen]

    def _as_operation(
        self, name: str, module: str, op_rule: OpRule | None, node: RelevanceNode | None
    ) -> tuple[str, str, str, bool, str]:
        gradients = self.composite.otherwise == "gradient" and node is None
        if op_rule is None or gradients:
            return name, module, "gradient", gradients, "The ordinary gradient."
        what = node.rule if isinstance(node, WeightedSum) else op_rule
        label = op_rule.__name__ if node is None else node.label
        return name, module, label, True, (what.__doc__ or "").partition("\n")[0]

    def _new_pass(self, *, report: bool = False, strict: bool | None = None) -> LRPPass:
        strict = self.strict if strict is None else strict
        return LRPPass(
            self.composite,
            Epsilon(),
            self._cache,
            strict=strict,
            report=report,
            warned=self._warned,
            seen=self._seen,
        )

    def _start(self, done: ForwardPass, target: Target, layer: str | None) -> Start:
        """Where the explanation starts, and with how much relevance."""
        if layer is None:
            if done.lrp.gradients or self.composite.seed == "one" or is_relevance(target):
                done.explained_as_given()
            return Start.at(done.lrp, done.output, done.output.detach(), target, relevance_at)
        recorded = done.recorded.get(layer)
        if recorded is None or recorded.edge is None or recorded.value is None:
            raise ValueError(f"The module {layer!r} did not run, or returned nothing that depends on the inputs.")
        return Start.at(done.lrp, recorded.edge, recorded.value, target, relevance_within)

    def _checked(self, name: str) -> str:
        """The name of a module, if there is one of that name."""
        names = dict(self.model.named_modules())
        if name not in names or not name:
            hint = did_you_mean(name, names, most=3)
            raise ValueError(f"The model has no module {name!r}.{hint} Its modules: dict(model.named_modules()).")
        return name


def _any_but_the_model(name: str) -> bool:
    return bool(name)


def _per_example(R: Tensor) -> Tensor:
    """(batch): the sum over each example."""
    return R.reshape(len(R), -1).sum(1)
