"""Pictures through ``predict``: the answers stay, and the command prints them."""

import io
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import mnist_fn as mf
from mnist_fn import Params
from mnist_fn.committees import Member, committee_probabilities
from mnist_fn.effects import cli
from mnist_fn.effects.models import Model
from mnist_fn.effects.newest import remember
from mnist_fn.effects.pictures import read_picture
from mnist_fn.effects.predicting import answers, shown
from mnist_fn.images import frame
from mnist_fn.views import deslanted, standardized


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cache", "state"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    monkeypatch.delenv("MNIST_FN_DATA", raising=False)


class Learnt(NamedTuple):
    """A network, and for each digit the image that it is the most certain of."""

    model: Model
    images: np.ndarray


@pytest.fixture(scope="module")
def learnt(request: pytest.FixtureRequest, digits: mf.Dataset) -> Learnt:
    """Trained on a part of MNIST, or where that is missing, on the built-in digits."""
    try:
        dataset: mf.Dataset = request.getfixturevalue("mnist")
        recipe, X, Y = mf.recipes.quick, dataset.X_train[:, :20_000], dataset.Y_train[:20_000]
        recipe = recipe._replace(hidden=128, epochs=2)
    except pytest.skip.Exception:
        dataset = digits
        recipe, X, Y = mf.recipes.digits._replace(epochs=20), digits.X_train, digits.Y_train
    *_, last = mf.train_epochs(*mf.prepare(recipe, mf.key(0), X, Y))
    model = Model([Member(last.params, *recipe.views)], recipe.g, "")
    # Certain of it as predict frames it, that is.
    columns = [np.flatnonzero(dataset.Y_test == digit)[:25] for digit in range(10)]
    best = []
    for digit, numbers in enumerate(columns):
        pictures = np.ascontiguousarray(dataset.X_test[:, numbers].T).reshape(-1, 28, 28)
        framed = np.array([frame(picture) for picture in pictures]).reshape(-1, 784).T
        share = committee_probabilities(model.members, framed, model.g)[digit]
        best.append(pictures[share.argmax()])
    return Learnt(model, np.array(best))


Picture = Image.Image


def enlarged(picture: Picture, side: int = 140) -> Picture:
    return picture.resize((side, side), Image.Resampling.BICUBIC)


def on_paper(picture: Picture, size: tuple[int, int], at: tuple[int, int]) -> Picture:
    page = Image.new("L", size, 255)
    page.paste(picture, at)
    return page


def in_shade(picture: Picture, darkest: float) -> Picture:
    grey = np.asarray(picture).astype(float)
    down, right = np.linspace(0, 1, len(grey)), np.linspace(0, 1, grey.shape[1])
    light = darkest + (1 - darkest) * (down[:, np.newaxis] + right) / 2
    return Image.fromarray(np.rint(grey * light).astype(np.uint8))


def salted(picture: Picture, share: float) -> Picture:
    grey = np.asarray(picture).copy()
    drawn = np.random.default_rng(0).random(grey.shape)
    grey[drawn < share / 2], grey[drawn > 1 - share / 2] = 0, 255
    return Image.fromarray(grey)


def transparent(picture: Picture, ink: tuple[int, int, int]) -> Picture:
    pixels = np.zeros((*picture.size[::-1], 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = ink, 255 - np.asarray(picture)
    return Image.fromarray(pixels)


def pale(picture: Picture) -> Picture:
    grey = 230 - 0.2 * (255 - np.asarray(picture).astype(float))
    return Image.fromarray(np.rint(grey).astype(np.uint8))


def apart(image: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of two frames, of which one may be a pixel beside the other.

    Digits are put in the middle by whole pixels: the least change may move them by one.
    """
    padded = np.pad(other, 1)
    moved = (padded[y : y + 28, x : x + 28] for y in range(3) for x in range(3))
    return float(min(np.abs(image - each).mean() for each in moved))


class Change(NamedTuple):
    """What people do to a picture: a function, the file's kind, and what is left of it."""

    function: Callable[[Picture], Picture]
    mean_difference: float
    """The largest between the frames of it and of the picture as it was."""
    suffix: str = "png"


CHANGES: dict[str, Change] = {
    "inverted": Change(lambda p: Image.fromarray(255 - np.asarray(p)), 1e-6),
    "a JPEG": Change(lambda p: p, 0.02, "jpg"),
    "on a grey gradient": Change(lambda p: in_shade(p, 0.45), 0.05),
    "salt and pepper": Change(lambda p: salted(p, 0.03), 0.05),
    "black on transparent ground": Change(lambda p: transparent(p, (0, 0, 0)), 1e-6),
    "white on transparent ground": Change(lambda p: transparent(p, (255, 255, 255)), 1e-6),
    "red on transparent ground": Change(lambda p: transparent(p, (220, 30, 30)), 0.02),
    "in a corner": Change(lambda p: on_paper(p, (420, 300), (2, 158)), 0.035),
    "16-bit grey": Change(
        lambda p: Image.fromarray(np.asarray(p).astype(np.uint16) * np.uint16(257)), 1e-6
    ),
    "a palette": Change(lambda p: p.convert("RGB").quantize(64), 0.02),
    "a GIF": Change(lambda p: p, 0.02, "gif"),
    "pale": Change(pale, 0.035),
    "turned to colours": Change(lambda p: p.convert("CMYK"), 1e-2, "tiff"),
    "3 times as large": Change(lambda p: p.resize((p.width * 3, p.height * 3)), 0.03),
}


def framed(picture: Picture, suffix: str = "png") -> np.ndarray:
    """The frame of a picture that goes through a file."""
    path = f"picture.{suffix}"
    picture.save(path)
    return frame(read_picture(path))


def digits_in(model: Model, names: Sequence[str]) -> list[int]:
    """What each file is taken for."""
    found = []
    for answer in answers(model, names):
        assert answer.probabilities is not None, answer
        found.append(int(answer.probabilities.argmax()))
    return found


@pytest.mark.parametrize("name", CHANGES)
def test_what_people_do_to_pictures_leaves_the_answer_the_same(learnt: Learnt, name: str) -> None:
    change = CHANGES[name]
    files, differences = [], []
    for digit, image in enumerate(learnt.images):
        picture = enlarged(Image.fromarray(255 - image))
        changed = change.function(picture)
        files.append(f"{digit}.{change.suffix}")
        changed.save(files[-1])
        differences.append(apart(frame(read_picture(files[-1])), framed(picture)))
    print(name, max(differences))
    assert max(differences) <= change.mean_difference
    assert digits_in(learnt.model, files) == list(range(10))


@pytest.mark.parametrize(("side", "at"), [(2800, (600, 100)), (700, (3200, 60))])
def test_a_picture_of_4000_x_3000_pixels_leaves_the_answer_the_same(
    learnt: Learnt, side: int, at: tuple[int, int]
) -> None:
    for digit in (2, 5):
        picture = Image.fromarray(255 - learnt.images[digit])
        on_paper(enlarged(picture, side), (4000, 3000), at).save("large.png", compress_level=1)
        assert digits_in(learnt.model, ["large.png"]) == [digit]
        assert apart(frame(read_picture("large.png")), framed(enlarged(picture))) < 0.035


# What leaves every pixel of a small drawing as it is.
EXACT = ["inverted", "black on transparent ground", "16-bit grey", "a palette", "a GIF"]


@pytest.mark.slow
def test_drawings_of_people_stay_the_same_too(learnt: Learnt, drawings: dict[Path, int]) -> None:
    right = 0
    for path, label in drawings.items():
        with Image.open(path) as opened:
            white = Image.new("RGBA", opened.size, "white")
            white.alpha_composite(opened.convert("RGBA"))
        picture = white.convert("L")
        expected = frame(read_picture(str(path)))
        np.testing.assert_allclose(framed(picture), expected, rtol=0, atol=1e-6)
        for name in EXACT[hash_of(path) % len(EXACT) :][:1]:
            image = framed(CHANGES[name].function(picture), CHANGES[name].suffix)
            np.testing.assert_allclose(image, expected, rtol=0, atol=1e-6, err_msg=name)
        # Drawings have thin strokes: they are made as wide as those of MNIST.
        assert 40 < expected.sum() < 240
        right += digits_in(learnt.model, [str(path)]) == [label]
    if learnt.model.members[0].params.W1.shape[0] == 128 and len(drawings) == 67:
        assert right >= 54  # of 67, after two epochs
    else:
        assert right > len(drawings) / 2


def hash_of(path: Path) -> int:
    """A number that is always the same, unlike ``hash``."""
    return zlib.crc32(path.name.encode())


class Result(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str
    exception: BaseException | None


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(cli.app, ["predict", *map(str, arguments)], input=stdin)
    return Result(result.exit_code, result.stdout, result.stderr, result.exception)


def stdout_of(result: Result) -> str:
    assert result.exit_code == 0, result
    assert result.stderr == ""
    return result.stdout


def error_of(result: Result) -> str:
    assert result.exit_code == 1, result
    assert isinstance(result.exception, SystemExit)  # and no other, so there is no traceback
    assert result.stderr.startswith("mnist-fn: ")
    return result.stderr


# A network whose answer does not depend on the picture, and is known.
SHARES = [0.01, 0.02, 0.5, 0.25, 0.0, 0.1, 0.04, 0.05, 0.02, 0.01]
LINE = "2  50.00 %  (then 3 25.00 %, 5 10.00 %)"


@pytest.fixture
def model(tmp_path: Path) -> str:
    b2 = np.log(np.maximum(np.array(SHARES), 1e-30)).astype(np.float32).reshape(-1, 1)
    zeros = np.zeros((1, 784), np.float32), np.zeros((1, 1), np.float32)
    mf.save_params("known.npz", mf.Params(*zeros, np.zeros((10, 1), np.float32), b2))
    return "known.npz"


def stroke() -> np.ndarray:
    grey = np.full((60, 50), 240, np.uint8)
    grey[10:50, 22:28] = 30
    return grey


def drawn(name: str) -> str:
    Image.fromarray(stroke()).save(name)
    return name


def test_each_picture_is_a_line_with_the_digit_and_the_next_two(model: str) -> None:
    files = [drawn("one.png"), drawn("[red] two.png")]
    assert stdout_of(run(model, *files)) == "".join(f"{file}: {LINE}\n" for file in files)


def test_folders_and_patterns_are_all_their_pictures(model: str) -> None:
    Path("folder").mkdir()
    Path("folder/labels.tsv").write_text("b.png\t1\n")
    names = [drawn("folder/b.png"), drawn("folder/a.png")]
    expected = "".join(f"{name}: {LINE}\n" for name in sorted(names))
    assert stdout_of(run(model, "folder")) == expected
    assert stdout_of(run(model, "folder/*.png")) == expected


def test_json_is_an_array_of_objects_and_nothing_else(model: str) -> None:
    Path("text.png").write_text("no picture")
    printed = json.loads(stdout_of(run(model, drawn("a.png"), "--json")))
    assert [list(record) for record in printed] == [["file", "digit", "probabilities"]]
    assert (printed[0]["file"], printed[0]["digit"]) == ("a.png", 2)
    assert type(printed[0]["digit"]) is int
    np.testing.assert_allclose(printed[0]["probabilities"], SHARES, rtol=0, atol=1e-6)

    result = run(model, "text.png", "a.png", "--json")
    error = "it is not a picture of a kind that Pillow can read; save it as PNG or JPEG"
    assert json.loads(result.stdout) == [{"file": "text.png", "error": error}, *printed]
    assert error_of(result) == f"mnist-fn: text.png: {error}\n"


def test_json_and_show_exclude_each_other(model: str) -> None:
    result = run(model, drawn("a.png"), "--json", "--show")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--show and --json exclude each other." in result.stderr


def test_show_shows_what_the_network_sees(model: str) -> None:
    line, *picture = stdout_of(run(model, drawn("a.png"), "--show")).splitlines()
    assert line == f"a.png: {LINE}"
    assert picture == shown(frame(stroke())).splitlines()
    assert len(picture) == 28
    assert all(row.startswith("    |") for row in picture)
    assert [len(row) > 5 for row in picture] == [False] * 4 + [True] * 20 + [False] * 4
    assert "@@" in picture[14]


def test_shades_are_from_paper_to_ink() -> None:
    image = ((np.arange(20, dtype=np.float32) + 0.5) / 20).reshape(4, 5)
    shades = (2 * " .:-=+*#%@"[min(9, int(10 * grey))] for grey in image.ravel().tolist())
    lines = ["".join(row) for row in zip(*[shades] * 5, strict=True)]
    assert shown(image) == "\n".join(f"    |{line.rstrip()}" for line in lines)
    assert shown(np.array([[0.0, 1.0, 0.0]])) == "    |  @@"


def test_standard_input_is_a_picture(model: str) -> None:
    file = io.BytesIO()
    Image.fromarray(stroke()).save(file, "PNG")
    assert stdout_of(run(model, "-", stdin=file.getvalue())) == f"-: {LINE}\n"
    assert error_of(run(model, "-", stdin=b"")) == "mnist-fn: -: it is empty; make it anew\n"


def test_without_a_model_file_it_is_the_newest_that_train_wrote(model: str, tmp_path: Path) -> None:
    train = ["train", "--data", "digits", "--hidden", "4", "--epochs", "1", "--quiet"]
    assert CliRunner().invoke(cli.app, train).exit_code == 0
    drawn("a.png")
    assert stdout_of(run("a.png")) == stdout_of(run("model.npz", "a.png"))
    assert stdout_of(run("a.png")) != stdout_of(run(model, "a.png"))
    remember(tmp_path / model)
    assert stdout_of(run("a.png")) == f"a.png: {LINE}\n"


def test_without_any_model_file_it_says_what_to_do() -> None:
    assert error_of(run(drawn("a.png"))) == (
        "mnist-fn: there is no model file to use; make one with mnist-fn train, which takes "
        "some seconds, or name one\n"
    )


def test_a_model_file_and_nothing_else_is_an_error(model: str) -> None:
    says = f"mnist-fn: name one picture or more after {model}, or - for standard input\n"
    assert error_of(run(model)) == says


def test_a_model_file_that_is_not_there_is_an_error() -> None:
    says = (
        "mnist-fn: none.npz cannot be read: No such file or directory. "
        "Name a model file, or make one with mnist-fn train.\n"
    )
    assert error_of(run("none.npz", drawn("a.png"))) == says


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


def png_of(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


NO_DIGIT = "there is no digit to be seen: the picture's grey values differ from the paper's by "
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (png_of(np.full((60, 50), 255, np.uint8)), NO_DIGIT + "0 of 255"),
    "no contrast": (png_of(stroke() // 40), NO_DIGIT + "6 of 255"),
    "1 x 1": (
        png_of(np.zeros((1, 1), np.uint8)),
        "the picture is 1 x 1 pixels, which is too small",
    ),
    "text": (b"a text file", "it is not a picture of a kind that Pillow can read"),
    "truncated": (png_of(stroke())[:90], "it is damaged: "),
    "bomb": (bomb(), "it has too many pixels (89,478,485 are the most); scale it down"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_a_message_and_the_others_go_on(name: str, model: str) -> None:
    content, says = BAD[name]
    Path("bad.png").write_bytes(content)
    result = run(model, drawn("a.png"), "bad.png", drawn("c.png"))
    assert error_of(result).startswith(f"mnist-fn: bad.png: {says}")
    assert result.stderr.count("\n") == 1
    assert result.stdout == f"a.png: {LINE}\nc.png: {LINE}\n"
    assert run(model, "bad.png").stdout == ""


@pytest.mark.parametrize(("pixels", "classes"), [(64, 10), (784, 26)])
def test_a_network_for_other_images_is_an_error(pixels: int, classes: int) -> None:
    params = mf.init_params(mf.key(0), pixels=pixels, hidden=3, classes=classes)
    mf.save_params("other.npz", params)
    assert error_of(run("other.npz", drawn("a.png"))) == (
        f"mnist-fn: other.npz is for images of {pixels} pixels and tells {classes} classes "
        "apart, but pictures become images of 784 pixels, of ten digits\n"
    )


@pytest.mark.parametrize("as_json", [False, True])
def test_a_network_whose_numbers_overflow_recognises_nothing(as_json: bool) -> None:
    params = mf.init_params(mf.key(0), hidden=3)
    mf.save_params("large.npz", Params(*(np.full_like(p, 3e38) for p in params)))
    says = (
        "the network's weights are so large that it gives no digit a probability; train one with "
        "a smaller --learning-rate"
    )
    result = run("large.npz", drawn("a.png"), *["--json"] * as_json)
    assert error_of(result) == f"mnist-fn: a.png: {says}\n"
    if as_json:
        assert json.loads(result.stdout) == [{"file": "a.png", "error": says}]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("g", [mf.relu, mf.tanh])
def test_a_committee_answers_by_its_views_and_the_mean(g: Any, dtype: Any) -> None:
    members = [
        Member(mf.init_params(key, hidden=5, dtype=dtype), view)
        for key, view in zip(mf.split(mf.key(3), 2), (deslanted, standardized), strict=True)
    ]
    mf.save_params("committee.npz", members, g=g)
    slanted = np.full((60, 60), 240, np.uint8)
    for row in range(10, 50):
        slanted[row, 45 - row // 2 : 50 - row // 2] = 30
    Image.fromarray(slanted).save("a.png")
    X = frame(slanted).reshape(784, 1).astype(dtype)
    expected = committee_probabilities(members, X, g)[:, 0].tolist()
    [record] = json.loads(stdout_of(run("committee.npz", "a.png", "--json")))
    assert record["probabilities"] == expected
    assert record["digit"] == int(np.argmax(expected))
