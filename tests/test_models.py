"""Model files: what is saved comes back, and whatever else is refused."""

import errno
import io
import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory import memory_below

import mnist_fn as mf
from mnist_fn import ModelError
from mnist_fn.views import VIEWS

in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

PARAMS = mf.init_params(mf.key(0), pixels=4, hidden=3, classes=2)
PARTS: dict[str, np.ndarray] = {
    **PARAMS._asdict(),
    "format": np.array(1),
    "activation": np.array("relu"),
    "trained_on": np.array("digits"),
}


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array)
    return content.getvalue()


def raw_npy(descr: str, shape: tuple[int, ...], data: bytes = b"") -> bytes:
    """Return an array as ``.npy`` has it, whose header need not fit its data."""
    header = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def archive(
    changes: dict[str, bytes], without: str = "", compression: int = zipfile.ZIP_STORED
) -> bytes:
    """Return a model file, by Python's own zipfile, with some parts replaced or added."""
    parts = {name: npy(array) for name, array in PARTS.items()} | changes
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as file:
        for name, part in parts.items():
            if name != without:
                file.writestr(zipfile.ZipInfo(f"{name}.npy"), part, compression)
    return content.getvalue()


def write(directory: Path, content: bytes) -> Path:
    path = directory / "model.npz"
    path.write_bytes(content)
    return path


def refusal_of(path: Path) -> str:
    with pytest.raises(ModelError) as refusal:
        mf.load_model(path)
    assert str(refusal.value).startswith(str(path))
    return str(refusal.value)


def same_bits(a: mf.Params, b: mf.Params) -> bool:
    return all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in zip(a, b, strict=True)
    )


@in_one_directory
@given(
    st.fixed_dictionaries({name: st.integers(1, 5) for name in ("pixels", "hidden", "classes")}),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([mf.relu, mf.tanh, mf.sigmoid]),
    st.text().filter(lambda text: not text.endswith("\0")),
)
def test_load_undoes_save(
    tmp_path: Path,
    sizes: dict[str, int],
    dtype: type[np.float32] | type[np.float64],
    g: mf.ActivationFunction,
    trained_on: str,
) -> None:
    params = mf.init_params(mf.key(1), **sizes, dtype=dtype)
    mf.save_params(tmp_path / "model.npz", params, g=g, trained_on=trained_on)
    model = mf.load_model(tmp_path / "model.npz")
    assert same_bits(model.members[0].params, params)
    assert (model.g, model.trained_on) == (g, trained_on)
    assert not any(array.flags.writeable for array in model.members[0].params)
    assert same_bits(mf.load_params(tmp_path / "model.npz"), params)


def test_the_history_and_the_settings_of_a_training_come_back(tmp_path: Path) -> None:
    history = (
        mf.EpochRecord(0, 1, 0.1, 0.5, 0.9, 0.25, 0.8, 1.5),
        mf.EpochRecord(1, 2, 1e-9, 0.5, 0.9, float("nan"), float("nan"), 0.0),
    )
    settings = {"recipe": "quick", "seed": "7", "<b>": "\N{SNOWMAN}"}
    mf.save_params(tmp_path / "model.npz", PARAMS, history=history, settings=settings)
    model = mf.load_model(tmp_path / "model.npz")
    assert repr(model.history) == repr(history)
    assert model.settings == settings
    mf.save_params(tmp_path / "model.npz", PARAMS)
    model = mf.load_model(tmp_path / "model.npz")
    assert (model.history, dict(model.settings)) == ((), {})


@pytest.mark.parametrize(
    ("part", "array", "reason"),
    [
        ("history", np.zeros((2, 7)), r"history, of shape \(2, 7\), is not a table of epochs"),
        ("history", np.full((1, 8), 0.5), r"history, of shape \(1, 8\), is not a table of epochs"),
        ("history", np.full((1, 8), np.nan), "is not a table of epochs"),
        ("history", np.full((1, 8), -1.0), "is not a table of epochs"),
        ("history", np.zeros(8), r"history is a float64 array of shape \(8,\)"),
        ("settings", np.array("[1]"), "settings is not a table of texts"),
        ("settings", np.array('{"seed": 1}'), "settings is not a table of texts"),
        ("settings", np.array("{"), "Expecting property name"),
        ("settings", np.array("[" * 100_000), "maximum recursion depth"),
    ],
)
def test_a_damaged_history_is_refused(
    tmp_path: Path, part: str, array: np.ndarray, reason: str
) -> None:
    (tmp_path / "model.npz").write_bytes(archive({part: npy(array)}))
    with pytest.raises(ModelError, match=f"is damaged, or not a model file: .*{reason}"):
        mf.load_model(tmp_path / "model.npz")


def test_load_undoes_save_for_a_committee(tmp_path: Path) -> None:
    sizes = [(9, 2), (9, 4), (9, 3)]
    members = [
        mf.init_params(mf.key(i), pixels=pixels, hidden=hidden, classes=3)
        for i, (pixels, hidden) in enumerate(sizes * 4)
    ]
    views = [VIEWS[name] for name in ("as they are", "deslanted", "standardized")] * 4
    shown = [mf.Member(params, view) for params, view in zip(members, views, strict=True)]
    mf.save_params(tmp_path / "model.npz", shown)
    loaded = mf.load_model(tmp_path / "model.npz").members
    assert all(map(same_bits, (member.params for member in loaded), members))
    assert [member.view for member in loaded] == [member.view for member in shown]
    assert len(loaded) == len(members) == 12
    with pytest.raises(ModelError, match=r"is a committee of 12; read it with load_model$"):
        mf.load_params(tmp_path / "model.npz")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"pixels": 7}, "7 pixels, 3 classes and float32 numbers"),
        ({"classes": 2}, "5 pixels, 2 classes and float32 numbers"),
        ({"dtype": np.float64}, "5 pixels, 3 classes and float64 numbers"),
    ],
)
def test_networks_for_other_tasks_are_no_committee(
    tmp_path: Path, other: dict[str, Any], reason: str
) -> None:
    sizes: dict[str, Any] = {"pixels": 5, "hidden": 2, "classes": 3}
    members = [mf.init_params(mf.key(0), **sizes), mf.init_params(mf.key(0), **(sizes | other))]
    path = tmp_path / "model.npz"
    with pytest.raises(ModelError) as refusal:
        mf.save_params(path, list(map(mf.Member, members)))
    assert str(refusal.value) == (
        f"the network cannot be saved in {path}: W1.1 and W2.1 are for {reason}, "
        "but W1 and W2 for 5 pixels, 3 classes and float32 numbers"
    )
    parts = members[0]._asdict() | {f"{k}.1": v for k, v in members[1]._asdict().items()}
    refused = refusal_of(write(path.parent, archive({k: npy(v) for k, v in parts.items()})))
    assert "W1.1 and W2.1 are for" in refused


def test_a_network_with_a_view_of_its_own_is_not_read_without_it(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    params = mf.init_params(mf.key(0), pixels=9, hidden=2)
    mf.save_params(path, [mf.Member(params, VIEWS["deslanted"])])
    assert mf.load_model(path).members[0].view == VIEWS["deslanted"]
    with pytest.raises(ModelError, match="must be shown images deslanted; read it with load_model"):
        mf.load_params(path)


def test_a_view_that_cannot_be_named_or_applied_is_not_saved(tmp_path: Path) -> None:
    own = mf.View("deslanted", lambda X: X)
    with pytest.raises(ModelError, match="a model file cannot name the view 'deslanted'"):
        mf.save_params(tmp_path / "model.npz", [mf.Member(mf.init_params(mf.key(0)), own)])
    oblong = mf.Member(mf.init_params(mf.key(0), pixels=12), VIEWS["deslanted"])
    says = r"images cannot be shown deslanted: deslant: images of 12 pixels are not square$"
    with pytest.raises(ModelError, match=says):
        mf.save_params(tmp_path / "model.npz", [oblong])
    half = mf.Member(
        mf.init_params(mf.key(0), pixels=33), VIEWS["deslanted and standardized edges"]
    )
    says = r"W1 takes 33 numbers, but images shown deslanted and standardized edges have 32$"
    with pytest.raises(ModelError, match=says):
        mf.save_params(tmp_path / "model.npz", [half])


def test_a_view_that_is_not_known_is_refused(tmp_path: Path) -> None:
    content = archive({"view": npy(np.array("upside down"))})
    refused = refusal_of(write(tmp_path, content))
    assert "view is 'upside down', not one of as they are, deslanted" in refused


def test_a_committee_of_nobody_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it has 0 members, but must have 1 to 100"):
        mf.save_params(tmp_path / "model.npz", [])


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["W1.1"], "it lacks b1.1, W2.1, b2.1"),
        (["W1.2", "b1.2", "W2.2", "b2.2"], "it lacks W1.1, b1.1, W2.1, b2.1"),
        (["W1.01"], "'W1.01.npy' is not a part that a model file has"),
        (["W1.0"], "'W1.0.npy' is not a part that a model file has"),
        (["view.1"], "it has view.1, but only 1 members"),
        (["format.1"], "'format.1.npy' is not a part that a model file has"),
    ],
)
def test_a_committee_with_other_parts_is_refused(
    tmp_path: Path, names: list[str], reason: str
) -> None:
    arrays = PARTS | {"view": np.array("as they are")}
    parts = {name: npy(arrays[name.partition(".")[0]]) for name in names}
    assert reason in refusal_of(write(tmp_path, archive(parts)))


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        mf.save_params(tmp_path / name, PARAMS, g=mf.tanh, trained_on="digits")
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_numpy_and_the_zipfile_module_agree_on_the_format(tmp_path: Path) -> None:
    mf.save_params(tmp_path / "saved", PARAMS, trained_on="digits")
    with np.load(tmp_path / "saved", allow_pickle=False) as saved:
        assert sorted(saved.files) == sorted(PARTS)
        assert all(np.array_equal(saved[name], array) for name, array in PARTS.items())
    assert mf.load_model(write(tmp_path, archive({}))).trained_on == "digits"


@pytest.mark.parametrize("layout", [">f4", "F"])
def test_other_byte_orders_and_layouts_are_read(tmp_path: Path, layout: str) -> None:
    other = np.asfortranarray(PARAMS.W1) if layout == "F" else PARAMS.W1.astype(layout)
    loaded = mf.load_params(write(tmp_path, archive({"W1": npy(other)})))
    np.testing.assert_array_equal(loaded.W1, PARAMS.W1, strict=True)
    assert loaded.W1.dtype.isnative


def test_a_file_survives_the_save_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(file: io.BytesIO, **arrays: object) -> None:
        file.write(b"PK, and then")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = archive({})
    path = write(tmp_path, before)
    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(ModelError) as refusal:
        mf.save_params(path, PARAMS)
    assert str(refusal.value) == f"{path} cannot be written: {os.strerror(errno.ENOSPC)}"
    assert os.listdir(tmp_path) == ["model.npz"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_follow_the_umask_and_nothing_else_is_left(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        mf.save_params(tmp_path / "model.npz", PARAMS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.npz").stat().st_mode) == 0o666 & ~umask
    assert os.listdir(tmp_path) == ["model.npz"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "it is a directory"),
        (os.mkfifo, "it is not a file"),
        (lambda path: path.symlink_to(os.devnull), "not a file"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ],
    ids=["directory", "fifo", "device", "loop"],
)
def test_what_is_not_a_file_is_not_replaced(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "model.npz"
    make(path)
    before = path.lstat()
    with pytest.raises(ModelError, match=f"model.npz cannot be written: .*{reason}"):
        mf.save_params(path, PARAMS)
    assert path.lstat().st_ino == before.st_ino
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    mf.save_params(tmp_path / "link", PARAMS)
    assert (tmp_path / "link").is_symlink()
    assert same_bits(mf.load_params(tmp_path / "target"), PARAMS)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot be written: No such file or directory"):
        mf.save_params(tmp_path / "nowhere" / "model.npz", PARAMS)


@pytest.mark.parametrize("name", ["softplus", "relu"])
def test_an_activation_function_that_cannot_be_named_is_not_saved(
    tmp_path: Path, name: str
) -> None:
    g = mf.tanh._replace(name=name)
    expected = rf"'{name}' is not one .* \(relu, tanh, sigmoid\); save the arrays with numpy.savez"
    with pytest.raises(ModelError, match=expected):
        mf.save_params(tmp_path / "model.npz", PARAMS, g=g)
    assert os.listdir(tmp_path) == []


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    params = PARAMS._replace(b2=np.full((2, 1), np.inf, np.float32))
    with pytest.raises(ModelError, match="b2 holds numbers that are not finite"):
        mf.save_params(tmp_path / "model.npz", params)
    with pytest.raises(ModelError, match=r"trained_on is 'a\\x00', but must not end with a null"):
        mf.save_params(tmp_path / "model.npz", PARAMS, trained_on="a\0")
    assert os.listdir(tmp_path) == []


class Case(NamedTuple):
    content: bytes
    message: str


REFUSED = {
    "empty": Case(b"", "is damaged, or not a model file"),
    "text": Case(b"W1 b1 W2 b2\n", "is damaged, or not a model file"),
    **{f"no {name}": Case(archive({}, without=name), f": it lacks {name}. ") for name in PARTS},
    "half": Case(archive({"W1": npy(PARAMS.W1.astype(np.float16))}), "W1 is a float16 array"),
    "mixed": Case(
        archive({"W2": npy(PARAMS.W2.astype(np.float64))}),
        "W2 is a float64 array of shape (2, 3), but beside W1 it must be a float32 array",
    ),
    "whole": Case(
        archive({"b2": npy(np.zeros((2, 1), int))}), "b2 is a int64 array of shape (2, 1)"
    ),
    "sizes": Case(
        archive({"b1": npy(np.zeros((4, 1), np.float32))}),
        "b1 is a float32 array of shape (4, 1), but beside W1 it must be a float32 array of "
        "shape (3, 1)",
    ),
    "rank": Case(archive({"b1": npy(PARAMS.b1[:, 0])}), "b1 is a float32 array of shape (3,)"),
    "hollow": Case(
        archive({"W1": npy(np.zeros((3, 0), np.float32))}), "W1 is a float32 array of shape (3, 0)"
    ),
    "NaN": Case(archive({"b1": npy(PARAMS.b1 * np.float32(np.nan))}), "b1 holds numbers that are"),
    "activation": Case(
        archive({"activation": npy(np.array("gelu"))}),
        "activation is 'gelu', not one of relu, tanh, sigmoid",
    ),
    "newer": Case(
        archive({"format": npy(np.array(2))}),
        "its format is 2, and this version of mnist_fn reads 1",
    ),
    "extra": Case(archive({"W3": npy(PARAMS.W1)}), "'W3.npy' is not a part that a model file has"),
    "compressed": Case(archive({}, compression=zipfile.ZIP_DEFLATED), "compressed"),
    "2^40": Case(
        archive({"W1": raw_npy("<f4", (2**20, 2**20), bytes(10))}),
        "W1 declares float32 elements in the shape (1048576, 1048576), but has 10 bytes",
    ),
    "objects": Case(
        archive({"W1": raw_npy("|O", (3, 4), bytes(96))}), "W1 declares object elements"
    ),
    "2^70": Case(archive({"W1": raw_npy("<f4", (0, 2**70))}), "is damaged"),
    "negative": Case(archive({"W1": raw_npy("<f4", (-3, -4), bytes(48))}), "is damaged"),
    "header": Case(archive({"W1": b"\x93NUMPY\x01\x00\x05\x00{'a':"}), "the header of W1 is dam"),
    "text past Unicode": Case(
        archive({"trained_on": raw_npy("<U1", (), b"\xff\xff\xff\x7f")}), "trained_on"
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_is_not_a_model_file_is_refused(tmp_path: Path, case: Case) -> None:
    message = refusal_of(write(tmp_path, case.content))
    assert case.message in message
    assert message.endswith("Make one with mnist-fn train, or with save_params.")


def test_a_part_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, archive({}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own, about the name
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("W1.npy", npy(-PARAMS.W1))
    assert "W1" in refusal_of(path)


def test_a_file_that_is_not_there_and_a_directory_are_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory" in refusal_of(tmp_path / "nowhere.npz")
    assert "cannot be read: Is a directory" in refusal_of(tmp_path)


def test_sizes_are_checked_where_the_contracts_are_turned_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert "b1" in refusal_of(write(tmp_path, REFUSED["sizes"].content))


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    target = tmp_path / "unpickled"
    content = io.BytesIO()
    np.lib.format.write_array(content, np.array([[Malice(target)]], object), allow_pickle=True)
    path = write(tmp_path, archive({"W1": content.getvalue()}))
    assert "W1 declares object elements" in refusal_of(path)
    assert not target.exists()
    with np.load(path, allow_pickle=True) as unsafe:
        unsafe["W1"]
    assert target.exists()  # it would have been


def claims_a_gigabyte() -> bytes:
    """Return a model file whose zip directory says that W1 has 2^30 bytes."""
    content = bytearray(archive({}))
    for place in (18, content.find(b"PK\1\2") + 20):  # local header, central directory
        struct.pack_into("<II", content, place, 2**30, 2**30)
    return bytes(content)


def test_parts_cannot_lie_over_each_other(tmp_path: Path) -> None:
    content = bytearray(archive({}))
    size, place = 3 * len(content) // 4, -1
    while (place := content.find(b"PK\1\2", place + 1)) >= 0:
        struct.pack_into("<II", content, place + 20, size, size)
    assert f"b1 cannot be {size} bytes long" in refusal_of(write(tmp_path, bytes(content)))


@pytest.mark.parametrize("content", [REFUSED["2^40"].content, claims_a_gigabyte()])
def test_sizes_that_a_file_only_claims_take_no_memory(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, content)
    with memory_below(1 << 20):
        refusal_of(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = archive({})
    for length in range(0, len(content), 97):
        refusal_of(write(tmp_path, content[:length]))


def test_a_file_is_on_disk_before_it_takes_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(file: int) -> None:
        done.append("fsync")
        fsync(file)

    def noted_replace(path: Path, target: Path) -> Path:
        done.append("replace")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    mf.save_params(tmp_path / "model.npz", PARAMS)
    assert done == ["fsync", "replace"]
