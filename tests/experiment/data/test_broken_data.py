"""Broken data: each kind gives one line that names the file or folder and what to do, and writes nothing."""

import gzip
import shutil

import pytest
import torch

from altprop.experiment import InputError
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.section import DataSection
from tests.experiment.data.originals import MAKERS


def cut(file):
    """Leave the first half of a file."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(folder):
    """Remove what is in a folder."""
    shutil.rmtree(folder)
    folder.mkdir()


def replace_line(file, number, line):
    lines = file.read_text().splitlines()
    lines[number : number + 1] = [] if line is None else [line]
    file.write_text("\n".join(lines))


def unpacked_but_cut(raw):
    packed = raw / "t10k-images-idx3-ubyte.gz"
    (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes())[:500])


def labels_for_images(raw):
    for name in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        (raw / name).write_bytes(gzip.decompress((raw / f"{name}.gz").read_bytes()))
    shutil.copy(raw / "t10k-labels-idx1-ubyte", raw / "train-labels-idx1-ubyte")


RAW, CIFAR, FLOWERS = "MNIST/raw", "cifar-10-batches-py", "flowers-102"
TINY, CUB, CALTECH = "tiny-imagenet-200", "CUB_200_2011", "caltech256/256_ObjectCategories"

# What is done to which data set, what the line says is broken, and what it says to do.
BROKEN = {
    "nothing there": ("mnist", shutil.rmtree, f"{RAW} has no train-images-idx3-ubyte.gz, train-", "Put the published"),
    "a file is missing": (
        "mnist",
        lambda r: (r / RAW / "t10k-labels-idx1-ubyte.gz").unlink(),
        "has no t10k-labels-idx1-ubyte.gz. Put",
        "`altprop data download mnist:",
    ),
    "a packed file is cut off": (
        "mnist",
        lambda r: cut(r / RAW / "train-images-idx3-ubyte.gz"),
        "train-images-idx3-ubyte.gz is not the published file",
        "Put the published one in its place",
    ),
    "an unpacked file is cut off": (
        "mnist",
        lambda r: unpacked_but_cut(r / RAW),
        f"{RAW}/t10k-images-idx3-ubyte cannot be read as an IDX file",
        "delete it, and put the published one",
    ),
    "labels of other images": (
        "mnist",
        lambda r: labels_for_images(r / RAW),
        "train has 20 images and 10 labels",
        "put the published files there again",
    ),
    "a changed pickle": (
        "cifar-10",
        lambda r: (r / CIFAR / "data_batch_3").write_bytes(b"cos\nsystem\n(S'true'\ntR."),
        f"{CIFAR}/data_batch_3 is not the published file",
        "data.download=true",
    ),
    "no names of classes": (
        "cifar-100",
        lambda r: (r / "cifar-100-python/meta").unlink(),
        "cifar-100-python has no meta",
        "Put the published files there (https",
    ),
    "a table is cut off": (
        "svhn",
        lambda r: cut(r / "test_32x32.mat"),
        "test_32x32.mat is not the published file",
        "altprop data download svhn:",
    ),
    "no folder of images": (
        "flowers-102",
        lambda r: shutil.rmtree(r / FLOWERS / "jpg"),
        f"{FLOWERS} has no jpg",
        "name their folder as flowers-102:FOLDER",
    ),
    "folders are missing": (
        "eurosat",
        lambda r: shutil.rmtree(r / "eurosat" / "2750"),
        "eurosat has no 2750",
        "Put the published files there",
    ),
    "a class without images": (
        "caltech-256",
        lambda r: empty(r / CALTECH / "001.ak47"),
        f"{CALTECH}: no images in 001.ak47",
        "or remove the folder",
    ),
    "images without folders": (
        "eurosat",
        lambda r: empty(r / "eurosat" / "2750"),
        "eurosat/2750 has no folders",
        "sort its images into one for each class",
    ),
    "a file with a wrong name": (
        "food-11",
        lambda r: (r / "food-11/validation/0_0.jpg").rename(r / "food-11/validation/bread.jpg"),
        "validation/bread.jpg is not named CLASS_NUMBER.jpg",
        "rename it, or remove it",
    ),
    "a class that there is not": (
        "food-11",
        lambda r: (r / "food-11/training/0_0.jpg").rename(r / "food-11/training/11_0.jpg"),
        "training/11_0.jpg is not named",
        "with a class from 0 to 10",
    ),
    "an empty part": (
        "food-11",
        lambda r: empty(r / "food-11" / "evaluation"),
        "food-11/evaluation holds no images",
        "put files such as 0_12.jpg there",
    ),
    "no annotations": (
        "tiny-imagenet",
        lambda r: (r / TINY / "val/val_annotations.txt").unlink(),
        f"{TINY} has no val/val_annotations.txt",
        "http://cs231n.stanford.edu",
    ),
    "annotations of a strange class": (
        "tiny-imagenet",
        lambda r: replace_line(r / TINY / "val/val_annotations.txt", 2, "val_2.JPEG n999"),
        "val_annotations.txt: val_2.JPEG is of the class n999",
        "put the published files there",
    ),
    "a line without a label": (
        "cub-200",
        lambda r: replace_line(r / CUB / "image_class_labels.txt", 4, "5"),
        "image_class_labels.txt, line 5: 2 columns are needed, got '5'",
        "mend it",
    ),
    "a table that lacks an image": (
        "cub-200",
        lambda r: replace_line(r / CUB / "train_test_split.txt", 9, None),
        "train_test_split.txt has no image 10, which images.txt has",
        "put the published files there",
    ),
    "an unknown class": (
        "cub-200",
        lambda r: replace_line(r / CUB / "image_class_labels.txt", 0, "1 77"),
        "image_class_labels.txt: image 1 is of the class 77",
        "put the published files there",
    ),
    "a table that is no text": (
        "cub-200",
        lambda r: (r / CUB / "images.txt").write_bytes(b"\xff\xfe\x00"),
        "images.txt cannot be read as text",
        "put the published file there",
    ),
    "an empty table": (
        "cub-200",
        lambda r: (r / CUB / "classes.txt").write_text(""),
        "classes.txt is empty",
        "put the published file there",
    ),
    "no images for testing": (
        "cub-200",
        lambda r: (r / CUB / "train_test_split.txt").write_text("".join(f"{n} 1\n" for n in range(1, 11))),
        "train_test_split.txt has no image marked 0",
        "put the published file there",
    ),
    "no part for testing": (
        "imagenet",
        lambda r: shutil.rmtree(r / "val"),
        "has no val. Put",
        "name their folder as imagenet:FOLDER",
    ),
    "unsorted test images": (
        "imagenet",
        lambda r: empty(r / "val"),
        "val has no folders",
        "sort its images into one for each class",
    ),
    "no folder": ("folder", shutil.rmtree, "There is no folder", "name one with a folder of images for each class"),
    "training alone": (
        "folder",
        lambda r: shutil.rmtree(r / "test"),
        "has a folder train, but neither test nor val",
        "add one, or name",
    ),
    "a class only in testing": (
        "folder",
        lambda r: (r / "test" / "dog").rename(r / "test" / "dgo"),
        "test/dgo: There is no class of the training images called 'dgo'. Did you mean 'dog'?",
        "Rename or remove",
    ),
}


def line(section):
    with pytest.raises(InputError) as caught:
        open_data(section)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_data_are_named_in_a_line_with_the_remedy(kind, tmp_path, monkeypatch):
    name, damage, broken, remedy = BROKEN[kind]
    root = tmp_path / "root"
    MAKERS[name](root, monkeypatch)
    open_data(DataSection(name=name, root=root))
    damage(root)
    before = sorted(tmp_path.rglob("*"))
    told = line(DataSection(name=name, root=root))
    assert broken in told
    assert remedy in told
    assert str(root) in told
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_image_is_named_when_it_is_read(tmp_path, monkeypatch):
    MAKERS["folder"](tmp_path, monkeypatch)
    splits = open_data(DataSection(name="folder", root=tmp_path))
    cut(splits.train.images.files[1])
    splits.train.images.files[2].unlink()
    for index, why in ((1, "truncated"), (2, "it is not there")):
        with pytest.raises(InputError, match=rf"(?i)cat_000{index}.jpg cannot be read as .*{why}.*put the orig"):
            splits.train.batch(torch.tensor([index]), epoch=0)


def test_a_changed_pickle_is_never_unpickled(tmp_path, monkeypatch):
    MAKERS["cifar-10"](tmp_path, monkeypatch)
    (tmp_path / CIFAR / "data_batch_1").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    monkeypatch.setattr("pickle.load", lambda *_, **__: pytest.fail("unpickled"))
    assert "data_batch_1 is not the published file" in line(DataSection(name="cifar-10", root=tmp_path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "cifar10"}, "There is no data set 'cifar10'. Did you mean 'cifar-10'?"),
        ({"name": "mnist:here", "root": "there"}, "mnist:here names a folder, and there is another: leave out one"),
        ({"name": "hf:"}, "Name a data set of the Hugging Face Hub, or a folder, such as hf:ylecun/mnist."),
        ({"name": "hf:./nowhere"}, "There is no folder nowhere: name a data set of the Hugging Face Hub, or a folder"),
        ({"name": "hf:a/b", "root": "there"}, "hf:a/b is kept in the cache of Hugging Face (HF_HOME): leave out there"),
    ],
)
def test_names_that_mean_nothing_are_refused(given, message):
    assert message in line(DataSection(**given))


def test_too_few_examples_are_refused(tmp_path, monkeypatch):
    MAKERS["mnist"](tmp_path, monkeypatch)
    assert "A share of 0.01 of 20 examples" in line(DataSection(name="mnist", root=tmp_path, fraction=0.01))
