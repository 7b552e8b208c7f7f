"""Each data set, read from small files of its original format."""

import re
from pathlib import Path

import pytest
import torch

from altprop.experiment import DATA, InputError
from altprop.experiment.data.catalog import DATA_SETS
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.preparing import Look
from altprop.experiment.data.section import DataSection
from tests.experiment.data.originals import MAKERS, class_folders, idx, image_folder, noise, picture

# Of each: the shape, the number of classes, and how many are for training, validation and testing.
KNOWN = {
    "mnist": ((1, 28, 28), 10, 20, None, 10),
    "fashion-mnist": ((1, 28, 28), 10, 20, None, 10),
    "cifar-10": ((3, 32, 32), 10, 50, None, 10),
    "cifar-100": ((3, 32, 32), 100, 20, None, 10),
    "svhn": ((3, 32, 32), 10, 20, None, 10),
    "eurosat": ((3, 64, 64), 2, 8, None, 2),
    "caltech-256": ((3, 224, 224), 2, 8, None, 2),
    "flowers-102": ((3, 224, 224), 102, 102, 102, 102),
    "food-11": ((3, 224, 224), 11, 22, 22, 22),
    "tiny-imagenet": ((3, 64, 64), 3, 12, None, 6),
    "cub-200": ((3, 224, 224), 2, 6, None, 4),
    "isic": ((3, 224, 224), 9, 8, None, 2),
    "imagenet": ((3, 224, 224), 2, 10, None, 10),
    "folder": ((3, 224, 224), 2, 10, None, 10),
}


def opened(name, root, **more):
    return open_data(DataSection(name=name, root=root, **more))


def test_every_data_set_of_files_is_tested():
    assert KNOWN.keys() == MAKERS.keys() == DATA_SETS.keys() - DATA.keys()


@pytest.mark.parametrize("name", KNOWN)
def test_the_parts_are_those_of_the_files(name, tmp_path, monkeypatch):
    MAKERS[name](tmp_path, monkeypatch)
    splits, (shape, outputs, train, validation, test) = opened(name, tmp_path), KNOWN[name]
    assert (splits.name, splits.task, splits.input_shape, splits.outputs) == (name, "classification", shape, outputs)
    assert len(splits.classes) == len(set(splits.classes)) == outputs
    assert (len(splits.train), splits.validation and len(splits.validation), len(splits.test)) == (
        train,
        validation,
        test,
    )
    for part in filter(None, (splits.train, splits.validation, splits.test)):
        x, y = part.batch(torch.tensor([len(part) - 1, 0]), epoch=1)
        assert (x.shape, x.dtype, y.shape, y.dtype) == ((2, *shape), torch.float32, (2,), torch.int64)
        assert 0 <= int(y.min()) <= int(y.max()) < outputs


@pytest.mark.parametrize("name", KNOWN)
def test_pixels_are_normalised_as_listed(name, tmp_path, monkeypatch):
    MAKERS[name](tmp_path, monkeypatch)
    splits, look = opened(name, tmp_path), DATA_SETS[name].look
    x, _ = splits.train.batch(torch.arange(len(splits.train)), epoch=0)
    for channel, (mean, deviation) in enumerate(zip(look.mean, look.deviation, strict=True)):
        pixels = 255 * (x[:, channel] * deviation + mean)
        assert torch.allclose(pixels, pixels.round(), atol=2e-3)
        assert pixels.min() > -0.01
        assert pixels.max() < 255.01


def test_idx_files_keep_pixels_and_classes_in_their_places(tmp_path, monkeypatch):
    idx(tmp_path, monkeypatch)
    x, y = opened("mnist", tmp_path).train.batch(torch.tensor([7, 12]), epoch=0)
    pixels = torch.from_numpy(noise(20, 28, 28)[[7, 12]]) / 255
    torch.testing.assert_close(x[:, 0] * 0.3081 + 0.1307, pixels)
    assert y.tolist() == [7, 2]


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_may_be_packed_or_not_and_in_the_root_itself(packed, tmp_path, monkeypatch):
    idx(tmp_path, monkeypatch, packed=packed)
    usual = opened("mnist", tmp_path)
    direct = opened("mnist", tmp_path / "MNIST" / "raw")
    assert torch.equal(usual.test.batch(torch.arange(10), 0)[0], direct.test.batch(torch.arange(10), 0)[0])


def test_cifar_has_rows_of_pixels_by_channel(tmp_path, monkeypatch):
    MAKERS["cifar-10"](tmp_path, monkeypatch)
    splits = opened("cifar-10", tmp_path / "cifar-10-batches-py")
    x, y = splits.test.batch(torch.tensor([3]), epoch=0)
    mean, deviation = (
        torch.tensor(one).reshape(3, 1, 1) for one in ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    )
    torch.testing.assert_close(x[0] * deviation + mean, torch.from_numpy(noise(10, 3072)[3].reshape(3, 32, 32)) / 255)
    assert splits.classes[int(y)] == "class 3"


def test_the_digit_nought_of_svhn_is_class_0(tmp_path, monkeypatch):
    MAKERS["svhn"](tmp_path, monkeypatch)
    x, y = opened("svhn", tmp_path).test.batch(torch.arange(10), epoch=0)
    assert y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    pixels = torch.from_numpy(noise(32, 32, 3, 10)[:, :, :, 4]).permute(2, 0, 1) / 255
    mean, deviation = (torch.tensor(one).reshape(3, 1, 1) for one in ((0.4377, 0.4438, 0.4728), (0.198, 0.201, 0.197)))
    torch.testing.assert_close(x[4] * deviation + mean, pixels)


def red(splits, part, index):
    """The red value of an image of one colour, as it was written."""
    x, _ = getattr(splits, part).batch(torch.tensor([index]), epoch=0)
    return 255 * float(x[0, 0].mean() * 0.229 + 0.485)


def test_images_and_classes_of_files_belong_together(tmp_path, monkeypatch):
    MAKERS["food-11"](tmp_path, monkeypatch)
    splits = opened("food-11", tmp_path)
    _, classes = splits.train.batch(torch.arange(22), epoch=0)
    for index in (0, 5, 21):
        assert round(red(splits, "train", index)) % 11 == pytest.approx(int(classes[index]), abs=3)
    assert splits.classes[int(classes[0])] == "Bread"


def test_tables_say_which_image_is_what(tmp_path, monkeypatch):
    MAKERS["cub-200"](tmp_path, monkeypatch)
    splits = opened("cub-200", tmp_path)
    assert splits.train.batch(torch.arange(6), 0)[1].tolist() == [0, 0, 0, 1, 1, 1]
    assert [file.name for file in splits.test.images.files] == [f"bird_{one}.jpg" for one in (3, 4, 8, 9)]
    MAKERS["tiny-imagenet"](tmp_path, monkeypatch)
    assert opened("tiny-imagenet", tmp_path).test.batch(torch.arange(6), 0)[1].tolist() == [0, 0, 1, 1, 2, 2]


def test_the_table_of_isic_says_the_diagnosis_and_a_lesion_in_two_sizes_counts_once(tmp_path, monkeypatch):
    MAKERS["isic"](tmp_path, monkeypatch)
    splits = opened("isic", tmp_path / "ISIC_2019")
    assert splits.classes == ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    diagnoses = {}
    for part in (splits.train, splits.test):
        names = [part.images.files[number].stem for number in part.numbers.tolist()]
        diagnoses |= dict(zip(names, part.targets.tolist(), strict=True))
    assert diagnoses == {
        f"ISIC_000000{number}" + "_downsampled" * (number == 3): 1 if number < 5 else 7 for number in range(10)
    }


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "is no table with a line for each image"),
        ("image,MEL,NV\n", "it has no column image, or no images"),
        ("picture,MEL\na,1.0\n", "it has no column image, or no images"),
        ("image,MEL,NV\nISIC_1,1.0\n", "the line of ISIC_1 has 2 columns"),
        ("image,MEL,NV\nISIC_1,1.0,1.0\n", "of 1.0, 1.0 one must be 1, the diagnosis"),
        ("image,MEL,NV\nISIC_1,yes,no\n", "of yes, no one must be 1, the diagnosis"),
    ],
)
def test_a_broken_table_of_isic_is_told(table, message, tmp_path, monkeypatch):
    MAKERS["isic"](tmp_path, monkeypatch)
    (tmp_path / "ISIC_2019" / "ISIC_2019_Training_GroundTruth.csv").write_text(table)
    with pytest.raises(InputError, match=f"GroundTruth.csv.*{message}.*: put the published file there"):
        opened("isic", tmp_path)


def test_photographs_keep_their_proportions(tmp_path):
    class_folders(tmp_path / "train", ["a", "b"], size=(300, 100))
    for part in ("train", "test"):
        for name in ("a", "b"):
            picture(tmp_path / part / name / "wide.png", size=(300, 100))
    splits = opened("folder", tmp_path, size=50)
    image = splits.test.images.image(0)
    image[:, :, :100], image[:, :, 200:] = 0, 0
    # Only the middle of a wide photograph is seen: black sides are cut off.
    seen = splits.test.look.evaluation(50)(image)
    assert seen.shape == (3, 50, 50)
    assert seen[2].min() > 0


def test_a_folder_may_have_a_validation_part_or_no_parts(tmp_path):
    image_folder(tmp_path / "three", ("train", "val", "test"))
    three = opened("folder", tmp_path / "three")
    assert (len(three.train), len(three.validation), len(three.test)) == (10, 10, 10)
    class_folders(tmp_path / "one", ["cat", "dog"], each=10)
    one = opened("folder", tmp_path / "one", validation=0.25, seed=1)
    assert (len(one.train), len(one.validation), len(one.test)) == (12, 4, 4)
    parts = (one.train.numbers, one.validation.numbers, one.test.numbers)
    assert sorted(torch.cat(parts).tolist()) == list(range(20))
    # What is tested on does not depend on the seed of the training data.
    assert torch.equal(one.test.numbers, opened("folder", tmp_path / "one", seed=7).test.numbers)


def test_a_fraction_for_validation_replaces_the_published_part(tmp_path, monkeypatch):
    MAKERS["food-11"](tmp_path, monkeypatch)
    splits = opened("food-11", tmp_path, validation=0.5)
    assert (len(splits.train), len(splits.validation)) == (11, 11)
    assert sorted(splits.validation.targets.tolist()) == list(range(11))


@pytest.mark.parametrize("name", KNOWN)
def test_reading_writes_nothing(name, tmp_path, monkeypatch):
    MAKERS[name](tmp_path, monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    opened(name, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_listed_names_the_shape_of_images(name):
    shape = re.search(r"(\d)×(\d+)×(\d+)", DATA_SETS[name].size)
    assert shape is None or tuple(map(int, shape.groups())) == KNOWN[name][0]


def test_the_page_on_data_says_of_each_set_what_the_catalog_says():
    page = (Path(__file__).parents[3] / "docs" / "data.md").read_text()
    rows = {row[1]: row for row in re.findall(r"^(\| `([\w-]+)`( ↓)? \|.*)$", page, re.MULTILINE)}
    assert rows.keys() == KNOWN.keys()
    for name, (row, _, downloads) in rows.items():
        known = DATA_SETS[name]
        assert bool(downloads) == known.downloads
        assert f"{known.look.channels}×{known.look.size}×{known.look.size} |" in row
        assert f"| {known.look.describe()} |" in row
        assert ("ImageNet's" in row) == (known.look.mean == Look(224).mean)
    assert all(f"`{name}`" in page for name in DATA)


def test_the_root_may_be_in_the_name_and_begin_at_home(tmp_path, monkeypatch):
    MAKERS["mnist"](tmp_path / "files", monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    for section in (DataSection(name="mnist:~/files"), DataSection(name="mnist", root="~/files")):
        assert open_data(section).name == "mnist"
