"""The direct rules against a loop over their formulas, and what they promise to a user's loop."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import altprop
from tests.rules import direct_oracle as oracle

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        out = self.second(torch.tanh(self.first(x)))
        return torch.tanh(self.norm(out) + x)


def mlp():
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    return model, [model[:2], model[2:5], model[5]], ["2", "5"], (6, 5)


def cnn():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Tanh(), nn.Conv2d(4, 6, 3, groups=2, dilation=2, padding=2),
        nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 5), nn.Tanh(), nn.Linear(5, 3),
    )  # fmt: skip
    return model, [model[:2], model[2:6], model[6:8], model[8]], ["2", "6", "8"], (6, 2, 8, 8)


def residual():
    """The cut before a residual block holds for the connection around it too."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), Residual(3), nn.Flatten(), nn.Linear(48, 3))
    block = model[2]

    class Inner(nn.Module):
        def forward(self, x):
            self.x = x
            return torch.tanh(block.first(x))

    inner = Inner()

    def rest(h):
        return torch.tanh(block.norm(block.second(h)) + inner.x).flatten(1)

    return model, [model[:2], inner, rest, model[4]], ["2.first", "2.second", "4"], (6, 1, 6, 6)


NETWORKS = {"mlp": mlp, "cnn": cnn, "residual": residual}


def case(name):
    torch.manual_seed(0)
    model, blocks, cuts, shape = NETWORKS[name]()
    model.double()
    return model, blocks, cuts, torch.randn(shape, dtype=torch.float64), torch.arange(6) % 3


def found(model, x, y, targets=None):
    model.zero_grad()
    with altprop.targets(y if targets is None else targets):
        F.cross_entropy(model(x), y).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.any(), f"{name} is all zero: it shows nothing"
        torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def attach_quietly(rule, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return rule.attach(model)


@pytest.mark.parametrize("signal", ["error", "sign"])
@pytest.mark.parametrize("projection", ["dense", "channel"])
@pytest.mark.parametrize("name", NETWORKS)
def test_dfa_equals_the_loop_over_its_formula(name, projection, signal):
    model, blocks, cuts, x, y = case(name)
    attachment = altprop.DFA(signal=signal, projection=projection, seed=1).attach(model)
    updates = found(model, x, y)
    matrices = [model.get_submodule(cut).feedback_projection.clone() for cut in cuts]
    attachment.remove()

    def teach(number, h, e):
        source = e if signal == "error" else e.sign() / len(e)
        spread = oracle.channel if projection == "channel" and h.dim() > 2 else oracle.dense
        return spread(matrices[number], source, h)

    assert_same(updates, oracle.updates(model, blocks, x, y, teach), **CLOSE)


@pytest.mark.parametrize("when", ["backward", "forward"])
@pytest.mark.parametrize("name", NETWORKS)
def test_drtp_equals_the_loop_over_its_formula(name, when):
    model, blocks, cuts, x, y = case(name)
    attachment = altprop.DRTP(seed=1, when=when).attach(model)
    updates = found(model, x, y)
    matrices = [model.get_submodule(cut).feedback_projection.clone() for cut in cuts]
    attachment.remove()
    expected = oracle.updates(
        model, blocks, x, y, lambda number, h, e: oracle.dense(matrices[number], oracle.one_hot(y, 3) / len(y), h)
    )
    assert_same(updates, expected, **CLOSE)


@pytest.mark.parametrize("when", ["backward", "forward"])
@pytest.mark.parametrize("classifier", ["fixed", "trained"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("name", NETWORKS)
def test_local_loss_equals_the_loop_over_its_formula(name, loss, classifier, when):
    model, blocks, cuts, x, y = case(name)
    attachment = altprop.LocalLoss(classifier=classifier, loss=loss, grid=2, seed=1, when=when).attach(model)
    updates = found(model, x, y)
    matrices = [model.get_submodule(cut).local_classifier.detach().clone() for cut in cuts]
    attachment.remove()
    trained = {}

    def teach(number, h, e):
        signal, trained[f"{cuts[number]}.local_classifier"] = oracle.local_gradient(
            matrices[number], h, y, loss=loss, grid=2 if h.dim() > 2 else None
        )
        return signal

    expected = oracle.updates(model, blocks, x, y, teach)
    assert_same(updates, expected | (trained if classifier == "trained" else {}), **CLOSE)


@pytest.mark.parametrize("loss", ["mse", None])
def test_local_loss_reconstructs_values(loss):
    model, blocks, cuts, x, y = case("mlp")
    values = torch.randn(6, 3, dtype=torch.float64)
    attachment = altprop.LocalLoss(loss=loss, seed=1).attach(model)
    updates = found(model, x, y, targets=values)
    matrices = [model.get_submodule(cut).local_classifier.clone() for cut in cuts]
    attachment.remove()
    expected = oracle.updates(
        model, blocks, x, y, lambda number, h, e: oracle.local_gradient(matrices[number], h, values, loss="mse")[0]
    )
    assert_same(updates, expected, **CLOSE)


@pytest.mark.parametrize("name", NETWORKS)
def test_shallow_trains_the_last_block_alone(name):
    model, blocks, _, x, y = case(name)
    with altprop.Shallow().attach(model):
        updates = found(model, x, y)
    assert_same(updates, oracle.updates(model, blocks, x, y, lambda number, h, e: None), **CLOSE)
    assert len(updates) == 2


def test_named_blocks_are_cut_and_learn_by_backprop_within():
    model, _, _, x, y = case("residual")
    attachment = altprop.DFA(blocks=["2", "4"], seed=1).attach(model)
    updates = found(model, x, y)
    matrices = [model[number].feedback_projection.clone() for number in (2, 4)]
    attachment.remove()
    blocks = [model[:2], model[2:4], model[4]]
    assert_same(
        updates, oracle.updates(model, blocks, x, y, lambda number, h, e: oracle.dense(matrices[number], e, h)), **CLOSE
    )


class Attention(nn.Module):
    """A pre-norm block: q, k and v are made from one tensor."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        h = self.norm(x)
        return x + self.out(F.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h)))


class Transformer(nn.Module):
    def __init__(self, pooled):
        super().__init__()
        self.embed, self.block, self.head = nn.Embedding(9, 4), Attention(4), nn.Linear(4, 3)
        self.pooled = pooled

    def forward(self, tokens):
        h = self.block(self.embed(tokens))
        return self.head(h.mean(1)) if self.pooled else self.head(h)


def test_a_tensor_that_enters_several_layers_is_taught_once():
    torch.manual_seed(0)
    model = Transformer(pooled=True)
    with altprop.DFA().attach(model):
        found(model, torch.randint(9, (6, 5)), torch.arange(6) % 3)
        assert rule_state(model).keys() == {
            "block.q.feedback_projection", "block.out.feedback_projection", "head.feedback_projection",
        }  # fmt: skip


def test_each_token_is_taught_by_its_own_error():
    torch.manual_seed(0)
    model, tokens, y = Transformer(pooled=False).double(), torch.randint(9, (2, 5)), torch.randint(3, (2, 5))
    attachment = altprop.DFA(blocks=["block", "head"], seed=0).attach(model)
    output = model(tokens)
    output.retain_grad()
    F.cross_entropy(output.flatten(0, 1), y.flatten()).backward()
    B = model.block.feedback_projection
    assert B.shape == (3, 4)
    expected = torch.zeros_like(model.embed.weight)
    for row in range(2):
        for position in range(5):
            expected[tokens[row, position]] += output.grad[row, position] @ B
    torch.testing.assert_close(model.embed.weight.grad, expected, **CLOSE)
    attachment.remove()


def test_the_error_of_a_pooled_output_is_shared_by_the_tokens():
    torch.manual_seed(0)
    model, tokens, y = Transformer(pooled=True).double(), torch.arange(8).view(2, 4), torch.tensor([0, 1])
    with altprop.DFA(blocks=["block", "head"], seed=0).attach(model):
        output = model(tokens)
        output.retain_grad()
        F.cross_entropy(output, y).backward()
        expected = (output.grad @ model.block.feedback_projection).repeat_interleave(4, 0) / 2
    torch.testing.assert_close(model.embed.weight.grad[:8], expected, **CLOSE)


@pytest.mark.parametrize("classifier", ["fixed", "trained"])
def test_local_losses_of_tokens(classifier):
    torch.manual_seed(0)
    model, tokens, y = Transformer(pooled=False), torch.randint(9, (2, 5)), torch.randint(3, (2, 5))
    rule = altprop.LocalLoss(classifier=classifier, blocks=["block", "head"], seed=0)
    with rule.attach(model), altprop.targets(y):
        h = model.embed(tokens).detach().requires_grad_()
        F.cross_entropy((h @ model.block.local_classifier.t()).flatten(0, 1), y.flatten()).backward()
        F.cross_entropy(model(tokens).flatten(0, 1), y.flatten()).backward()
        expected = torch.zeros_like(model.embed.weight).index_add_(0, tokens.flatten(), h.grad.flatten(0, 1))
    torch.testing.assert_close(model.embed.weight.grad, expected)


@pytest.mark.parametrize("rule", [altprop.DRTP, altprop.LocalLoss], ids=lambda rule: rule.__name__)
def test_teaching_in_the_forward_pass_ends_at_the_same_weights(rule):
    ends = []
    for when in ("backward", "forward"):
        torch.manual_seed(0)
        model = cnn()[0]
        x = torch.randn(20, 6, 2, 8, 8)
        rule(when=when, seed=0).attach(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for step in range(20):
            optimizer.zero_grad()
            y = torch.arange(step, step + 6) % 3
            with altprop.targets(y):
                loss = F.cross_entropy(model(x[step]), y)
            loss.backward()
            optimizer.step()
        ends.append(model.state_dict())
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=0, atol=1e-6)
    torch.manual_seed(0)
    assert not torch.equal(ends[0]["0.weight"], cnn()[0].state_dict()["0.weight"]), "the first block has learnt nothing"


RULES = [altprop.DFA(seed=0), altprop.DRTP(seed=0), altprop.LocalLoss(seed=0)]


@pytest.fixture(params=[*RULES, altprop.LocalLoss(classifier="trained", seed=0)], ids=repr)
def rule(request):
    return request.param


def rule_state(model):
    """What the rule has drawn: the local classifiers, and the projections, which follow from the seed."""
    state = {key: value for key, value in model.state_dict().items() if "local_cl" in key}
    for name, module in model.named_modules():
        state |= {f"{name}.{key}": B for key, B in vars(module).items() if key.startswith("feedback_projection")}
    return state


def test_a_checkpoint_brings_its_projections_to_a_model_that_has_seen_no_batch(rule):
    model, _, cuts, x, y = case("cnn")
    rule.attach(model)
    updates = found(model, x, y)
    assert len(rule_state(model)) == len(cuts)
    fresh = case("cnn")[0]
    type(rule)(**{**vars(rule), "seed": 5}).attach(fresh)  # it would draw others
    fresh.load_state_dict(model.state_dict())
    assert_same(found(fresh, x, y), updates, rtol=0, atol=0)


def test_a_plain_checkpoint_leaves_the_projections_as_they_are(rule):
    model, _, _, x, y = case("cnn")
    plain = copy.deepcopy(model)
    rule.attach(model)
    found(model, x, y)
    before = {key: value.clone() for key, value in rule_state(model).items()}
    model.load_state_dict(plain.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in rule_state(model).items())


def test_projections_depend_on_the_seed_alone(rule):
    drawn = []
    for seed, offset in ((3, 0), (3, 1), (4, 0)):
        model, _, _, x, y = case("cnn")
        torch.manual_seed(offset)
        type(rule)(**{**vars(rule), "seed": seed}).attach(model)
        found(model, x, y)
        drawn.append(rule_state(model))
    for key, value in drawn[0].items():
        assert torch.equal(value, drawn[1][key])
        assert not torch.equal(value, drawn[2][key])


def test_without_a_seed_each_attachment_draws_from_torchs_generator():
    states = []
    for seed in (0, 0, 1):
        model, _, _, x, y = case("mlp")
        torch.manual_seed(seed)
        altprop.DFA().attach(model)
        found(model, x, y)
        states.append(model[2].feedback_projection)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_targets_are_an_input_of_the_compiled_graph(rule):
    torch._dynamo.reset()
    model, _, _, x, y = case("mlp")
    rule.attach(model)
    ys = [y, (y + 1) % 3]
    expected = [found(model, x, y) for y in ys]
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, while it traces
        for y, updates in zip(ys, expected, strict=True):
            got = found(compiled, x, y)
            assert_same({name.removeprefix("_orig_mod."): value for name, value in got.items()}, updates, **CLOSE)


def test_a_model_compiled_before_its_first_batch_says_so_or_runs_that_batch_as_it_is():
    torch._dynamo.reset()
    model, _, _, x, y = case("mlp")
    altprop.DFA(seed=0).attach(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception, match="run the model once before it is compiled"):
            torch.compile(model, fullgraph=True, backend="aot_eager")(x)
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="aot_eager")
        first = found(compiled, x, y)
        second = found(compiled, x, y)
    assert_same(first, second, **CLOSE)


def test_what_is_frozen_costs_nothing():
    model, _, cuts, x, y = case("cnn")
    model[0].requires_grad_(False)
    model[6].requires_grad_(False)
    with altprop.DFA(seed=0).attach(model):
        updates = found(model, x, y)
        assert list(updates) == ["2.weight", "2.bias", "8.weight", "8.bias"]
        assert len(rule_state(model)) == 1, "the block of the frozen layers has nothing to be taught"
    assert cuts


def test_no_gradient_reaches_a_cut_and_the_first_block_alone_reaches_the_input():
    model, blocks, cuts, x, y = case("mlp")
    x.requires_grad_()
    attachment = altprop.DFA(seed=0).attach(model)
    found(model, x, y)
    output, B = model(x), model.get_submodule(cuts[0]).feedback_projection
    (e,) = torch.autograd.grad(F.cross_entropy(output, y), output)
    with attachment.suspended():
        (expected,) = torch.autograd.grad(blocks[0](x), x, e @ B)
    torch.testing.assert_close(x.grad, expected, **CLOSE)
    attachment.remove()


def test_alignment_of_the_teaching_signal_equals_the_cosine_at_each_hidden_layer():
    model, blocks, cuts, x, y = case("mlp")
    attachment = altprop.DFA(seed=0).attach(model)
    measured = altprop.measure.teaching_alignment(model, F.cross_entropy, [(x, y)])
    found(model, x, y)
    matrices = [model.get_submodule(cut).feedback_projection for cut in cuts]
    attachment.remove()
    model.train()
    hidden, h = [], x
    for block in blocks:
        h = block(h)
        hidden.append(h)
    *errors, e = torch.autograd.grad(F.cross_entropy(h, y), hidden)
    expected = {
        cut: F.cosine_similarity((e @ B).flatten(), error.flatten(), dim=0).item()
        for cut, B, error in zip(cuts, matrices, errors, strict=True)
    }
    assert measured == pytest.approx(expected, abs=1e-9)


def test_the_output_may_be_changed_in_place_and_may_be_one_of_several():
    model, _, _, x, y = case("mlp")
    altprop.DFA(seed=0).attach(model)
    expected = found(model, x, y)
    output = model(x)
    output /= 1
    model.zero_grad()
    F.cross_entropy(output, y).backward()
    assert_same({name: p.grad for name, p in model.named_parameters()}, expected, **CLOSE)


class WithLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))

    def forward(self, x, y):
        logits = self.net(x)
        return {"loss": F.cross_entropy(logits, y), "logits": logits}


def test_models_that_return_their_loss_name_their_output():
    torch.manual_seed(0)
    model, x, y = WithLoss(), torch.randn(6, 5), torch.arange(6) % 3
    with altprop.DFA(seed=0).attach(model), pytest.raises(ValueError, match=r"single number.*DFA\(output="):
        model(x, y)
    with altprop.DFA(seed=0, output="net").attach(model):
        model(x, y)["loss"].backward()
        B = model.net[2].feedback_projection
    e = (model.net(x).softmax(1) - F.one_hot(y, 3)) / 6
    h = model.net[:2](x)
    torch.testing.assert_close(model.net[0].bias.grad, ((e @ B) * (1 - h**2)).sum(0))


def test_targets_of_the_wrong_kind_are_refused():
    model, _, _, x, y = case("mlp")
    with altprop.DRTP().attach(model):
        with pytest.raises(ValueError, match=r"in scope.*altprop\.targets\(y\)"):
            model(x)
        with pytest.raises(
            ValueError, match=r"DRTP needs class targets, got float targets of shape \(6, 5\)\. Use DFA"
        ):
            found(model, x, y, targets=x)
    with altprop.LocalLoss().attach(model):
        with pytest.raises(ValueError, match=r"in scope.*altprop\.targets\(y\)"):
            model(x)
        with pytest.raises(ValueError, match="Pass outputs="):
            found(model, x, y, targets=x)


def test_drtp_warns_of_unbounded_activations_by_name():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU6(), nn.Linear(2, 2))
    with pytest.warns(UserWarning, match=r"unbounded activations.*: 1\. "):
        altprop.DRTP().attach(model)


@pytest.mark.parametrize("rule", [altprop.DRTP(when="forward", seed=0), altprop.LocalLoss(when="forward", seed=0)])
def test_teaching_in_the_forward_pass_explains_a_stream_without_a_cut(rule):
    model, tokens, y = Transformer(pooled=True), torch.randint(9, (6, 5)), torch.arange(6) % 3
    with rule.attach(model), pytest.raises(RuntimeError, match="Name the residual blocks with blocks="):
        found(model, tokens, y)


def test_wrong_arguments_are_named():
    for make, message in (
        (lambda: altprop.DFA(signal="both"), "DFA's signal must be one of 'error', 'sign', got 'both'"),
        (lambda: altprop.DFA(init="glorot"), "There is no init 'glorot'"),
        (lambda: altprop.DRTP(when="later"), "DRTP's when must be"),
        (lambda: altprop.LocalLoss(classifier="none"), "LocalLoss's classifier must be"),
        (lambda: altprop.DFA(blocks="0"), "a list of module names"),
        (lambda: altprop.DFA(blocks=["7"]).attach(mlp()[0]), "no submodule '7'"),
        (lambda: altprop.DFA(output="7").attach(mlp()[0]), "no submodule '7', which output= names"),
        (lambda: altprop.Shallow().attach(nn.ReLU()), "nothing to train"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
