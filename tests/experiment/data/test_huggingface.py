"""Hugging Face's data sets: saved, as files of parquet, as folders; the columns are found by their types."""

import datasets
import pytest
import torch
from datasets import ClassLabel, DatasetDict, Features, Value
from PIL import Image

from altprop.experiment import InputError
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.section import DataSection
from tests.experiment.data.originals import class_folders, noise


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def table(count=10, shape=(12, 12, 3), classes=("cat", "dog"), image="picture", label="kind"):
    columns = {
        "id": list(range(count)),
        image: [Image.fromarray(noise(*shape) // (one + 1)) for one in range(count)],
        label: [one % len(classes) for one in range(count)],
    }
    features = {"id": Value("int64"), image: datasets.Image(), label: ClassLabel(names=list(classes))}
    return datasets.Dataset.from_dict(columns, features=Features(features))


def opened(folder, **more):
    return open_data(DataSection(name=f"hf:{folder}", **more))


def test_a_saved_data_set_is_read_with_its_parts_and_classes(tmp_path):
    DatasetDict(train=table(), validation=table(4), test=table(6)).save_to_disk(tmp_path / "saved")
    splits = opened(tmp_path / "saved")
    assert (splits.input_shape, splits.outputs, splits.classes) == ((3, 12, 12), 2, ("cat", "dog"))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (10, 4, 6)
    x, y = splits.train.batch(torch.tensor([1]), epoch=0)
    mean, deviation = (torch.tensor(one).reshape(3, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = torch.from_numpy(noise(12, 12, 3) // 2).permute(2, 0, 1) / 255
    torch.testing.assert_close(x[0] * deviation + mean, expected)
    assert y.tolist() == [1]


def test_a_validation_part_is_for_testing_if_there_is_no_other(tmp_path):
    DatasetDict(train=table(), validation=table(4)).save_to_disk(tmp_path / "saved")
    splits = opened(tmp_path / "saved")
    assert splits.validation is None
    assert len(splits.test) == 4


def test_one_table_is_split(tmp_path):
    table().save_to_disk(tmp_path / "saved")
    splits = opened(tmp_path / "saved", validation=0.25, workers=1, augment=True)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 2, 2)
    assert splits.train.batch(torch.arange(6), 1)[0].shape == (6, 3, 12, 12)


def test_files_of_parquet_and_folders_of_images_are_read(tmp_path):
    (tmp_path / "parquet").mkdir()
    table().to_parquet(tmp_path / "parquet" / "train.parquet")
    table(4).to_parquet(tmp_path / "parquet" / "test.parquet")
    splits = opened(tmp_path / "parquet")
    assert (len(splits.train), len(splits.test), splits.classes) == (10, 4, ("cat", "dog"))
    for part in ("train", "test"):
        class_folders(tmp_path / "images" / part, ["cat", "dog"], size=(80, 70))
    splits = opened(tmp_path / "images")
    assert (splits.input_shape, len(splits.train), splits.classes) == ((3, 224, 224), 10, ("cat", "dog"))


def test_grey_images_are_normalised_by_the_training_data(tmp_path):
    DatasetDict(train=table(shape=(12, 12)), test=table(2, shape=(12, 12))).save_to_disk(tmp_path / "saved")
    splits = opened(tmp_path / "saved")
    assert splits.input_shape == (1, 12, 12)
    x, _ = splits.train.batch(torch.arange(10), epoch=0)
    assert float(x.mean()) == pytest.approx(0, abs=1e-5)
    assert float(x.std()) == pytest.approx(1, abs=1e-5)


def test_fine_classes_are_taken_before_coarse_ones(tmp_path):
    fine = table(label="fine_label")
    both = fine.add_column("coarse_label", [0] * 10).cast_column("coarse_label", ClassLabel(names=["all"]))
    both.save_to_disk(tmp_path / "saved")
    assert opened(tmp_path / "saved").outputs == 2


BROKEN = {
    "no classes": (lambda: table().remove_columns("kind"), "one of class labels, but has 1 and 0 among id, picture:"),
    "no images": (lambda: table().remove_columns("picture"), "needs one column of images and one of class labels"),
    "two columns of images": (
        lambda: datasets.concatenate_datasets([table(), table(image="again").select_columns("again")], axis=1),
        "has 2 and 1 among id, picture, kind, again: cast or rename",
    ),
    "an image without a label": (
        lambda: datasets.concatenate_datasets([table(), table(2).map(lambda row: {"kind": None})]),
        "train: image 10 has no label; remove such images",
    ),
    "no images in it": (lambda: table().select([]), "cannot be loaded ("),
    "no training part": (lambda: DatasetDict(test=table()), "has no part called train, only test"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_trained_on_is_named_in_a_line(kind, tmp_path):
    make, message = BROKEN[kind]
    make().save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError) as caught:
        opened(tmp_path / "saved")
    assert message in str(caught.value)
    assert f"hf:{tmp_path}/saved" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=f"cannot be loaded .*Put files of parquet or images.* into {tmp_path}"):
        opened(tmp_path)


def test_nothing_is_downloaded_unless_it_was_asked_for(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("went to the network"))
    before = datasets.config.HF_HUB_OFFLINE
    with pytest.raises(InputError, match=r"hf:some/thing cannot be loaded .*`altprop data download hf:some/thing`"):
        open_data(DataSection(name="hf:some/thing"))
    assert before == datasets.config.HF_HUB_OFFLINE


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(InputError, match=r"needs a package: pip install .*\[datasets\]"):
        opened(tmp_path)
