"""Picture files: what Pillow can read comes as it is, and all else is a message."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mnist_fn.effects.pictures import PictureError, find_pictures, read_picture
from mnist_fn.images import frame

in_one_directory = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NO_PICTURE = "it is not a picture of a kind that Pillow can read; save it as PNG or JPEG"


def seven(side: int = 40) -> np.ndarray:
    """A dark seven on white, upright and not like any turn or mirror of itself."""
    grey = np.full((side, side * 3 // 4), 255, np.uint8)
    grey[side // 5 : side // 4 + 2, side // 5 : side // 2] = 10
    grey[side // 5 : side * 4 // 5, side // 2 : side // 2 + 3] = 10
    return grey


def saved(image: Image.Image, path: Path, **options: Any) -> str:
    image.save(path, **options)
    return str(path)


def content(kind: str = "PNG", side: int = 40) -> bytes:
    file = io.BytesIO()
    Image.fromarray(seven(side)).save(file, kind)
    return file.getvalue()


def error_of(path: Path | str) -> str:
    with pytest.raises(PictureError) as refusal:
        read_picture(str(path))
    return str(refusal.value)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of these chunks, whatever they say."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, body in chunks:
        check = struct.pack(">I", zlib.crc32(name + body))
        parts.append(struct.pack(">I", len(body)) + name + body + check)
    return b"".join(parts)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_what_has_eight_bits_comes_as_it_is(mode: str, tmp_path: Path) -> None:
    grey = seven()
    channels = {"L": 0, "LA": 2, "RGB": 3, "RGBA": 4}[mode]
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (*grey.shape, channels), np.uint8) if channels else grey
    picture = read_picture(saved(Image.fromarray(pixels), tmp_path / "a.png"))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, pixels)


CONVERTED: list[tuple[str, str, int]] = [
    ("1", "png", 3),
    ("P", "png", 3),
    ("P", "gif", 3),
    ("CMYK", "tiff", 3),
    ("CMYK", "jpg", 3),
    ("YCbCr", "jpg", 3),
    ("YCbCr", "tiff", 3),
    ("L", "bmp", 0),
    ("RGB", "webp", 3),
    ("LAB", "tiff", 3),
]


@pytest.mark.parametrize(("mode", "suffix", "channels"), CONVERTED)
def test_other_modes_become_colours(mode: str, suffix: str, channels: int, tmp_path: Path) -> None:
    image = Image.fromarray(seven()).convert("RGB")
    image = Image.merge("LAB", [image.getchannel(0)] * 3) if mode == "LAB" else image.convert(mode)
    picture = read_picture(saved(image, tmp_path / f"a.{suffix}"))
    assert picture.dtype == np.uint8
    assert picture.shape == (*seven().shape, channels)[: 3 if channels else 2]
    if mode != "LAB":
        grey = picture.astype(int).reshape(*seven().shape, -1)
        assert np.abs(grey - seven()[..., np.newaxis]).mean() < 5
        assert frame(picture).sum() == pytest.approx(frame(seven()).sum(), rel=0.2)


@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_a_palette_with_transparency_has_alpha(suffix: str, tmp_path: Path) -> None:
    numbers = (seven() > 100).astype(np.uint8)
    palette = Image.frombytes("P", numbers.shape[::-1], numbers.tobytes())
    palette.putpalette([10, 10, 10, 77, 77, 77])
    picture = read_picture(saved(palette, tmp_path / f"a.{suffix}", transparency=1))
    assert picture.shape == (*seven().shape, 4)
    np.testing.assert_array_equal(picture[..., 3] == 0, seven() > 100)
    np.testing.assert_array_equal(
        picture[seven() < 100], [[10, 10, 10, 255]] * (seven() < 100).sum()
    )


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_kept(suffix: str, tmp_path: Path) -> None:
    pixels = seven().astype(np.uint16) * np.uint16(257) - np.uint16(3)
    picture = read_picture(saved(Image.fromarray(pixels), tmp_path / f"a.{suffix}"))
    assert picture.dtype == np.uint16
    np.testing.assert_array_equal(picture, pixels)


def test_whole_numbers_are_cut_at_sixteen_bits(tmp_path: Path) -> None:
    pixels = np.arange(100, dtype=np.int32).reshape(10, 10) * 1000 - 5000
    picture = read_picture(saved(Image.fromarray(pixels), tmp_path / "a.tiff"))
    assert picture.dtype == np.uint16
    np.testing.assert_array_equal(picture, pixels.clip(0, 65535))


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-7.0, 1e6), (3.0, 3.0)])
def test_fractions_are_stretched_to_sixteen_bits(low: float, high: float, tmp_path: Path) -> None:
    part = (255 - seven()).astype(np.float32) / 245
    pixels = np.float32(low) + part * np.float32(high - low)
    picture = read_picture(saved(Image.fromarray(pixels), tmp_path / "a.tiff"))
    assert picture.dtype == np.uint16
    expected = part * 65535 if high > low else 0 * part
    np.testing.assert_allclose(picture, expected, rtol=0, atol=1.01)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 39])
def test_fractions_that_are_no_numbers_are_refused(
    value: float, row: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnist_fn.effects.pictures._AT_ONCE", 90)  # three rows
    pixels = (255 - seven()).astype(np.float32)
    pixels[row, 0] = value
    says = "some of its pixels are not finite numbers; save it as PNG, whose are whole numbers"
    assert error_of(saved(Image.fromarray(pixels), tmp_path / "a.tiff")) == says


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"])
def test_a_picture_that_is_taken_in_parts_is_the_same(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 30, 4), np.uint8)
    if mode in ("I", "I;16", "F"):
        dtype = {"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]
        image = Image.fromarray(pixels[..., 0].astype(dtype) * dtype(200) + pixels[..., 1])
    else:
        image = Image.fromarray(pixels).convert(mode)
    path = saved(image, tmp_path / "a.tiff")
    whole = read_picture(path)
    for pixels_at_once in (1, 90, 30 * 49):
        monkeypatch.setattr("mnist_fn.effects.pictures._AT_ONCE", pixels_at_once)
        picture = read_picture(path)
        assert picture.dtype == whole.dtype
        np.testing.assert_array_equal(picture, whole)


MEASURED = """
import sys
import numpy as np
from PIL import Image
from mnist_fn.effects.pictures import read_picture
from mnist_fn.images import frame

def most():  # not of getrusage, which a process that is started has from its parent
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))

Image.init()
frame(np.pad(np.full((30, 5), 255, np.uint8), 9))
before = most()
image = frame(read_picture(sys.argv[1]))
print(most() - before, np.count_nonzero(image > 0.5))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process took at most")
@pytest.mark.parametrize(("height", "width"), [(9_459, 9_459), (418, 214_000)])
def test_the_largest_picture_takes_eight_bytes_a_pixel(
    height: int, width: int, tmp_path: Path
) -> None:
    paper = np.full((1, width, 4), 255, np.uint8)
    inked = paper.copy()
    inked[:, width * 2 // 5 : width * 3 // 5, :3] = 0
    packer, data = zlib.compressobj(1), b""
    for y in range(height):
        row = inked if height // 5 < y < height * 4 // 5 else paper
        data += packer.compress(b"\0" + row.tobytes())
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", data + packer.flush()), (b"IEND", b"")
    path = tmp_path / "a.png"
    path.write_bytes(png(*chunks))
    command = [sys.executable, "-c", MEASURED, str(path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    taken, inked_pixels = map(int, result.stdout.split())
    assert inked_pixels > 0
    assert taken < 8 * width * height + 64 * 2**20


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_picture_is_turned_as_its_camera_says(
    orientation: int, suffix: str, tmp_path: Path
) -> None:
    # What a camera held so stores, by the definition of the tag.
    upright = seven()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(saved(image, tmp_path / f"a.{suffix}", exif=exif))
    assert picture.shape == upright.shape
    assert np.abs(picture.astype(int) - upright).mean() < 5


def test_of_an_animation_it_is_the_first_picture(tmp_path: Path) -> None:
    first, second = Image.fromarray(seven()), Image.fromarray(255 - seven())
    path = saved(first, tmp_path / "a.gif", save_all=True, append_images=[second])
    picture = read_picture(path)
    np.testing.assert_allclose(frame(picture), frame(seven()), rtol=0, atol=1e-6)
    assert picture.reshape(-1)[0] == 255


def test_standard_input_is_read_as_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(content()))
    monkeypatch.setattr("sys.stdin", stream)
    np.testing.assert_array_equal(read_picture("-"), seven())


def test_a_folder_gives_its_pictures_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.tiff", "labels.tsv", "noext", "d.txt"):
        (tmp_path / name).write_bytes(b"")
    names = [str(tmp_path / name) for name in ("a.JPG", "b.png", "c.tiff")]
    assert list(find_pictures([str(tmp_path)])) == names
    assert list(find_pictures(["x.png", str(tmp_path), "-"])) == ["x.png", *names, "-"]


def test_a_folder_without_pictures_says_so(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    assert list(find_pictures([str(tmp_path)])) == [str(tmp_path)]
    assert error_of(tmp_path) == "it is a folder without pictures, or one that cannot be read"
    (tmp_path / "x.png").mkdir()
    (tmp_path / "text.pdf").write_bytes(b"%PDF")  # which Pillow writes, but does not read
    assert list(find_pictures([str(tmp_path)])) == [str(tmp_path)]
    assert (
        error_of(tmp_path / "x.png")
        == "it is a folder without pictures, or one that cannot be read"
    )


def test_a_folder_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Any:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse)  # which a mode would not do to root
    assert list(find_pictures([str(tmp_path)])) == [str(tmp_path)]
    assert error_of(tmp_path) == "it is a folder without pictures, or one that cannot be read"


def test_a_pattern_gives_what_matches_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("b.png", "a.png", "c.txt", "in/d.png", "[1].png"):
        (tmp_path / name).write_bytes(b"")
    assert list(find_pictures(["?.png"])) == ["a.png", "b.png"]
    deep = ["[1].png", "a.png", "b.png", "in/d.png"]
    assert list(find_pictures(["**/*.png"])) == deep
    assert list(find_pictures(["[1].png"])) == ["[1].png"]  # a file of that name
    assert list(find_pictures(["z*.png"])) == ["z*.png"]
    assert error_of("z*.png") == "it cannot be read: No such file or directory"


def test_a_folder_called_minus_is_not_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-").mkdir()
    (tmp_path / "-" / "a.png").write_bytes(b"")
    assert list(find_pictures(["-", "./-"])) == ["-", "-/a.png"]


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    says = "it cannot be read: No such file or directory"
    assert error_of(tmp_path / "none.png") == says
    assert error_of(tmp_path / "[none].png") == says


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content())
    path.chmod(0)
    assert error_of(path) == "it cannot be read: Permission denied"


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 300 + ".png"])
def test_a_name_that_no_file_can_have_says_so(name: str) -> None:
    assert list(find_pictures([name])) == [name]
    assert error_of(name).startswith("it cannot be read: ")


@pytest.mark.parametrize("text", [b"a text file\n", b"\x89PNG\r\n", b"GIF89a"])
def test_what_is_no_picture_says_so(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_bytes(text)
    assert error_of(path) == NO_PICTURE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
def test_a_truncated_picture_is_damaged(kind: str, tmp_path: Path) -> None:
    whole, path = content(kind), tmp_path / "cut"
    messages = []
    for length in range(0, len(whole) * 2 // 3, max(1, len(whole) // 25)):
        path.write_bytes(whole[:length])
        messages.append(error_of(path))
    assert messages[0] == "it is empty; make it anew"
    assert messages[-1].startswith("it is damaged: ")
    assert messages[-1].endswith("; make it anew")


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    most = "89,478,485"
    path = tmp_path / "bomb.png"
    for side in (10_000, 60_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        path.write_bytes(png((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")))
        says = f"it has too many pixels ({most} are the most); scale it down"
        assert error_of(path) == says


def test_text_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 40, 40, 8, 0, 0, 0, 0)
    text = b"Comment\0\0" + zlib.compress(b"x" * 100_000_000)
    path = tmp_path / "bomb.png"
    path.write_bytes(png((b"IHDR", header), (b"zTXt", text), (b"IEND", b"")))
    assert error_of(path).startswith("it is ")


@pytest.mark.parametrize("raised", [MemoryError(), OSError("no")])
def test_too_little_memory_and_failing_reads_are_messages(
    raised: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    path = tmp_path / "a.png"
    path.write_bytes(content())
    monkeypatch.setattr("mnist_fn.effects.pictures.ImageOps.exif_transpose", fail)
    short = isinstance(raised, MemoryError)
    says = (
        "there is not enough memory for it; scale it down"
        if short
        else "it is damaged: no; make it anew"
    )
    assert error_of(path) == says


def assert_a_picture_or_an_error(path: Path, source: bytes) -> None:
    path.write_bytes(source)
    try:
        picture = read_picture(str(path))
        image = frame(picture)
    except (PictureError, ValueError) as error:
        message = str(error)
    else:
        message = "frame: "
        assert image.shape == (28, 28)
    assert message.startswith(("it ", "there is ", "frame: "))


@in_one_directory
@given(
    numbers=st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2),
    kinds=st.tuples(st.integers(0, 20), st.integers(0, 8)),
    body=st.binary(max_size=40),
)
def test_png_chunks_with_right_sums_are_a_picture_or_an_error(
    tmp_path: Path, numbers: list[int], kinds: tuple[int, int], body: bytes
) -> None:
    sides = [number % 40 if number % 3 else number for number in numbers]
    header = struct.pack(">IIBBBBB", *sides, *kinds, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"PLTE", body[:30]), (b"tRNS", body[:7]), (b"eXIf", body))
    data = (b"IDAT", zlib.compress(body * 50))
    assert_a_picture_or_an_error(tmp_path / "a.png", png(*chunks, data, (b"IEND", b"")))


def test_a_reader_that_fails_in_its_own_way_is_an_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(image: Image.Image, *, in_place: bool) -> None:
        raise RuntimeError("Failed to decode image")

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", failing)
    (tmp_path / "x").write_bytes(content("PNG"))
    assert error_of(tmp_path / "x") == "it is damaged: Failed to decode image; make it anew"


def test_no_picture_starts_another_program(tmp_path: Path) -> None:
    (tmp_path / "x.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    assert error_of(tmp_path / "x.eps") == NO_PICTURE


def test_without_standard_input_there_is_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert error_of("-") == "there is no standard input"
