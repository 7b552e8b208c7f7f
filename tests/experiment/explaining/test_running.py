"""Explaining from end to end: what comes out is what LRP gives, the folder is whole, and errors are for the reader."""

import re
import shutil
from urllib.error import URLError

import pytest
import torch
import torchvision
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file

import altprop
from altprop.experiment import ExplainSettings, Explanations, InputError, compare, explain, load_data, train
from altprop.experiment.networks.names import Shape, build_model
from altprop.experiment.records.study import STUDY, WEIGHTS, cell_folder
from altprop.experiment.training.watching import Watch
from tests.experiment.reports.test_study import Links
from tests.experiment.toys import StopsAt, own_data, tiny, without_report

SQUEEZENET = "torchvision:squeezenet1_1"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a training run of two seeds on the digits, `toy`."""
    out = tmp_path_factory.mktemp("runs")
    train(data="digits", model="8", rules="backprop", epochs=1, seeds=2, out=out, name="toy")
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with three images of different sizes and kinds, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    pixels = (torch.rand(60, 50, 3, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8).numpy()
    image = Image.fromarray(pixels)
    image.save(folder / "a.png")
    image.resize((33, 80)).convert("L").save(folder / "b.jpg")
    image.convert("RGBA").save(folder / "c.PNG")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def digits(runs):
    """Two digits, explained by three rules."""
    return explain(
        ExplainSettings(
            model=str(runs / "toy"), index="4,2", composites="epsilon,alpha1_beta0,gradient", out=runs, name="digits"
        )
    )


def test_an_interruption_keeps_the_composites_that_were_done(runs, digits, tmp_path):
    asked = {"model": str(runs / "toy"), "index": "4,2", "composites": "epsilon,alpha1_beta0,gradient", "out": tmp_path}
    found = explain(ExplainSettings(**asked, name="mine"), watch=StopsAt(stage="gradient"))
    assert found.interrupted
    assert not digits.interrupted
    assert list(found.relevance) == ["epsilon", "alpha1_beta0"] == [outcome.composite for outcome in found.outcomes]
    assert all(torch.equal(R, digits.relevance[label]) for label, R in found.relevance.items())
    assert "Interrupted: 2 of 3 composites were done." in found.notes
    assert Explanations.load(tmp_path / "mine").interrupted


def test_an_interruption_before_any_composite_was_done_leaves_nothing(runs, tmp_path):
    for stage in ("loading", "epsilon", "writing"):
        with pytest.raises(KeyboardInterrupt):
            explain(
                ExplainSettings(model=str(runs / "toy"), composites="epsilon", out=tmp_path), watch=StopsAt(stage=stage)
            )
        assert not list(tmp_path.iterdir())


def toy_network(runs, seed=0):
    network = build_model("8", Shape((1, 8, 8), 10), seed=99)
    network.load_state_dict(load_file(cell_folder(runs / "toy", "backprop", seed) / WEIGHTS))
    return network.eval()


def asked(**changes):
    return ExplainSettings(**{"out": None} | changes)


def test_the_relevance_is_that_of_lrp(digits, runs):
    network, x = toy_network(runs), load_data("digits").test.x[[4, 2]]
    assert torch.equal(digits.samples, x)
    for name, relevance in digits.relevance.items():
        expected, delta = altprop.LRP(network, composite=name).attribute(x, return_convergence_delta=True)
        assert torch.equal(relevance, expected)
        outcome = next(one for one in digits.outcomes if one.composite == name)
        assert outcome.deltas == pytest.approx(delta.tolist())
        assert outcome.sums == pytest.approx(expected.flatten(1).sum(1).tolist(), abs=1e-5)
        assert outcome.seconds > 0


def test_the_inputs_tell_what_the_network_makes_of_them(digits, runs):
    data, outputs = load_data("digits"), toy_network(runs)(load_data("digits").test.x[[4, 2]]).detach()
    for number, one in enumerate(digits.inputs):
        best = int(outputs[number].argmax())
        assert (one.name, one.true) == (f"digits {(4, 2)[number]}", str(int(data.test.y[(4, 2)[number]])))
        assert (one.predicted, one.predicted_name, one.target, one.target_name) == (best, str(best), best, str(best))
        assert one.score == one.output == pytest.approx(float(outputs[number, best]))


def test_the_folder_holds_what_it_should_and_no_more(digits):
    assert {path.name for path in digits.folder.iterdir()} == {
        *(
            "altprop.json",
            "explanations.json",
            "relevance.pt",
            "report.html",
            "explanations.png",
            "explanations-dark.png",
        ),
    }
    assert digits.folder.name == "digits"
    for name in ("explanations.png", "explanations-dark.png"):
        with Image.open(digits.folder / name) as picture:
            assert picture.format == "PNG"
    light, dark = ((digits.folder / f"explanations{end}.png").read_bytes() for end in ("", "-dark"))
    assert light != dark


def test_what_was_written_can_be_read_again(digits):
    loaded = Explanations.load(digits.folder)
    assert (loaded.inputs, loaded.outcomes, loaded.settings) == (digits.inputs, digits.outcomes, digits.settings)
    assert torch.equal(loaded.samples, digits.samples)
    assert loaded.relevance.keys() == digits.relevance.keys()
    assert all(torch.equal(loaded.relevance[name], digits.relevance[name]) for name in loaded.relevance)
    tensors = torch.load(digits.folder / "relevance.pt", weights_only=True)
    assert tensors["targets"].tolist() == [one.target for one in digits.inputs]


def test_the_report_fetches_nothing_and_says_how_to_repeat_it(digits, runs):
    page = (digits.folder / "report.html").read_text(encoding="utf-8")
    links = Links(page)
    assert len(links.targets) == 2, "the picture for light and dark pages"
    assert all(target.startswith("data:image/png;base64,") for target in links.targets)
    assert not {"script", "link", "iframe"} & set(links.tags)
    assert not re.search(r"https?:|@import|url\(", re.sub(r"base64,[\w+/=]+", "", page))
    for outcome in digits.outcomes:
        assert outcome.composite in links.text
        assert f"{outcome.mean_sum:.4g}" in links.text
    assert (
        f"altprop explain --index 4,2 --model {runs / 'toy'} --composites epsilon,alpha1_beta0,gradient" in links.text
    )


def test_names_are_escaped_in_the_report(photos, runs, tmp_path):
    name = "<script>alert(1)<" + ".png"
    shutil.copy(photos / "a.png", tmp_path / name)
    done = explain(asked(images=tmp_path / name, model=str(runs / "toy"), composites="gradient", out=tmp_path / "out"))
    page = (done.folder / "report.html").read_text(encoding="utf-8")
    assert "script" not in Links(page).tags
    assert name in Links(page).text


@pytest.mark.parametrize("target", ["7", 7])
def test_another_class_can_be_explained(target, runs):
    done = explain(asked(model=str(runs / "toy"), target=target, composites="epsilon"))
    x = load_data("digits").test.x[:1]
    assert torch.equal(done.relevance["epsilon"], altprop.LRP(toy_network(runs), "epsilon").attribute(x, target=7))
    one = done.inputs[0]
    assert (one.target, one.output) == (7, pytest.approx(toy_network(runs)(x)[0, 7].item()))
    assert one.score >= one.output


def test_all_composites_that_fit_are_taken_by_default(runs):
    done = explain(asked(model=str(runs / "toy")))
    assert list(done.relevance)[:2] == ["epsilon", "alpha1_beta0"]
    assert "gradient" in done.relevance
    assert "attn_lrp" not in done.relevance


@pytest.mark.parametrize(("seed", "expected"), [(None, 0), (0, 0), (1, 1)])
def test_the_seed_chooses_among_training_runs(seed, expected, runs):
    done = explain(asked(model=str(runs / "toy"), seed=seed, composites="gradient"))
    x = load_data("digits").test.x[:1]
    assert torch.equal(
        done.relevance["gradient"], altprop.LRP(toy_network(runs, expected), "gradient").attribute(x, target=None)
    )
    assert f"seed {expected}," in done.network


def test_a_file_of_weights_is_a_model_too(runs):
    done = explain(asked(model=str(cell_folder(runs / "toy", "backprop", 1) / WEIGHTS), composites="gradient"))
    chosen = explain(asked(model=str(runs / "toy"), seed=1, composites="gradient"))
    assert torch.equal(done.relevance["gradient"], chosen.relevance["gradient"])
    assert "seed 1," in done.network


def test_images_are_shown_to_a_trained_network_as_its_data_were(runs, tmp_path):
    x = load_data("digits").test.x[5:6]
    low, high = load_data("digits").train.x.min(), load_data("digits").train.x.max()
    pixels = ((x[0, 0] - low) / (high - low) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    done = explain(asked(images=tmp_path / "digit.png", model=str(runs / "toy"), composites="gradient"))
    assert torch.allclose(done.samples, x, atol=float(high - low) / 500)
    assert done.inputs[0].true is None


def test_a_folder_of_images_is_resized_as_the_network_wants(photos):
    done = explain(asked(images=photos, model=SQUEEZENET, size=32, composites="epsilon_plus"))
    assert [one.name for one in done.inputs] == ["a.png", "b.jpg", "c.PNG"]
    assert done.samples.shape == done.relevance["epsilon_plus"].shape == (3, 3, 32, 32)
    transforms = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms(crop_size=32, resize_size=32)
    with Image.open(photos / "b.jpg") as image:
        assert torch.equal(done.samples[1], transforms(image.convert("RGB")))


def test_random_weights_repeat_and_are_told_of(photos):
    settings = asked(images=photos / "a.png", model=SQUEEZENET, size=32, composites="gradient")
    first, again = explain(settings), explain(settings)
    other = explain(settings.model_copy(update={"seed": 1}))
    assert torch.equal(first.relevance["gradient"], again.relevance["gradient"])
    assert not torch.equal(first.relevance["gradient"], other.relevance["gradient"])
    assert "weights of squeezenet1_1 are random (seed 0)" in first.notes[0]
    assert "random (seed 1)" in other.notes[0]


def test_weights_of_a_file_take_the_place_of_random_ones(photos, tmp_path):
    torch.manual_seed(5)
    network = torchvision.models.squeezenet1_1().eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    done = explain(
        asked(images=photos / "a.png", model=SQUEEZENET, weights=tmp_path / "w.pt", size=32, composites="gradient")
    )
    expected = altprop.LRP(network, "gradient").attribute(done.samples)
    assert torch.allclose(done.relevance["gradient"], expected)
    assert not done.notes


def test_photographs_are_turned_the_right_way_up(photos, tmp_path):
    with Image.open(photos / "a.png") as image:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        image.save(tmp_path / "turned.png", exif=exif)
        image.transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    turned, upright = (
        explain(asked(images=tmp_path / name, model=SQUEEZENET, size=32, composites="gradient")).samples
        for name in ("turned.png", "upright.png")
    )
    assert torch.equal(turned, upright)


def test_weights_that_cannot_be_downloaded_are_told_of(photos, monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(InputError, match=r"IMAGENET1K_V1 of squeezenet1_1 could not be downloaded: .*no network"):
        explain(asked(images=photos, model=f"{SQUEEZENET}:DEFAULT"))


def test_a_transformer_is_explained_by_the_rules_for_attention(photos, tmp_path, monkeypatch):
    small = torchvision.models.VisionTransformer(32, 16, 1, 2, 8, 16, num_classes=1000)
    monkeypatch.setattr("torchvision.models.get_model", lambda *args, **kwargs: small)
    done = explain(asked(images=photos / "a.png", model="torchvision:vit_b_32", size=32))
    assert {"attn_lrp", "cp_lrp", "epsilon", "gradient"} <= done.relevance.keys()


def test_the_bounds_of_the_box_rule_are_those_of_images(photos):
    done = explain(asked(images=photos / "a.png", model=SQUEEZENET, size=32, composites="epsilon_gamma_box:gamma=0.5"))
    mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    composite = altprop.explain.composites.epsilon_gamma_box(low=-mean / std, high=(1 - mean) / std, gamma=0.5)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.squeezenet1_1().eval()
    expected = altprop.LRP(network, composite).attribute(done.samples)
    assert torch.allclose(done.relevance["epsilon_gamma_box:gamma=0.5"], expected, atol=1e-6)


def test_a_class_may_be_given_by_name(photos):
    done = explain(asked(images=photos / "a.png", model=SQUEEZENET, size=32, target="Tabby", composites="gradient"))
    assert (done.inputs[0].target, done.inputs[0].target_name) == (281, "tabby")


def test_inputs_that_are_no_images_are_drawn_too(tmp_path):
    train(**tiny(rules="backprop", out=tmp_path, name="points"))
    done = explain(asked(model=str(tmp_path / "points"), index=(0, 1), composites="epsilon", out=tmp_path))
    assert done.folder.name == "explain-points-circles"
    assert (done.folder / "explanations.png").exists()
    with pytest.raises(InputError, match="takes inputs of shape 2, which are no images"):
        Image.new("L", (4, 4)).save(tmp_path / "x.png")
        explain(asked(model=str(tmp_path / "points"), images=tmp_path / "x.png"))


def test_a_network_trained_on_own_data_is_explained_with_them(tmp_path):
    data = own_data()
    train(**tiny(rules="backprop", out=tmp_path, name="mine", data=data))
    settings = asked(model=str(tmp_path / "mine"), composites="epsilon")
    assert torch.equal(explain(settings, data=data).samples, data.test.x[:1])
    with pytest.raises(InputError, match=r"trained on 'my own', which is no data set that altprop knows.*data=\.\.\."):
        explain(settings)


def test_many_inputs_are_cut_in_the_picture_alone(runs, tmp_path):
    settings = asked(model=str(runs / "toy"), index=tuple(range(11)), out=tmp_path, name="many")
    done = explain(settings)
    assert len(done.relevance) == 7
    with Image.open(tmp_path / "many" / "explanations.png") as picture:
        assert picture.height > 1.5 * picture.width, "eight inputs, and the rules in two blocks"
    assert "3 more inputs are in relevance.pt" in (tmp_path / "many" / "report.html").read_text(encoding="utf-8")
    assert len(done.relevance["epsilon"]) == 11


def test_a_rule_that_fails_is_left_out_of_all_and_refused_if_asked_for(runs, monkeypatch):
    def broken(self, *args, **kwargs):
        if self.composite.name == "epsilon":
            raise RuntimeError("no rule for this")
        return original(self, *args, **kwargs)

    original = altprop.LRP.attribute
    monkeypatch.setattr(altprop.LRP, "attribute", broken)
    done = explain(asked(model=str(runs / "toy")))
    assert "epsilon" not in done.relevance
    assert "epsilon is left out: no rule for this" in done.notes
    with pytest.raises(InputError, match="cannot be explained by 'epsilon': no rule for this"):
        explain(asked(model=str(runs / "toy"), composites="epsilon,all"))
    monkeypatch.setattr("altprop.experiment.explaining.running.composites_for", lambda model: ("epsilon",))
    with pytest.raises(InputError, match="No composite could explain the network: epsilon is left out"):
        explain(asked(model=str(runs / "toy")))


def test_it_tells_how_it_gets_on(runs):
    class Listening(Watch):
        stages, steps, done = (), 0, 0

        def stage(self, text):
            self.stages += (text,)

        def begin(self, steps):
            self.steps = steps

        def advance(self):
            self.done += 1

    watch = Listening()
    explain(asked(model=str(runs / "toy"), composites="epsilon,gradient"), watch=watch)
    assert watch.stages == ("loading the network", "epsilon", "gradient")
    assert watch.steps == watch.done == 2


WRONG = {
    "no model": (
        {"model": None},
        "Name a network to explain with --model.*`altprop train --rule backprop --data digits",
    ),
    "no such folder": ({"model": "nowhere"}, "There is no folder or file nowhere.*altprop train"),
    "a folder of something else": ({"model": "{photos}"}, "has no study.json"),
    "no such seed": ({"seed": 7}, "has no network of seed 7, but of 0, 1"),
    "index": ({"index": 360}, "index 360 is out of range: digits has test samples from 0 to 359"),
    "other data": ({"data": "circles"}, "takes inputs of shape 1×8×8, but those of circles have the shape 2"),
    "target": ({"target": "10"}, "target 10 is out of range: the network has outputs from 0 to 9"),
    "negative target": ({"target": "-1"}, "target -1 is out of range"),
    "class": ({"target": "seven"}, "There is no class 'seven'.*Known: 0, 1"),
    "weights of a run": ({"weights": "w.pt"}, "--weights is for networks of torchvision"),
    "size of a run": ({"size": 8}, "--size is for networks of torchvision"),
    "no images": ({"images": "nowhere.png"}, "There is no image file or folder nowhere.png"),
    "no image": ({"images": "{photos}/notes.txt"}, "notes.txt cannot be read as an image"),
    "empty folder": ({"images": "{empty}"}, "holds no images"),
    "broken image": ({"images": "{broken}"}, "broken.png cannot be read as an image"),
    "torchvision": ({"model": "torchvision:vgg61"}, "There is no torchvision model 'vgg61'. Did you mean .*'vgg16'"),
    "data for torchvision": ({"model": SQUEEZENET}, "Name what to explain: an image file"),
    "named data for torchvision": ({"model": SQUEEZENET, "data": "digits"}, "takes photographs: give an image file"),
    "names of weights": (
        {"model": f"{SQUEEZENET}:IMAGENET", "images": "{photos}"},
        "no set of weights for torchvision's squeezenet1_1 called 'IMAGENET'. Did you mean 'IMAGENET1K_V1'",
    ),
    "weights twice": ({"model": f"{SQUEEZENET}:DEFAULT", "weights": "w.pt"}, "Give either weights of torchvision"),
    "weights that do not fit": (
        {"model": SQUEEZENET, "weights": "{toy}/cells/backprop-seed-0/model.safetensors"},
        "model.safetensors do not fit torchvision's squeezenet1_1: features.0.weight is missing",
    ),
    "no weights": ({"model": SQUEEZENET, "weights": "none.pt"}, "There is no file of weights none.pt"),
    "too small": (
        {"model": SQUEEZENET, "images": "{photos}", "size": 8},
        "squeezenet1_1, random weights does not take inputs of shape 3×8×8: .*Choose another --size",
    ),
    "target by name": (
        {"model": SQUEEZENET, "images": "{photos}", "size": 32, "target": "tabbi"},
        "There is no class 'tabbi'. Did you mean 'tabby'",
    ),
    "device": ({"device": "cuda:99"}, "The device 'cuda:99' cannot be used"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_explained_is_named_and_nothing_is_written(case, runs, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "broken.png").write_bytes((photos / "a.png").read_bytes()[:200])
    places = {"photos": photos, "empty": tmp_path / "empty", "broken": tmp_path / "broken", "toy": runs / "toy"}
    changes, message = WRONG[case]
    given = {key: value.format(**places) if isinstance(value, str) else value for key, value in changes.items()}
    settings = ExplainSettings(**{"model": str(runs / "toy"), "out": tmp_path / "out"} | given)
    with pytest.raises(InputError, match=message):
        explain(settings)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"composites": "epsilon_pluss"}, "no composite 'epsilon_pluss'. Did you mean 'epsilon_plus'"),
        ({"composites": "epsilon,epsilon"}, "'epsilon' is named twice"),
        ({"composites": ""}, "At least one is needed"),
        ({"composites": "pattern_net"}, "needs patterns fitted to the data"),
        ({"index": "3,-1"}, "greater than or equal to 0"),
        ({"index": ""}, "At least one is needed"),
        ({"data": "digit"}, "no data set 'digit'. Did you mean 'digits'"),
        ({"data": "digits", "images": "a.png"}, "Give either images or data, not both"),
        ({"imagse": "a.png"}, "no setting 'imagse'. Did you mean 'images'"),
        ({"name": "../x"}, "A name is made of letters"),
    ],
)
def test_settings_are_checked_when_they_are_made(settings, message):
    with pytest.raises(ValidationError, match=message):
        ExplainSettings(**settings)


def test_of_a_comparison_the_first_network_is_explained_or_the_one_that_is_named(tmp_path):
    without_report(compare, tiny(rules="lfp", out=tmp_path, name="mine"))
    for path, rule in (("mine", "backprop"), ("mine/cells/lfp-seed-0", "lfp")):
        done = explain(asked(model=str(tmp_path / path), composites="epsilon"))
        assert f"trained by {rule} on circles" in done.network


def test_a_record_that_is_damaged_or_of_an_earlier_version_is_named(tmp_path, runs):
    shutil.copytree(runs / "toy", tmp_path / "toy")
    (tmp_path / "toy" / STUDY).write_text("{}")
    with pytest.raises(InputError, match=r"study\.json is damaged"):
        explain(asked(model=str(tmp_path / "toy")))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "results.json").write_text("{}")
    with pytest.raises(InputError, match=r"old is of altprop 0\.1\.0, whose folders this version does not read"):
        explain(asked(model=str(tmp_path / "old")))


def test_a_study_in_a_folder_is_not_taken_for_another_around_it(tmp_path, runs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text("data: sine")
    done = explain(asked(model=str(runs / "toy"), composites="gradient"))
    assert "digits" in done.network


def test_a_run_without_weights_is_told_of(tmp_path, runs):
    shutil.copytree(runs / "toy", tmp_path / "toy")
    shutil.rmtree(tmp_path / "toy" / "cells")
    with pytest.raises(InputError, match="has no network of seed 0, but of none"):
        explain(asked(model=str(tmp_path / "toy")))


def test_a_failed_write_leaves_nothing(runs, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr("altprop.experiment.explaining.output.render", full)
    with pytest.raises(InputError, match=r"no space left on device\. Nothing was written"):
        explain(asked(model=str(runs / "toy"), composites="gradient", out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_earlier_results_are_kept_unless_asked_otherwise(runs, tmp_path):
    settings = asked(model=str(runs / "toy"), composites="gradient", out=tmp_path, name="kept")
    explain(settings)
    with pytest.raises(InputError, match="Choose another name"):
        explain(settings)
    explain(settings.model_copy(update={"overwrite": True, "composites": ("epsilon",)}))
    assert list(Explanations.load(tmp_path / "kept").relevance) == ["epsilon"]
