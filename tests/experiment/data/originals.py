"""Small files in the formats in which data sets are published, with the same sort of folders around them."""

import gzip
import pickle
import struct

import numpy as np
from PIL import Image
from scipy.io import savemat
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5

CLASSES = {"mnist": 10, "fashion-mnist": 10, "cifar-10": 10, "cifar-100": 100, "svhn": 10, "flowers-102": 102}


def noise(*shape):
    """Pixels, always the same for a shape."""
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def picture(file, number=0, size=(20, 16), mode="RGB"):
    """Write an image whose colour tells its number."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (number, 100, 200) if mode == "RGB" else number).save(file)


def idx(root, patch, kind="MNIST", packed=True):
    """MNIST's format: 20 images for training, 10 for testing."""
    raw, resources = root / kind / "raw", []
    raw.mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 10)):
        images, labels = noise(count, 28, 28), (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            file = raw / (f"{name}.gz" if packed else name)
            file.write_bytes(gzip.compress(content) if packed else content)
            resources.append((f"{name}.gz", calculate_md5(file)))
    patch.setattr(getattr(datasets, kind), "resources", resources)


def cifar(root, patch, kind="CIFAR10"):
    """CIFAR's pickles: 10 images in each batch for CIFAR-10; 20 and 10 for CIFAR-100."""
    published = getattr(datasets, kind)
    folder = root / published.base_folder
    folder.mkdir(parents=True)
    for which in ("train_list", "test_list"):
        entries = []
        for name, _ in getattr(published, which):
            count = 20 if name == "train" else 10
            key = "labels" if kind == "CIFAR10" else "fine_labels"
            _pickle(folder / name, {"data": noise(count, 3072), key: [one % 10 for one in range(count)]})
            entries.append([name, calculate_md5(folder / name)])
        patch.setattr(published, which, entries)
    names = [f"class {one}" for one in range(10 if kind == "CIFAR10" else 100)]
    _pickle(folder / published.meta["filename"], {published.meta["key"]: names})
    md5 = calculate_md5(folder / published.meta["filename"])
    patch.setattr(published, "meta", published.meta | {"md5": md5})


def _pickle(file, content):
    file.write_bytes(pickle.dumps(content))


def svhn(root, patch):
    """SVHN's Matlab files: 20 and 10 images; 0 is called 10."""
    root.mkdir(parents=True, exist_ok=True)
    listed = dict(datasets.SVHN.split_list)
    for part, count in (("train", 20), ("test", 10)):
        url, name, _ = listed[part]
        pixels = noise(32, 32, 3, count)
        savemat(root / name, {"X": pixels, "y": (np.arange(count) % 10 + 1).reshape(-1, 1).astype(np.uint8)})
        listed[part] = [url, name, calculate_md5(root / name)]
    patch.setattr(datasets.SVHN, "split_list", listed)


def flowers(root, patch):
    """Flowers-102: 306 photographs, 102 for each part."""
    folder = root / "flowers-102"
    numbers = np.arange(1, 307)
    for number in numbers.tolist():
        picture(folder / "jpg" / f"image_{number:05d}.jpg", number % 250)
    savemat(folder / "imagelabels.mat", {"labels": (numbers - 1) % 102 + 1})
    savemat(folder / "setid.mat", {"trnid": numbers[:102], "valid": numbers[102:204], "tstid": numbers[204:]})
    table = datasets.Flowers102._file_dict
    checked = {key: (table[key][0], calculate_md5(folder / table[key][0])) for key in ("label", "setid")}
    patch.setattr(datasets.Flowers102, "_file_dict", table | checked)


def class_folders(folder, classes, each=5, size=(20, 16)):
    """A folder for each class, with images in it."""
    for number, name in enumerate(classes):
        for one in range(each):
            picture(folder / name / f"{name}_{one:04d}.jpg", 10 * number + one, size)


def food11(root):
    """Food-11: two images of each class in each part."""
    for part in ("training", "validation", "evaluation"):
        for one in range(22):
            picture(root / "food-11" / part / f"{one % 11}_{one}.jpg", one)


def tiny_imagenet(root):
    """Tiny ImageNet with three classes, of four images for training and two for testing."""
    folder, wnids = root / "tiny-imagenet-200", ["n01443537", "n01629819", "n01641577"]
    lines = []
    for number, wnid in enumerate(wnids):
        for one in range(4):
            picture(folder / "train" / wnid / "images" / f"{wnid}_{one}.JPEG", number, (64, 64))
        for one in range(2):
            file = f"val_{2 * number + one}.JPEG"
            picture(folder / "val" / "images" / file, number, (64, 64))
            lines.append(f"{file}\t{wnid}\t0\t32\t44\t62")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (folder / "wnids.txt").write_text("\n".join(wnids))


def cub(root):
    """CUB-200-2011 with two classes, of three images for training and two for testing."""
    folder = root / "CUB_200_2011"
    classes = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    tables = {"images.txt": [], "image_class_labels.txt": [], "train_test_split.txt": []}
    for number in range(10):
        name = classes[number // 5]
        picture(folder / "images" / name / f"bird_{number}.jpg", number)
        tables["images.txt"].append(f"{number + 1} {name}/bird_{number}.jpg")
        tables["image_class_labels.txt"].append(f"{number + 1} {number // 5 + 1}")
        tables["train_test_split.txt"].append(f"{number + 1} {int(number % 5 < 3)}")
    for file, lines in tables.items():
        (folder / file).write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("".join(f"{one} {name}\n" for one, name in enumerate(classes, start=1)))


def isic(root):
    """ISIC 2019: ten lesions of two diagnoses of nine, one of them in two sizes."""
    folder, header = root / "ISIC_2019", "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
    lines = [header, "ISIC_0000003," + ",".join(["1.0"] + 8 * ["0.0"])]
    for number in range(10):
        name = f"ISIC_000000{number}" + ("_downsampled" if number == 3 else "")
        picture(folder / "ISIC_2019_Training_Input" / f"{name}.jpg", number)
        marks = [float(column == (1 if number < 5 else 7)) for column in range(9)]
        lines.append(",".join([name, *map(str, marks)]))
    (folder / "ISIC_2019_Training_GroundTruth.csv").write_text("\n".join(lines) + "\n")


def image_folder(root, parts=("train", "test")):
    """Anyone's images: cats and dogs."""
    for part in parts:
        class_folders(root / part, ["cat", "dog"])


MAKERS = {
    "mnist": idx,
    "fashion-mnist": lambda root, patch: idx(root, patch, "FashionMNIST"),
    "cifar-10": cifar,
    "cifar-100": lambda root, patch: cifar(root, patch, "CIFAR100"),
    "svhn": svhn,
    "eurosat": lambda root, _: class_folders(root / "eurosat" / "2750", ["AnnualCrop", "Forest"], size=(64, 64)),
    "caltech-256": lambda root, _: class_folders(
        root / "caltech256" / "256_ObjectCategories", ["001.ak47", "257.clutter"]
    ),
    "flowers-102": flowers,
    "food-11": lambda root, _: food11(root),
    "tiny-imagenet": lambda root, _: tiny_imagenet(root),
    "cub-200": lambda root, _: cub(root),
    "isic": lambda root, _: isic(root),
    "imagenet": lambda root, _: image_folder(root, ("train", "val")),
    "folder": lambda root, _: image_folder(root),
}
"""By the name of a data set, what writes a small one into a folder and patches the published checksums."""
