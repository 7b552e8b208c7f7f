"""Where figures go besides the folder."""

import csv
from importlib import util

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from altprop.experiment import InputError
from altprop.experiment.training import loggers
from altprop.experiment.training.fit import fit
from tests.experiment.training.toys import toy


def trained(folder, circles, logger, epochs=2, resume=False):
    recipe = toy(training={"epochs": epochs}, track={"loggers": (logger,), "metrics": ("norms",)})
    return fit(recipe, seed=0, splits=circles, folder=folder, resume=resume)


def test_csv(tmp_path, circles):
    trained(tmp_path, circles, "csv")
    history = trained(tmp_path, circles, "csv", epochs=3, resume=True).history
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [4, 8, 12]
    for row, figures in zip(rows, history, strict=True):
        assert float(row["train_loss"]) == figures.train_loss
        assert float(row["weight_norm"]) == figures.tracked["weight_norm"]


def test_tensorboard(tmp_path, circles):
    trained(tmp_path, circles, "tensorboard")
    history = trained(tmp_path, circles, "tensorboard", epochs=3, resume=True).history
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = events.Scalars("train_loss")
    assert [event.step for event in losses] == [4, 8, 12]
    assert [event.value for event in losses] == pytest.approx([figures.train_loss for figures in history])
    assert "norm_ratio/linear1" in events.Tags()["scalars"]


@pytest.mark.filterwarnings("ignore")  # the service's own
def test_mlflow(tmp_path, circles, monkeypatch):
    from mlflow import MlflowClient  # noqa: PLC0415  (who collects the tests in another process need not wait for it)

    uri = f"sqlite:///{tmp_path}/own.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    trained(tmp_path, circles, "mlflow")
    history = trained(tmp_path, circles, "mlflow", epochs=3, resume=True).history
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("altprop").experiment_id])
    assert len(runs) == 1
    losses = client.get_metric_history(runs[0].info.run_id, "train_loss")
    assert {one.step: one.value for one in losses} == {figures.step: figures.train_loss for figures in history}


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline(tmp_path, circles, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    trained(tmp_path, circles, "wandb", epochs=1)
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert (tmp_path / "wandb-id.txt").read_text()


@pytest.mark.parametrize(
    ("logger", "extra"), [("wandb", "wandb"), ("mlflow", "mlflow"), ("tensorboard", "experiments")]
)
def test_a_missing_package_names_its_extra(logger, extra, circles, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None if name == logger else util.find_spec(name))
    with pytest.raises(InputError, match=rf"pip install .*\[{extra}\]"):
        trained(tmp_path / "run", circles, logger)
    assert not (tmp_path / "run").exists()


def test_without_a_folder_nothing_is_logged(tmp_path, circles, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(toy(), seed=0, splits=circles)
    assert not list(tmp_path.iterdir())
