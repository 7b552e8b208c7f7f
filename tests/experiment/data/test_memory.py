"""Whole data sets in memory, and what takes them by name: comparisons, training, explanations."""

from pathlib import Path

import pytest
import torch

from altprop.experiment import ExplainSettings, InputError, compare, explain, load_data, train
from altprop.experiment.data import memory
from altprop.experiment.data.names import parse_data
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.section import DataSection
from altprop.experiment.recipes.flags import make_recipe
from tests.experiment.data.originals import MAKERS


@pytest.mark.parametrize("name", ["mnist", "cifar-10", "svhn", "eurosat", "tiny-imagenet"])
def test_all_examples_are_loaded_in_their_order(name, tmp_path, monkeypatch):
    MAKERS[name](tmp_path, monkeypatch)
    monkeypatch.setattr(memory, "_AT_A_TIME", 7)
    data, splits = load_data(f"{name}:{tmp_path}"), open_data(DataSection(name=name, root=tmp_path))
    assert (data.name, data.task, data.outputs) == (name, "classification", splits.outputs)
    x, y = splits.train.batch(torch.arange(len(splits.train)), epoch=0)
    assert torch.equal(data.train.x, x)
    assert torch.equal(data.train.y, y)
    assert len(data.test.x) == len(splits.test)


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    MAKERS["flowers-102"](tmp_path, monkeypatch)
    monkeypatch.setattr(memory, "LIMIT", 2**20)
    monkeypatch.setattr(memory, "_all", lambda *_: pytest.fail("read"))
    with pytest.raises(InputError, match=r"flowers-102 takes 0\.1 GiB in memory.*`altprop train recipe.yaml`"):
        load_data(f"flowers-102:{tmp_path}")


@pytest.mark.parametrize(
    ("text", "name", "root"),
    [
        ("digits", "digits", None),
        ("cifar-10:/data", "cifar-10", "/data"),
        ("folder:my:photos", "folder", "my:photos"),
        ("hf:user/name", "hf:user/name", None),
        ("hf:/data/saved", "hf:/data/saved", None),
    ],
)
def test_a_name_may_be_followed_by_a_folder(text, name, root):
    assert parse_data(text) == (name, root if root is None else Path(root))


def test_flags_and_settings_know_all_data_sets():
    for text in ("mnist", "cifar-10:/data", "hf:user/name"):
        assert ExplainSettings(data=text).data == text
        assert make_recipe("train", flags={"data": text, "model": "8"}).data.name == text
    with pytest.raises(ValueError, match=r"no data set 'mnits'\. Did you mean 'mnist'"):
        ExplainSettings(data="mnits:/data")
    with pytest.raises(InputError, match=r"data: There is no data set 'mnits'\. Did you mean 'mnist'"):
        make_recipe("train", flags={"data": "mnits:/data"})


def test_a_network_is_trained_on_files_and_explained_with_them(tmp_path, monkeypatch):
    MAKERS["mnist"](tmp_path / "files", monkeypatch)
    given = f"mnist:{tmp_path / 'files'}"
    tiny = {"data": given, "model": "8", "rules": "backprop", "epochs": 1, "seeds": 1, "out": tmp_path / "runs"}
    results = train(**tiny)
    assert results.folder.name == "train-backprop-mnist-8"
    assert (results.data.name, results.data.train) == ("mnist", 20)
    for data in (None, given):
        told = explain(ExplainSettings(model=str(results.folder), data=data, composites="epsilon", index=3, out=None))
        assert told.inputs[0].true == "3"


def test_missing_files_leave_no_folder_of_results(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}/MNIST/raw has no train-images"):
        compare(data=f"mnist:{tmp_path}", out=tmp_path / "runs")
    assert not list(tmp_path.iterdir())
