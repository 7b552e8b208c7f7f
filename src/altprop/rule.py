"""The base class of learning rules: attach to a model in place, and come off without a trace."""

from __future__ import annotations

import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from inspect import signature
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from altprop._preserve import Structure, locked
from altprop._quantised import quantised_layers

_ATTACHMENT = "_altprop_attachment"
_NO_MODEL = nn.Module()

_new: dict[int, weakref.ref[Attachment]] = {}
"""Attachments, copies among them, whose modules are not in ``_owners`` yet: a dict, whose single steps need no lock."""
_owners: weakref.WeakKeyDictionary[nn.Module, weakref.ref[Attachment]] = weakref.WeakKeyDictionary()
"""The last attachment of a model that each module was found in."""


# __enter__ is the base class's: it returns self, with no line of ours between attach() and the block.
class Attachment(AbstractContextManager["Attachment"]):
    """A rule in force on a model: made by :meth:`Rule.attach`, undone by :meth:`remove`.

    It is a context manager too: leaving the ``with`` block removes the rule, also after an exception. It lives on
    the model, so that ``copy.deepcopy`` and ``torch.save`` carry it along; :meth:`of` finds it again on the copy.

    Attributes:
        rule: the rule that is attached.
        model: the module it is attached to.
        warned: the warnings that were given already.
        observer: called with each operation of the model and its rule, for :func:`altprop.inspect`.
        traced: whether ``torch.compile`` has traced a layer with feedback weights.
    """

    traced = False
    _modules: Iterable[nn.Module] = ()

    def __new__(cls, *_: Any, **__: Any) -> Self:  # noqa: D102 - copies come here, too
        attachment = super().__new__(cls)
        key = id(attachment)
        _new[key] = weakref.ref(attachment, partial(_new.pop, key))
        return attachment

    def __init__(self, rule: Rule, model: nn.Module) -> None:
        self.rule = rule
        self.model = model
        self.warned: set[str] = set()
        self.observer: Callable[[str, Any], None] | None = None
        self._suspended = 0
        self._modules = weakref.WeakSet(model.modules())

    def tell(self, key: str, message: str, stacklevel: int = 2) -> None:
        """Warn once per ``key``; if the rule is strict, raise each time."""
        if self.rule._is_strict or key not in self.warned:
            self.rule._tell(message, stacklevel + 1)
            self.warned.add(key)

    @staticmethod
    def of(model: nn.Module) -> Attachment | None:
        """The attachment on ``model`` (not on its submodules), or None."""
        attachment = model.__dict__.get(_ATTACHMENT)
        return attachment if isinstance(attachment, Attachment) else None

    @property
    def active(self) -> bool:
        """Whether the rule carries the credit now: False while suspended and after :meth:`remove`."""
        return not self._suspended and Attachment.of(self.model) is self

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Train by plain backprop within the block; the rule keeps its state."""
        entered = False
        try:
            # A count, as several threads may be within such a block. In one step, which an interrupt cannot divide.
            self._suspended, entered = self._suspended + 1, True
            yield
            self._suspended, entered = self._suspended - 1, False
        except BaseException:
            self._suspended -= entered
            raise

    def remove(self) -> None:
        """Remove the rule. The model is bit for bit what it was; a second call does nothing.

        If it is interrupted it does its work before it raises, or has not begun and can be called again.
        """
        if Attachment.of(self.model) is not self:
            return
        attached = Structure(modules_of(self.model))
        try:
            self._take_off()
        except BaseException:
            # What was taken off the parameters need not be put back: taking off what is not there does nothing.
            attached.restore_modules()
            self._take_off()
            raise

    def _take_off(self) -> None:
        self.rule._uninstall(self.model)
        self.model.__dict__.pop(_ATTACHMENT, None)

    def __getstate__(self) -> dict[str, Any]:
        # A copy is not inside the block that suspends the original, and would never leave it.
        return {**vars(self), "_suspended": 0, "_modules": ()}

    # fmt: off
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try: self.remove()  # noqa: E701 - in one line: an interrupt before the first is within the try
        except BaseException:
            self.remove()
            raise
    # fmt: on

    def __repr__(self) -> str:
        return f"Attachment({self.rule!r} on {type(self.model).__name__})"


def modules_of(model: nn.Module) -> list[nn.Module]:
    """The modules of an attached model, and those that were in it when the rule was attached, if they are alive."""
    now = list(model.modules())
    attachment = Attachment.of(model)
    return now if attachment is None else [*now, *(set(attachment._modules) - set(now))]


class Rule(ABC):
    """A way to send credit backward through a network.

    A subclass says what it changes in a model (:meth:`_install`) and how to undo it (:meth:`_uninstall`). Both get
    the model, and must find all they need on it: a rule has no state of its own about any model, so that one rule
    can be attached to many models and an attached model can be copied.
    """

    _takes_quantised_layers = False

    @abstractmethod
    def _install(self, model: nn.Module) -> None:
        """Change ``model`` in place so that ``backward()`` leaves this rule's update direction in ``.grad``."""

    @abstractmethod
    def _uninstall(self, model: nn.Module) -> None:
        """Undo :meth:`_install` exactly."""

    def _misses(self, name: str, module: nn.Module) -> bool:
        """Whether attaching would have changed ``module``, which was put into the model as ``name`` since."""
        return False

    def _explain(self, module: nn.Module) -> tuple[str, str] | None:
        """How the rule changes ``module``'s way back: a label and a line, or None. For :func:`altprop.inspect`."""
        return None

    @property
    def _is_strict(self) -> bool:
        """Whether each warning is an error; False for rules without that argument."""
        return bool(getattr(self, "strict", False))

    def _tell(self, message: str, stacklevel: int = 2) -> None:
        """Warn that the rule does not act somewhere, or not as expected; raise if it is strict."""
        if self._is_strict:
            raise RuntimeError(f"{message} strict=True makes this an error.")
        warnings.warn(message, stacklevel=stacklevel + 1)

    def __repr__(self) -> str:
        # The arguments are kept under their own names; those that differ from their defaults are shown.
        parameters = signature(type(self)).parameters.values()
        changed = [p.name for p in parameters if getattr(self, p.name, p.default) != p.default]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in changed)})"

    def attach(self, model: nn.Module) -> Attachment:
        """Attach this rule to ``model``, in place. If that fails or is interrupted, the model is as it was.

        Args:
            model: any module. Attach before ``torch.compile``, ``DistributedDataParallel`` and the like wrap it, and
                before the optimizer is made (some rules add parameters).

        Returns:
            The attachment: ``attachment.remove()`` or leaving ``with rule.attach(model):`` undoes it.

        Raises:
            TypeError: ``model`` is not a module.
            ValueError: a rule is attached already, also to a model that has modules in common with this one, or in
                another thread; the model is wrapped in a way that hides it, or it has quantised layers.

        Example:
            >>> import altprop, torch
            >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
            >>> with altprop.Backprop().attach(model) as attachment:
            ...     print(attachment)
            Attachment(Backprop() on Sequential)
        """
        if not isinstance(model, nn.Module):
            raise TypeError(f"{self!r} attaches to a torch.nn.Module, got {type(model).__name__}.")
        attachment, plain = Attachment(self, model), None
        try:
            locked(partial(_claim, attachment))  # of several threads one is the first
            plain = Structure(model.modules())
            self._install(model)
            return attachment
        except BaseException:
            if plain is not None:
                plain.restore()
            if Attachment.of(model) is attachment:
                del model.__dict__[_ATTACHMENT]
            raise


def _claim(attachment: Attachment) -> None:
    """Claim the model for this attachment, unless another has it."""
    _check_free(attachment.rule, attachment.model)
    _check_attachable(attachment.rule, attachment.model)
    attachment.model.__dict__[_ATTACHMENT] = attachment


def _check_free(rule: Rule, model: nn.Module) -> None:
    modules = dict(model.named_modules())
    for name, module in modules.items():
        attachment = Attachment.of(module)
        if attachment is not None:
            where = f"its submodule {name!r}" if name else "this model"
            raise ValueError(
                f"Cannot attach {rule!r}: {where} already has {attachment.rule!r}. One rule at a time: call "
                f"remove() on that attachment first (altprop.Attachment.of(module) finds it)."
            )
    _find_owners()
    for name, module in modules.items():
        owner = _owner(module)
        # Activation modules may be shared: what matters is who trains the weights.
        if owner is not None and (module is model or module._parameters):
            where = f"its submodule {name!r}" if name else "this model"
            raise ValueError(
                f"Cannot attach {rule!r}: {where} is part of a {type(owner.model).__name__} that already has "
                f"{owner.rule!r}. One rule at a time: call remove() on that attachment first."
            )


def _find_owners() -> None:
    """Enter the modules of new attachments in ``_owners``."""
    for key, reference in list(_new.items()):
        attachment = reference()
        # While being copied it has no model yet; while being attached, no claim to it.
        if attachment is None or Attachment.of(vars(attachment).get("model", _NO_MODEL)) is not attachment:
            continue
        for module in attachment.model.modules():
            _owners[module] = reference
        _new.pop(key, None)


def owner_of(module: nn.Module) -> Attachment | None:
    """The attachment that ``module`` is under: its own, or that of a model it is part of."""
    _find_owners()
    return _owner(module)


def _owner(module: nn.Module) -> Attachment | None:
    reference = _owners.get(module)
    owner = None if reference is None else reference()
    if owner is None or Attachment.of(owner.model) is not owner:
        return None
    return owner if any(part is module for part in owner.model.modules()) else None


def _check_attachable(rule: Rule, model: nn.Module) -> None:
    wrapper = wrapper_of(model)
    if wrapper:
        raise ValueError(
            f"Cannot attach {rule!r} to a {type(model).__name__}: {wrapper} hides the model. "
            f"Attach to the inner model first, then wrap it."
        )
    quantised = [] if rule._takes_quantised_layers else quantised_layers(model)
    if quantised:
        more = f", and {len(quantised) - 1} more of its layers" if len(quantised) > 1 else ""
        raise ValueError(
            f"Cannot attach {rule!r}: {quantised[0]} is quantised{more}. Its weights are codes, among which credit "
            f"cannot be shared. Load the model with floating-point weights (bfloat16 will do)."
        )


def wrapper_of(model: nn.Module) -> str:
    """Name what hides the model's operations or parameters from a rule; empty if nothing does."""
    if isinstance(model, torch.jit.ScriptModule):
        return "TorchScript"
    if "_orig_mod" in model._modules or model._compiled_call_impl is not None:
        return "torch.compile"
    if type(model).__name__ in {"DistributedDataParallel", "DataParallel", "FullyShardedDataParallel"}:
        return "data-parallel wrapping"
    return ""
