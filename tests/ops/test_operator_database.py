"""Every operator in torch's own database: the same values, and handed back what its law says, or told by name."""

from functools import cache
from pathlib import Path

import pytest
import torch

from tests.ops import laws, operators
from tests.ops.operation_table import table
from tests.ops.operators import ENTRIES, samples

RULES = {"lrp": operators.by_lrp, "lfp": operators.by_lfp}
TOLERANCE = 1e-6

# Torch's samples call what torch itself warns of; warnings of rules are caught where the rules run.
pytestmark = pytest.mark.filterwarnings("ignore")


@cache
def outcome(name, rule):
    """The faults of one operator under one rule, and what of it had no rule."""
    faults, unknown = [], set()
    for sample, calls in calls_of(name):
        for form, call in calls.items():
            try:
                fault, missing = tried(call, rule, None if form in ("", "first") else sample)
            except Exception as error:  # whatever is raised is a fault of the rule: plain torch has run it
                fault, missing = f"{type(error).__name__}: {error}"[:200], ()
            unknown |= set(missing)
            if fault:
                faults.append(f"{name} ({form}): {fault}")
    return faults, unknown


@cache
def calls_of(name):
    """The samples of an operator, each in all of its forms."""
    return [(sample, forms(name, sample)) for sample in samples(name)]


def forms(name, sample):
    """A call as it is, with its first tensor alone explained, in place, and with operands by keyword."""
    entry = ENTRIES[name]
    found = {
        "": sample,
        "first": sample.alone(),
        "in place": operators.in_place(entry.inplace_variant, sample),
        "in place operator": operators.in_place(entry.inplace_operator_variant, sample),
        "operator": operators.by_operator(entry, sample),
        "by keywords": operators.by_keywords(entry, sample),
    }
    return {form: call for form, call in found.items() if call is not None}


def tried(call, rule, twin):
    handed = RULES[rule](call)
    if not torch.allclose(handed.output, call.z, rtol=1e-10, atol=1e-12, equal_nan=True):
        return "another value than the plain call's", handed.unknown
    if twin is not None:
        off = laws.difference(handed.R, RULES[rule](twin).R)
        return (None if off < TOLERANCE else f"another result than the plain form's, off by {off:.2g}"), handed.unknown
    functions = operators.called(call)
    law = laws.class_of(functions)
    if handed.unknown:
        law = "unknown" if len(set(functions)) == 1 else None
    expected = laws.expected(law, functions, call, rule)
    if expected is None and law not in (None, "several", "attention"):
        return f"has no law, but is a {law}", handed.unknown
    off = laws.difference(handed.R, expected)
    return (None if off < TOLERANCE else f"off from the law of a {law} by {off:.2g}"), handed.unknown


@pytest.mark.parametrize("rule", RULES)
def test_each_operator_obeys_its_law_in_every_form(rule):
    faults = [fault for name in ENTRIES for fault in outcome(name, rule)[0]]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("rule", RULES)
def test_at_least_450_operators_have_a_rule(rule):
    known = [name for name in ENTRIES if samples(name) and not outcome(name, rule)[1]]
    assert len(known) >= 450, len(known)


@pytest.mark.parametrize("rule", RULES)
def test_an_operator_without_a_rule_is_an_error_under_strict(rule):
    silent = []
    for name in ENTRIES:
        if not outcome(name, rule)[1]:
            continue
        calls = [call for _, forms in calls_of(name) for call in forms.values()]
        missing = next(call for call in calls if RULES[rule](call).unknown)
        try:
            RULES[rule](missing, strict=True)
        except RuntimeError as error:
            if "no rule for" in str(error):
                continue
        silent.append(name)
    assert not silent


@pytest.mark.parametrize("law", ["mixture", "homogeneous"])
def test_the_class_says_what_the_function_does(law):
    """A mixture is homogeneous of degree one, by Euler's theorem; the others of another degree."""
    wrong = []
    for name in ENTRIES:
        of_class = [s for s in samples(name) if laws.class_of(operators.called(s)) == law]
        if of_class and not any(laws.is_homogeneous(sample, 1 if law == "mixture" else None) for sample in of_class):
            wrong.append(name)
    assert not set(wrong) - laws.WITH_CONSTANTS.keys(), wrong


@pytest.mark.parametrize("law", ["move", "contest", "soft maximum"])
def test_values_that_move_come_from_one_place(law):
    """Each output is one of the inputs, or a constant; of a soft maximum the parts sum to one."""
    wrong = []
    for name in ENTRIES:
        for sample in samples(name):
            if laws.class_of(operators.called(sample)) != law:
                continue
            rows = laws.row_sums(sample)
            if not bool(((rows - 1).abs() < 1e-6).logical_or(rows.abs() < 1e-6).all()):
                wrong.append(name)
    assert not set(wrong) - laws.ROUNDED, wrong


def test_the_table_in_the_docs_is_the_one_that_the_rules_make():
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    assert page.read_text() == table(), "write it anew: python -m tests.ops.operation_table"
