"""Answers for image files are those of the evaluation, whatever the format."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from pipeline.config import read_resolved
from pipeline.data.augment.transforms import eval_transforms
from pipeline.data.images import Images
from pipeline.device import open_device
from pipeline.errors import UserError
from pipeline.evaluate.predictions import predict_split
from pipeline.inference.model import load_model, ready
from pipeline.inference.trained import Trained
from pipeline.models.imagenet import descriptions
from pipeline.predict.__main__ import main, sort_words
from pipeline.predict.images import read_square, square
from pipeline.predict.predicting import Guess
from pipeline.shards import ShardSplit, open_split
from pipeline.world import World

Predict = Callable[..., str]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Predict:
    """Run the command in this process; returns its stdout."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments)])
        assert main() == 0
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def files(digit_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first 60 validation images, as they lie in the shards."""
    folder = tmp_path_factory.mktemp("files")
    split = open_split(digit_shards, "validation")
    paths = [folder / f"{number:03}.jpg" for number in range(60)]
    for number, path in enumerate(paths):
        path.write_bytes(split.read(number).tobytes())
    return paths


def test_answers_are_those_of_the_evaluation(
    predict: Predict, trained_run: Path, digit_shards: Path, files: list[Path]
) -> None:
    """DALI and PIL resize almost alike, so nearly all first answers agree, right or wrong."""
    answers = json.loads(predict(trained_run, *files, "--json"))
    assert [answer["image"] for answer in answers] == [str(path) for path in files]
    config = read_resolved(trained_run / "config.resolved.yaml")
    split = open_split(digit_shards, "validation")
    trained = Trained(config, trained_run, None, split.classes)
    model = ready(load_model(trained), config, torch.device("cpu"))
    evaluated = predict_split(model, config, split, torch.device("cpu"))
    ours = [answer["top"][0]["label"] for answer in answers]
    assert np.mean(ours == evaluated.top[:60, 0]) >= 0.95
    for answer in answers:
        chances = [guess["probability"] for guess in answer["top"]]
        assert len(chances) == 5 and chances == sorted(chances, reverse=True)
        assert 0.5 < sum(chances) <= 1 + 1e-6
        assert all(guess["name"] == str(guess["label"]) for guess in answer["top"])


def test_pixels_are_dalis_within_a_level_or_two(
    trained_run: Path, digit_shards: Path, files: list[Path]
) -> None:
    config = read_resolved(trained_run / "config.resolved.yaml")
    config = config.model_copy(
        update={"evaluate": config.evaluate.model_copy(update={"crop_pct": 0.8})}
    )
    split: ShardSplit = open_split(digit_shards, "validation")
    ids = np.arange(20)
    transforms = eval_transforms(config.evaluate, config.augment.img_size, split.sizes(ids))
    images = Images(config, split, open_device(config, World()))
    (batch,) = images.decoded(lambda: iter([ids]), [transforms], 20, layers=0)
    ours = np.stack([read_square(path, config) for path in files[:20]]).astype(int)
    difference = np.abs(ours - batch.pixels.numpy().astype(int))
    assert difference.mean() < 0.5 and difference.max() <= 8


def test_formats_sizes_and_modes(
    predict: Predict, trained_run: Path, files: list[Path], tmp_path: Path
) -> None:
    config = read_resolved(trained_run / "config.resolved.yaml")
    with Image.open(files[0]) as image:
        expected = square(image, config)
        for name in ("a.png", "b.webp", "c.tiff"):
            image.save(tmp_path / name, lossless=True)
            assert np.array_equal(read_square(tmp_path / name, config), expected), name
        image.convert("L").save(tmp_path / "gray.png")
        image.convert("RGBA").save(tmp_path / "alpha.png")
        image.convert("CMYK").save(tmp_path / "cmyk.jpg")
        image.convert("P").save(tmp_path / "palette.gif")
        image.resize((300, 50)).save(tmp_path / "wide.png")
        image.resize((1, 1)).save(tmp_path / "dot.png")
    lines = predict(trained_run, *sorted(tmp_path.iterdir())).splitlines()
    assert len(lines) == 9 * 6
    # The middle of the wide one is seen, not the whole squeezed together.
    bands = np.zeros((40, 120, 3), np.uint8)
    bands[:, 40:80] = 255
    assert square(Image.fromarray(bands), config).mean() > 245


def test_a_folder_that_timm_wrote_says_enough(
    predict: Predict, files: list[Path], tmp_path: Path
) -> None:
    net = timm.create_model("test_resnet", num_classes=3).eval()
    names = {"label_names": ["cat", "dog", "owl"]}
    timm.models.save_for_hf(net, str(tmp_path), names, safe_serialization=True)
    words = ("device=cpu", "engine.dtype=fp32", "augment.img_size=160", "--json")
    (answer,) = json.loads(predict(tmp_path, files[0], *words))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))
    with torch.no_grad(), Image.open(files[0]) as image:
        expected = net(transform(image)[None]).softmax(1)[0]
    assert sorted(guess["name"] for guess in answer["top"]) == ["cat", "dog", "owl"]
    for guess in answer["top"]:
        assert guess["probability"] == pytest.approx(float(expected[guess["label"]]), rel=1e-4)


def test_imagenets_names_are_words() -> None:
    known = descriptions(["n01440764", "n02123045"])
    assert known == {"n01440764": "tench, Tinca tinca", "n02123045": "tabby, tabby cat"}
    assert descriptions(["n01440764", "0"]) == {}
    guess = Guess(0, "n01440764", known["n01440764"], 0.8634)
    assert guess.text() == " 86.3 %  tench, Tinca tinca (n01440764)"
    assert Guess(7, None, None, 0.05).text() == "  5.0 %  label 7"


def test_settings_stand_among_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "device=cpu").write_text("")
    words = ["a.jpg", "model.name=x", "b=1.jpg", "device=cpu", "c.d_e=2"]
    images, settings = sort_words(words)
    assert settings == ["model.name=x", "b=1.jpg", "c.d_e=2"]
    assert images == [Path("a.jpg"), Path("device=cpu")]


def test_mistakes_are_named(
    predict: Predict, trained_run: Path, files: list[Path], tmp_path: Path
) -> None:
    cut, text = tmp_path / "cut.jpg", tmp_path / "text.jpg"
    cut.write_bytes(files[0].read_bytes()[:700])
    text.write_text("not an image at all")
    for words, message in (
        ((text,), r"text\.jpg is no image that PIL can read"),
        ((cut,), r"cut\.jpg cannot be decoded"),
        ((tmp_path / "gone.jpg",), "no such image"),
        ((tmp_path,), "is a folder; name the images in it"),
        ((*files[:2], "--cam", tmp_path / "one.png"), "one file for 2 images; name a folder"),
        ((files[0], "--cam", tmp_path / "x.doc"), r"\.doc is no image format"),
        ((files[0], "--cam", tmp_path / "no/x.png"), "there is no folder"),
        ((files[0], "devise=cpu"), "did you mean device"),
    ):
        with pytest.raises(UserError, match=message):
            predict(trained_run, *words)
    with pytest.raises(UserError, match="did you mean digits"):
        predict("digit", files[0], "--runs-root", trained_run.parent)
    with pytest.raises(SystemExit):
        predict(trained_run, "device=cpu")
