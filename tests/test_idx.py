"""The IDX format: laws, an oracle written by hand, and what is refused."""

import gzip
import itertools
import math
import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from memory import memory_below

import mnist_fn as mf
from mnist_fn import IdxError
from mnist_fn.idx import decode, encode, encode_header

# The format's element types: code, NumPy's name and the letter of the struct module.
TYPES = [
    (0x08, "uint8", "B"),
    (0x09, "int8", "b"),
    (0x0B, "int16", "h"),
    (0x0C, "int32", "i"),
    (0x0D, "float32", "f"),
    (0x0E, "float64", "d"),
]
NAMES = [name for _, name, _ in TYPES]
MEGABYTE = 1 << 20

small = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])
arrays = hnp.arrays(
    dtype=st.sampled_from(NAMES).map(np.dtype),
    shape=hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
)


def header(code: int, *sizes: int) -> bytes:
    return struct.pack(f">2xBB{len(sizes)}I", code, len(sizes), *sizes)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(arrays)
def test_decode_undoes_encode(array: np.ndarray) -> None:
    assert same_bits(decode(encode(array)), array)
    assert same_bits(decode(gzip.compress(encode(array), 1)), array)


@given(arrays)
def test_what_encode_writes_is_what_the_format_says(array: np.ndarray) -> None:
    code, _, letter = next(row for row in TYPES if row[1] == array.dtype.name)
    elements = struct.pack(f">{array.size}{letter}", *array.ravel().tolist())
    written = encode(array)
    assert written[: 4 + 4 * array.ndim] == header(code, *array.shape)
    # A signalling NaN becomes quiet on its way through a Python float.
    if not np.isnan(array).any():
        assert written[4 + 4 * array.ndim :] == elements


@given(st.sampled_from(TYPES), st.lists(st.integers(0, 3), max_size=4), st.data())
def test_encode_undoes_decode_on_any_valid_file(
    row: tuple[int, str, str], sizes: list[int], data: st.DataObject
) -> None:
    length = math.prod(sizes) * np.dtype(row[1]).itemsize
    content = header(row[0], *sizes) + data.draw(st.binary(min_size=length, max_size=length))
    assert encode(decode(content)) == content
    assert encode(decode(gzip.compress(content, 1))) == content


@given(st.sampled_from(TYPES), st.lists(st.integers(1, 3), max_size=3), st.data())
def test_decode_finds_each_element_where_the_format_has_it(
    row: tuple[int, str, str], sizes: list[int], data: st.DataObject
) -> None:
    code, name, letter = row
    width = struct.calcsize(letter)
    length = math.prod(sizes) * width
    content = header(code, *sizes) + data.draw(st.binary(min_size=length, max_size=length))
    array = decode(content)
    assert array.dtype.name == name
    assert array.shape == tuple(sizes)
    # The last index runs fastest: just as in product().
    for i, index in enumerate(itertools.product(*map(range, sizes))):
        (expected,) = struct.unpack_from(f">{letter}", content, 4 + 4 * len(sizes) + i * width)
        np.testing.assert_array_equal(array[index], expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_a_result_is_read_only_and_in_native_byte_order(name: str, shape: tuple[int, ...]) -> None:
    array = decode(encode(np.zeros(shape, name)))
    assert array.dtype.isnative
    assert not array.flags.writeable


@pytest.mark.parametrize("name", NAMES)
def test_byte_order_and_memory_layout_do_not_matter(name: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(name)
    swapped = array.astype(array.dtype.newbyteorder("S"))
    assert encode(swapped) == encode(array)
    assert encode(np.asfortranarray(array)) == encode(array)
    assert same_bits(decode(encode(array[:, ::-2])), array[:, ::-2])


@pytest.mark.parametrize("dtype", ["int64", "uint16", "bool", "complex64", "float16", "U3", "O"])
def test_elements_without_a_code_are_refused(dtype: str) -> None:
    with pytest.raises(IdxError, match=r"IDX has no .* elements; convert to one of uint8, int8"):
        encode(np.zeros(3, dtype))


def test_elements_of_numpys_new_kinds_are_refused() -> None:
    with pytest.raises(IdxError, match=r"IDX has no StringDType.* elements"):
        encode(np.array(["7"], np.dtypes.StringDType()))


@pytest.mark.parametrize("size", [1 << 32, (1 << 32) + 1])
def test_a_size_that_does_not_fit_into_32_bits_is_refused(size: int) -> None:
    array = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (size,), (0,))
    with pytest.raises(IdxError, match=rf"shape is \({size},\), but .* below 2\^32"):
        encode(array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "offset 0: the data ends inside the 4-byte magic number"),
        (b"\0\0\x08", "offset 3: the data ends inside the 4-byte magic number"),
        (b"PK\3\4", "offset 0: there is 50 4b, but an IDX file starts with 00 00"),
        (b"\0\1\x08\1", "offset 0: there is 00 01, but an IDX file starts with 00 00"),
        (
            b"\0\0\x0a\1",
            "offset 2: the element type is 0a, but it must be one of 08 (uint8), 09 (int8), "
            "0b (int16), 0c (int32), 0d (float32), 0e (float64)",
        ),
        (b"\0\0\x08\x41", "offset 3: there are 65 dimensions, but NumPy has at most 64"),
        (
            b"\0\0\x08\2\0\0\0\2\0",
            "offset 9: the data ends inside the 2 sizes, which end at offset 12",
        ),
        (
            header(0x0C, 3) + bytes(11),
            "offset 19: the data ends, but the header declares 3 elements of 4 bytes (12), "
            "which end at offset 19",
        ),
        (
            header(0x08, 2, 3) + bytes(2),
            "offset 14: the data ends, but the header declares 6 elements of 1 byte (6), "
            "which end at offset 17",
        ),
        (
            small + b"\0",
            "offset 18: there is more data, but the header declares 6 elements of 1 byte (6), "
            "which end at offset 17",
        ),
        (
            header(0x0E, 0, 2**32 - 1, 2**32 - 1),
            "offset 4: NumPy cannot have the shape (0, 4294967295, 4294967295)",
        ),
    ],
)
def test_bad_content_is_refused_with_what_is_wrong_and_where(content: bytes, message: str) -> None:
    for packed in (content, gzip.compress(content)):
        with pytest.raises(IdxError) as refusal:
            decode(packed, "labels.idx")
        assert str(refusal.value).startswith(f"labels.idx: {message}")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_header_that_claims_2_to_the_40_elements_takes_no_memory(
    pack: Callable[[bytes], bytes],
) -> None:
    content = pack(header(0x08, 2**20, 2**20) + bytes(10))
    expected = f"offset 22: the data ends, but the header declares {2**40} elements"
    with memory_below(4 * MEGABYTE), pytest.raises(IdxError) as refusal:
        decode(content)
    assert expected in str(refusal.value)


def test_a_gzip_file_cannot_expand_past_its_header() -> None:
    bomb = gzip.compress(header(0x08, 3) + bytes(100 * MEGABYTE), 1)
    with memory_below(4 * MEGABYTE), pytest.raises(IdxError, match="offset 11: there is more data"):
        decode(bomb)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda packed: packed[:-1], "end-of-stream marker"),
        (lambda packed: packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:], "CRC check failed"),
        (lambda packed: packed[:-1] + b"\1", "Incorrect length"),
        (lambda packed: packed[:2] + b"\7" + packed[3:], "compression method"),
        (lambda packed: packed[:10] + b"\xff" * 8, "invalid"),
        (lambda packed: packed + b"something else", "Not a gzipped file"),
    ],
    ids=["cut short", "checksum", "length", "method", "stream", "trailing"],
)
def test_a_damaged_gzip_file_is_refused(damage: Callable[[bytes], bytes], reason: str) -> None:
    with pytest.raises(IdxError) as refusal:
        decode(damage(gzip.compress(small)), "images.gz")
    message = str(refusal.value)
    assert message.startswith("images.gz: the gzip data is damaged or cut short (")
    assert reason in message
    assert message.endswith("get the file again")


@pytest.mark.parametrize("content", [small, gzip.compress(small)], ids=["plain", "gzip"])
def test_every_truncation_is_refused(content: bytes) -> None:
    for length in range(len(content)):
        with pytest.raises(IdxError):
            decode(content[:length])


@pytest.mark.slow
def test_the_real_mnist_survives_the_round_trip_and_has_its_known_statistics(
    mnist: mf.Dataset,
) -> None:
    images = mnist.X_test.T.reshape(-1, 28, 28)
    assert same_bits(decode(encode(images)), images)
    assert mnist.Y_train[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
    # The two numbers by which everybody normalises the training images.
    assert mnist.X_train.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert mnist.X_train.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_an_array_may_have_as_many_dimensions_as_numpy_has() -> None:
    array = np.full((1,) * 64, 7, np.uint8)
    np.testing.assert_array_equal(decode(encode(array)), array)


def test_the_largest_size_that_fits_into_32_bits_is_written() -> None:
    written = encode_header(np.dtype(np.uint8), (2**32 - 1, 33))
    assert written == header(0x08, 2**32 - 1, 33)


def test_what_is_unpacked_is_held_once() -> None:
    content = gzip.compress(header(0x08, 20 * MEGABYTE) + bytes(20 * MEGABYTE), 1)
    with memory_below(32 * MEGABYTE):
        decode(content)
