"""Images made ready: the same for the same seed, epoch and number, whoever prepares them and however many do."""

import pytest
import torch
from PIL import Image

from altprop.experiment import InputError
from altprop.experiment.data.catalog import DATA_SETS
from altprop.experiment.data.images import FileImages, ImageExamples, PixelImages
from altprop.experiment.data.loading import batches
from altprop.experiment.data.opening import open_data
from altprop.experiment.data.preparing import Look
from altprop.experiment.data.section import DataSection
from tests.experiment.data.originals import MAKERS, noise, picture

ALL = torch.arange(10)


@pytest.fixture(scope="module")
def pixels():
    return torch.from_numpy(noise(10, 3, 16, 16))


def examples(pixels, augment=True, **more):
    look = Look(16, **{"shift": 4, **more})
    return ImageExamples(PixelImages(pixels), ALL, ALL % 3, look, look.size, augment=augment)


def photographs(folder, augment=True):
    files = []
    for number in range(10):
        files.append(folder / f"{number}.png")
        Image.fromarray(noise(24, 30, 3) // (number + 1)).save(files[-1])
    return ImageExamples(FileImages(tuple(files)), ALL, ALL % 3, Look(16, photo=True), 16, augment)


def test_augmentation_follows_from_seed_epoch_and_index_alone(pixels):
    one = examples(pixels)
    x, y = one.batch(ALL, epoch=2)
    assert torch.equal(y, ALL % 3)
    order = torch.tensor([7, 3, 9])
    assert torch.equal(examples(pixels).batch(order, epoch=2)[0], x[order])
    assert not torch.equal(one.batch(ALL, epoch=3)[0], x)
    other = ImageExamples(one.images, ALL, ALL % 3, one.look, 16, augment=True, seed=1)
    assert not torch.equal(other.batch(ALL, epoch=2)[0], x)


def test_epoch_0_is_without_augmentation(pixels):
    plain = examples(pixels, augment=False)
    assert torch.equal(examples(pixels).batch(ALL, epoch=0)[0], plain.batch(ALL, epoch=5)[0])
    assert not torch.equal(examples(pixels).batch(ALL, epoch=1)[0], plain.batch(ALL, epoch=1)[0])


def test_augmentation_moves_no_global_random_state(pixels):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    examples(pixels).batch(ALL, epoch=1)
    list(batches(examples(pixels), ALL.split(4), 1, workers=1))
    assert torch.equal(torch.get_rng_state(), before)


def seen(x):
    """Normalised inputs as whole pixel values again."""
    mean, deviation = (torch.tensor(one).reshape(3, 1, 1) for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (255 * (x * deviation + mean)).round().to(torch.uint8)


def test_small_images_are_shifted_and_mirrored(pixels):
    """Each augmented image is a window of the padded image, mirrored or not; all sorts of windows occur."""
    padded = torch.nn.functional.pad(pixels, (2, 2, 2, 2))
    found = []
    for epoch in range(1, 4):
        x, _ = examples(pixels, shift=2).batch(ALL, epoch)
        for number, image in enumerate(seen(x)):
            windows = padded[number].unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4)
            for mirrored, one in ((False, image), (True, image.flip(-1))):
                found += [(*place, mirrored) for place in (windows == one).all((2, 3, 4)).nonzero().tolist()]
    assert len(found) == 30
    rows, columns, mirrored = zip(*found, strict=True)
    assert set(rows) == set(columns) == {0, 1, 2, 3, 4}
    assert 5 < sum(mirrored) < 25


@pytest.mark.parametrize(("mirrored", "turned"), [(False, False), (True, False), (True, True)])
def test_images_are_flipped_only_as_is_usual(pixels, mirrored, turned):
    x = torch.cat([examples(pixels, shift=0, mirrored=mirrored, turned=turned).batch(ALL, e)[0] for e in range(1, 5)])
    originals = pixels.repeat(4, 1, 1, 1)
    kinds = {flips for flips in ((), (-1,), (-2,), (-2, -1)) if (seen(x) == originals.flip(flips)).all((1, 2, 3)).any()}
    assert kinds == {(), *([(-1,)] if mirrored else []), *([(-2,), (-2, -1)] if turned else [])}


def test_photographs_show_other_parts_in_other_epochs(tmp_path):
    one = photographs(tmp_path)
    first, second = (one.batch(ALL, epoch)[0] for epoch in (1, 2))
    assert first.shape == (10, 3, 16, 16)
    assert not torch.equal(first, second)
    assert torch.equal(first, photographs(tmp_path).batch(ALL, 1)[0])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("augment", [True, False])
def test_batches_are_the_same_for_any_number_of_workers(workers, augment, tmp_path):
    one = photographs(tmp_path, augment)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3)).split(3)
    alone, together = (list(batches(one, order, 4, count)) for count in (0, workers))
    assert [y.tolist() for _, y in alone] == [(indices % 3).tolist() for indices in order]
    assert len(together) == len(alone) == 4
    for (x, y), (x_alone, y_alone) in zip(together, alone, strict=True):
        assert torch.equal(x, x_alone)
        assert torch.equal(y, y_alone)


def test_an_unreadable_file_is_named_in_a_line_by_a_worker_too(tmp_path):
    one = photographs(tmp_path)
    (tmp_path / "4.png").write_bytes(b"no image")
    for workers in (0, 1):
        with pytest.raises(InputError) as caught:
            list(batches(one, ALL.split(5), 1, workers))
        assert "4.png cannot be read as an image" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_examples_in_memory_are_indexed_directly(pixels, monkeypatch):
    monkeypatch.setattr("altprop.experiment.data.loading.DataLoader", None)  # not even made
    ready = examples(pixels, augment=False)
    (x, _), *_ = batches(ready, ALL.split(5), 1, workers=2)
    assert torch.equal(seen(x), pixels[:5])
    splits = open_data(DataSection(name="circles", workers=2))
    assert torch.equal(next(batches(splits.train, [ALL], 1, 2))[0], splits.train.x[:10])
    with pytest.raises(TypeError):
        next(batches(examples(pixels), ALL.split(5), 1, workers=2))


def test_another_size_is_made_of_small_images_too(tmp_path, monkeypatch):
    MAKERS["mnist"](tmp_path, monkeypatch)
    splits = open_data(DataSection(name="mnist", root=tmp_path, size=32, augment=True))
    assert splits.input_shape == (1, 32, 32)
    assert splits.train.batch(ALL, epoch=0)[0].shape == splits.train.batch(ALL, epoch=1)[0].shape == (10, 1, 32, 32)


def test_only_training_images_are_augmented(tmp_path, monkeypatch):
    MAKERS["cifar-10"](tmp_path, monkeypatch)
    splits = open_data(DataSection(name="cifar-10", root=tmp_path, augment=True, validation=0.2))
    assert not torch.equal(splits.train.batch(ALL, 1)[0], splits.train.batch(ALL, 0)[0])
    for part in (splits.validation, splits.test):
        assert torch.equal(part.batch(ALL, 1)[0], part.batch(ALL, 0)[0])


def test_a_reconstruction_has_the_augmented_image_as_its_target(tmp_path, monkeypatch):
    MAKERS["cifar-10"](tmp_path, monkeypatch)
    section = DataSection(name="cifar-10", root=tmp_path, augment=True, task="reconstruction", workers=1)
    splits = open_data(section)
    assert (splits.task, splits.outputs) == ("reconstruction", 3072)
    ((x, y),) = batches(splits.train, [ALL], 1, workers=1)
    assert torch.equal(y, x.flatten(1))
    assert not torch.equal(x, splits.train.batch(ALL, 0)[0])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_any_mode_are_read_in_colour(mode, tmp_path):
    file = tmp_path / ("one.tif" if mode == "CMYK" else "one.png")
    Image.new("RGB", (20, 20), (10, 20, 30)).convert(mode).save(file)
    assert FileImages((file,)).image(0).shape == (3, 20, 20)


def test_the_usual_looks_fit_the_data():
    mirrored = {name for name, known in DATA_SETS.items() if known.look and known.look.mirrored}
    assert not mirrored & {"mnist", "svhn"}, "digits must not be mirrored"
    assert {name for name, known in DATA_SETS.items() if known.look and known.look.turned} == {"eurosat"}


def test_a_picture_is_what_was_asked_for(tmp_path):
    picture(tmp_path / "one.png", number=7)
    assert FileImages((tmp_path / "one.png",)).image(0)[:, 0, 0].tolist() == [7, 100, 200]
