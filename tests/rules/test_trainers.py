"""Models with a rule on them, in other people's training loops: nothing in the loop is altprop's."""

import warnings

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

import altprop
from tests.rules.test_lfp import attach_quietly
from tests.tiny_transformers import batch, make

RULES = {
    "lfp": altprop.LFP(minimum_scale=1e-3),
    "fa": altprop.FeedbackAlignment(seed=0),
    "dfa": altprop.DFA(seed=0, output="lm_head"),
}


def sequences(copies=1):
    torch.manual_seed(0)
    tokens = torch.randint(20, (8, 7))
    return [{"input_ids": row, "labels": row} for _ in range(copies) for row in tokens]


def trained_by_hugging_face(model, folder, **options):
    from transformers import Trainer, TrainingArguments  # noqa: PLC0415

    options = {"learning_rate": 3e-3, "num_train_epochs": 8, "per_device_train_batch_size": 8} | options
    arguments = TrainingArguments(
        folder, **options, use_cpu=True, report_to=[], disable_tqdm=True, logging_steps=1, save_strategy="no", seed=0
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=sequences())
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("rule", RULES)
def test_hugging_faces_trainer_runs_an_attached_model(rule, bf16, tmp_path, capsys):
    model = make("gpt2")
    with attach_quietly(RULES[rule], model):
        losses = trained_by_hugging_face(
            model, tmp_path, bf16=bf16, per_device_train_batch_size=4, gradient_accumulation_steps=2
        )
    assert losses[-1] < losses[0] - 0.01


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_accumulated_gradients_in_hugging_faces_trainer_are_those_of_the_whole_batch(tmp_path):
    trained = []
    for options in ({}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}):
        model = make("gpt2")
        with attach_quietly(RULES["lfp"], model):
            trained_by_hugging_face(model, tmp_path, optim="sgd", num_train_epochs=1, **options)
        trained.append(model)
    untouched = make("gpt2").state_dict()
    moved = 0.0
    for (name, one), other in zip(trained[0].named_parameters(), trained[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7, msg=lambda text, name=name: f"{name}: {text}")
        moved += float((one - untouched[name]).abs().sum().detach())
    assert moved > 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("rule", RULES)
def test_lightnings_trainer_runs_an_attached_model(rule, precision, tmp_path):
    import pytorch_lightning as lightning  # noqa: PLC0415

    class Module(lightning.LightningModule):
        """As its users write them."""

        def __init__(self, model):
            super().__init__()
            self.model, self.losses = model, []

        def training_step(self, batch, number):
            loss = self.model(**batch).loss
            self.losses.append(float(loss))
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=3e-3)

    model = make("gpt2")
    attach_quietly(RULES[rule], model)
    module = Module(model)
    trainer = lightning.Trainer(
        max_epochs=8, accumulate_grad_batches=2, precision=precision, gradient_clip_val=1.0, accelerator="cpu",
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, DataLoader(sequences(), batch_size=4))
    assert sum(module.losses[-2:]) < sum(module.losses[:2]) - 0.02


def with_adapters():
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for an attribute that was renamed
        return get_peft_model(make("llama"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))


def train_adapters(model):
    tokens = batch("llama", 4)["input_ids"]
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        logits = model(input_ids=tokens).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_lora_adapters_start_at_zero_and_are_named():
    model = with_adapters()
    with pytest.warns(UserWarning, match=r"lora_B\.default\.weight.*minimum_scale") as warned:
        altprop.LFP().attach(model)
    assert "lora_A" not in str(warned[0].message)
    losses = train_adapters(model)
    assert losses[-1] == losses[0], "A gets no credit through a B of zeros, and B does not move"


def test_lora_adapters_learn_with_a_minimum_scale():
    model = with_adapters()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        altprop.LFP(minimum_scale=1e-2, strict=True).attach(model)
    losses = train_adapters(model)
    assert losses[-1] < losses[0] - 0.1
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != ("lora_" in name), name
