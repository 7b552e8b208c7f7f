"""The command line: it says what the library says, and its errors are for the reader."""

import html
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from typer.testing import CliRunner

import altprop.cli
from altprop.experiment import DATA_SETS, MODELS, RULES, ExplainSettings, Explanations, Study
from altprop.experiment.networks.spiking import SPIKING_MODELS
from altprop.experiment.objectives import LOSSES
from altprop.experiment.recipes.flags import FLAGS, make_recipe
from altprop.experiment.training import progress
from altprop.explain import COMPOSITES
from altprop.rewards import REWARDS, SPIKE_REWARDS
from tests.experiment.toys import without_times

QUICK = ("--data", "circles", "--model", "8", "--epochs", "1", "--seeds", "1", "--threads", "1")


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *words: CliRunner().invoke(altprop.cli.app, [str(word) for word in words])


def test_compare_prints_a_table_and_writes_the_report_it_names(run, tmp_path):
    outcome = run("compare", *QUICK, "--rule", "lfp", "--out", tmp_path)
    assert outcome.exit_code == 0
    folder = tmp_path / "compare-circles-8"
    assert f"Report: {folder / 'report.html'}" in outcome.stdout
    assert (folder / "report.html").stat().st_size > 0
    study = Study.load(folder)
    assert [summary.rule for summary in study.summaries] == ["backprop", "lfp", "shallow"]
    for summary in study.summaries:
        assert summary.test.text() in outcome.stdout


def test_every_flag_reaches_the_recipe(run, tmp_path):
    given = {
        "data": "blobs",
        "validation": "0.1",
        "model": "5-4",
        "rules": "lfp:epsilon=0,gamma=0.5",
        "lr": "lfp=0.25",
        "optimizer": "adam",
        "momentum": "0.5",
        "clip": "1.5",
        "activation": "tanh",
        "norm": "layer",
        "dropout": "0.25",
        "epochs": "2",
        "batch_size": "50",
        "seeds": "4,7",
        "objective": "sigmoid",
        "track": "sparsity",
        "device": "cpu",
        "devices": "1",
        "num_nodes": "1",
        "strategy": "auto",
        "precision": "64-true",
        "threads": "1",
    }
    assert given.keys() == FLAGS.keys() - {"lr_grid", "task", "pretrained"}
    words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
    outcome = run("train", *words, "--out", tmp_path, "--name", "mine")
    assert outcome.exit_code == 0, outcome.stderr
    assert Study.load(tmp_path / "mine").recipe == make_recipe("train", flags=given)


def test_an_autoencoder_is_judged_by_its_error(run, tmp_path):
    outcome = run("compare", *QUICK, "--task", "reconstruction", "--rules", "lfp", "--out", tmp_path)
    assert "test squared error" in outcome.stdout


def test_the_command_in_a_report_repeats_the_run(run, tmp_path):
    assert run("compare", *QUICK, "--lr-grid", "0.3,0.1", "--out", tmp_path, "--name", "first").exit_code == 0
    first = Study.load(tmp_path / "first")
    page = html.unescape((tmp_path / "first" / "report.html").read_text())
    _, *words = shlex.split(page.partition("<pre>")[2].partition("</pre>")[0])
    assert run(*words, "--out", tmp_path, "--name", "again").exit_code == 0
    assert without_times(Study.load(tmp_path / "again")) == without_times(first)


def test_a_spiking_network_brings_its_own_defaults(run, tmp_path):
    spiking = ("--model", "lif-8", "--rules", "lfp", "--epochs", "1", "--seeds", "1", "--data", "circles")
    for name, given in {"default": (), "given": ("--optimizer", "sgd", "--activation", "step")}.items():
        assert run("compare", *spiking, *given, "--out", tmp_path, "--name", name).exit_code == 0
    recipes = [Study.load(tmp_path / name).recipe for name in ("default", "given")]
    assert [(one.optimizer.name, one.model.activation) for one in recipes] == [("adam", "atan"), ("sgd", "step")]


def test_a_recipe_is_compared_by_its_rules_and_flags_change_it(run, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("data: circles\nmodel: 8\nrule: [lfp, dfa]\ntraining: {epochs: 3}\ntrack: {loggers: []}\n")
    outcome = run("compare", file, "--epochs", "1", "-o", "optimizer.weight_decay=0.1", "--out", tmp_path / "runs")
    assert outcome.exit_code == 0, outcome.stderr
    study = Study.load(tmp_path / "runs" / "compare-circles-8")
    assert study.rules == ("backprop", "lfp", "dfa", "shallow")
    assert (study.recipe.training.epochs, study.recipe.optimizer.weight_decay) == (1, 0.1)


@pytest.mark.parametrize("command", ["compare", "train"])
def test_help_shows_the_options_with_defaults_and_examples(run, command):
    text = run(command, "--help").stdout
    assert "Examples" in text
    assert f"altprop {command} " in text
    for name in FLAGS:
        assert f"--{name.replace('_', '-')}" in text
    assert "[default: 256-256]" in text


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("data", DATA_SETS),
        ("models", [*MODELS, *SPIKING_MODELS]),
        ("rules", RULES),
        ("composites", COMPOSITES),
        ("objectives", [*LOSSES, *REWARDS, *SPIKE_REWARDS]),
    ],
)
def test_what_there_is_can_be_listed(run, command, names):
    outcome = run(command)
    assert outcome.exit_code == 0
    assert all(name in outcome.stdout for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "digit"], "--data: There is no data set 'digit'. Did you mean 'digits'?"),
        (["--model", "lenett"], "--model: There is no model 'lenett'. Did you mean 'lenet'?"),
        (["--rule", "lpf"], "--rules: There is no rule 'lpf'. Did you mean 'lfp'?"),
        (["--rule", "lfp:epsilom=1"], "Did you mean 'epsilon'?"),
        (["--objective", "softmx"], "--objective: There is no objective 'softmx'. Did you mean 'softmax'?"),
        (["--activation", "rellu"], "--activation: There is no activation 'rellu'. Did you mean 'relu'?"),
        (["--epochs", "0"], "--epochs: Input should be greater than or equal to 1, got 0."),
        (["--optimizer", "sdg"], "--optimizer: Input should be 'sgd', 'adam' or 'adamw', got 'sdg'."),
        (["--lr", "fast"], "--lr: Input should be a valid number, unable to parse string as a number, got 'fast'."),
        (["--lr", "0.1", "--lr-grid", "0.1,0.2"], "--lr-grid: optimizer.lr is given too: give either"),
        (["--data", "circles", "--model", "lenet"], "The model 'lenet' takes images of at least 16×16 pixels"),
        (
            ["--objective", "regression"],
            "--objective: 'regression' is for regression and recon",
        ),
        (["--device", "cuba"], "--device: a device is cpu, cuda, one of several GPUs such as cuda:1"),
        (["--device", "cuda:99"], "The device 'cuda:99' cannot be used"),
    ],
)
def test_wrong_input_is_named_and_nothing_is_written(run, tmp_path, options, message):
    outcome = run("compare", *options, "--out", tmp_path)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_all_wrong_options_are_named_at_once(run):
    outcome = run("train", "--data", "digit", "--epochs", "many")
    assert "--data: " in outcome.stderr
    assert "--epochs: " in outcome.stderr


def test_earlier_results_are_not_replaced_unless_asked(run, tmp_path):
    once = ("train", *QUICK, "--out", tmp_path, "--name", "kept")
    assert run(*once).exit_code == 0
    refused = run(*once)
    assert refused.exit_code == 2
    assert "Choose another name (--name), replace it (--overwrite)" in refused.stderr
    assert run(*once, "--overwrite").exit_code == 0


def test_a_training_run_that_diverges_ends_with_an_error_code(run, tmp_path):
    outcome = run("train", *QUICK, "--lr", "1e30", "--clip", "0", "--out", tmp_path)
    assert outcome.exit_code == 1
    assert "note: lfp (seed 0) diverged at step 2" in outcome.stdout
    assert not list(tmp_path.rglob("cells/*/model.safetensors")), "weights that are not numbers are of no use"


def test_an_interrupted_comparison_shows_and_keeps_what_it_had(run, tmp_path, monkeypatch):
    class ImpatientBar(progress.Bar):
        """Presses Ctrl-C in the middle of the second rule."""

        def stage(self, text):
            self.left = 5 if text.startswith("lfp") else 10**9

        def advance(self):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    monkeypatch.setattr(progress, "Bar", ImpatientBar)
    outcome = run("compare", *QUICK, "--out", tmp_path)
    assert outcome.exit_code == 130
    assert "Interrupted: go on with it by --resume --name compare-circles-8." in outcome.stderr
    kept = Study.load(tmp_path / "compare-circles-8")
    assert [(cell.rule, cell.status) for cell in kept.cells] == [("backprop", "finished"), ("lfp", "interrupted")]
    monkeypatch.undo()
    again = run("compare", *QUICK, "--out", tmp_path, "--name", "compare-circles-8", "--resume")
    assert again.exit_code == 0, again.stderr
    assert not Study.load(tmp_path / "compare-circles-8").interrupted


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a training run on the digits."""
    out = tmp_path_factory.mktemp("runs")
    words = "train --rule backprop --data digits --model 8 --epochs 1 --seeds 1 --threads 1 --name toy --out"
    assert CliRunner().invoke(altprop.cli.app, [*words.split(), str(out)]).exit_code == 0
    return out / "toy"


def test_explain_prints_the_tables_and_writes_the_report_it_names(run, tmp_path, trained):
    words = ("explain", "--model", trained, "--data", "digits", "--index", "3,5", "--rules", "epsilon,gradient")
    outcome = run(*words, "--out", tmp_path)
    assert outcome.exit_code == 0, outcome.stderr
    folder = tmp_path / "explain-toy-digits"
    assert f"Report: {folder / 'report.html'}" in outcome.stdout
    explanations = Explanations.load(folder)
    for one in explanations.inputs:
        assert one.name in outcome.stdout
        assert f"{one.output:.4g}" in outcome.stdout
    for rule in explanations.outcomes:
        assert f"{explanations.mean_output:.4g} │" in outcome.stdout
        assert f"{rule.mean_sum:.4g} │" in outcome.stdout


def test_every_option_of_explain_reaches_the_settings(run, tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "w.pt")
    given = {
        "images": str(tmp_path / "red.png"),
        "index": "1,2",
        "model": "torchvision:squeezenet1_1",
        "weights": str(tmp_path / "w.pt"),
        "composites": "epsilon:epsilon=0.1,gradient",
        "target": "tabby",
        "size": "32",
        "seed": "4",
        "device": "cpu",
        "out": str(tmp_path),
        "name": "mine",
    }
    assert given.keys() == ExplainSettings.model_fields.keys() - {"data", "overwrite"}
    options = {name: value for name, value in given.items() if name != "images"}
    outcome = run("explain", given["images"], *(word for name in options for word in (f"--{name}", options[name])))
    assert outcome.exit_code == 0, outcome.stderr
    assert Explanations.load(tmp_path / "mine").settings == ExplainSettings(**given)


def test_the_command_in_an_explanations_report_repeats_it(run, tmp_path, trained):
    Image.new("L", (9, 9), 200).save(tmp_path / "an image.png")
    words = ("explain", tmp_path / "an image.png", "--model", trained, "--composites", "epsilon", "--target", "3")
    assert run(*words, "--out", tmp_path, "--name", "first").exit_code == 0
    first = Explanations.load(tmp_path / "first")
    _, *again = shlex.split(first.settings.command("explain"))
    assert run(*again, "--out", tmp_path, "--name", "again").exit_code == 0
    assert torch.equal(Explanations.load(tmp_path / "again").relevance["epsilon"], first.relevance["epsilon"])


def test_notes_of_explain_are_printed(run, tmp_path):
    Image.new("RGB", (40, 40), "red").save(tmp_path / "red.png")
    options = ("--model", "torchvision:squeezenet1_1", "--size", "32", "--rules", "gradient", "--out", tmp_path)
    assert (
        "note: The weights of squeezenet1_1 are random (seed 0)"
        in run("explain", tmp_path / "red.png", *options).stdout
    )


def test_help_of_explain_shows_the_options_and_examples(run):
    text = run("explain", "--help").stdout
    assert "altprop explain cat.jpg --model torchvision:vgg16:DEFAULT" in text
    assert "[IMAGES]" in text
    for name in ExplainSettings.model_fields.keys() - {"images"}:
        assert f"--{name}" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Name a network to explain with --model"),
        (["--model", "nowhere"], "There is no folder or file nowhere"),
        (
            ["--model", "{trained}", "--index", "400"],
            "The index 400 is out of range: digits has test samples from 0 to 359",
        ),
        (["--model", "{trained}", "--index", "three"], "--index: Input should be a valid integer"),
        (["--model", "{trained}", "--target", "10"], "The target 10 is out of range"),
        (
            ["--rules", "epsilon_pluss"],
            "--composites: There is no composite 'epsilon_pluss'. Did you mean 'epsilon_plus'?",
        ),
        (["--data", "digit"], "--data: There is no data set 'digit'. Did you mean 'digits'?"),
        (["nowhere.png", "--model", "{trained}"], "There is no image file or folder nowhere.png"),
        (["{trained}/study.json", "--model", "{trained}"], "study.json cannot be read as an image"),
        (["--model", "torchvision:vgg61"], "There is no torchvision model 'vgg61'. Did you mean "),
        (["a.png", "--data", "digits"], "Give either images or data, not both."),
    ],
)
def test_wrong_input_of_explain_is_named_and_nothing_is_written(run, tmp_path, trained, options, message):
    outcome = run("explain", *(word.format(trained=trained) for word in options), "--out", tmp_path)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_an_interrupted_explanation_writes_nothing(run, tmp_path, trained, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(altprop.LRP, "attribute", interrupted)
    outcome = run("explain", "--model", trained, "--out", tmp_path)
    assert outcome.exit_code == 130
    assert "nothing was written" in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_package_names_the_extra_that_brings_it():
    program = "import sys; sys.modules['pydantic'] = None; import altprop.cli"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "pip install 'altprop[experiments]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_command_is_installed():
    command = Path(sys.executable).parent / "altprop"
    ended = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
    assert ended.stdout == f"altprop {altprop.cli.version('altprop')}\n"


def test_help_waits_for_nothing_that_it_does_not_need():
    heavy = "torch numpy sklearn matplotlib torchvision optuna torchmetrics lightning_fabric mlxtend mnist1d jinja2 PIL"
    program = (
        "import sys; sys.argv = ['altprop', '--help']; from altprop.cli import main\n"
        f"try: main()\nexcept SystemExit: print(*set({heavy.split()}) & set(sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "compare" in ended.stdout
    assert ended.stderr.strip() == ""


def test_published_weights_are_for_networks_that_were_published(run, tmp_path):
    outcome = run("train", "--model", "8", "--pretrained", "--out", tmp_path)
    assert outcome.exit_code == 2
    assert "'8' has no published weights" in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_kept_networks_are_pruned_and_attacked(run, tmp_path):
    folder = tmp_path / "mine"
    assert run("compare", *QUICK, "--rules", "lfp", "--out", tmp_path, "--name", "mine").exit_code == 0
    for command, option in {"prune": "--rates", "robustness": "--epsilons"}.items():
        outcome = run(command, folder, option, "0.1,0.5", "--out", tmp_path, "--name", command)
        assert outcome.exit_code == 0, outcome.stderr
        assert "withstands" in outcome.stdout
        assert (tmp_path / command / "report.html").exists()


@pytest.mark.parametrize("command", ["prune", "robustness"])
def test_a_folder_without_networks_is_an_error_and_leaves_nothing(run, tmp_path, command):
    outcome = run(command, tmp_path / "none", "--out", tmp_path)
    assert outcome.exit_code == 2
    assert "There is no folder" in outcome.stderr
    assert "altprop compare --name mine" in outcome.stderr
    assert not list(tmp_path.iterdir())
