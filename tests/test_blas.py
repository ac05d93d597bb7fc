import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mnist_fn.effects import blas, cli
from mnist_fn.effects.blas import Blas, Processor, better_kernel, processor

AVX512 = frozenset(["avx2", "fma", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"])
ON_HASWELL = Blas("openblas", "0.3.30", "Haswell", 2)


@pytest.mark.parametrize("kernel", ["Haswell", "Zen"])
def test_a_processor_with_avx512_is_given_its_kernel(kernel: str) -> None:
    assert better_kernel(ON_HASWELL._replace(kernel=kernel), AVX512) == "SkylakeX"


@pytest.mark.parametrize("missing", sorted(AVX512 - {"avx2", "fma"}))
def test_no_kernel_is_chosen_whose_instructions_are_lacking(missing: str) -> None:
    assert better_kernel(ON_HASWELL, AVX512 - {missing}) is None


@pytest.mark.parametrize(
    "other",
    [
        None,
        ON_HASWELL._replace(kernel="SkylakeX"),
        ON_HASWELL._replace(kernel="Sandybridge"),
        ON_HASWELL._replace(kernel=""),
        ON_HASWELL._replace(name="mkl"),
    ],
)
def test_what_is_not_known_to_be_worse_is_kept(other: Blas | None) -> None:
    assert better_kernel(other, AVX512) is None


def test_the_processor_is_read_from_what_linux_tells(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel name\t: A Chip: Fast\nflags\t\t: fpu avx2\n\n"
        "processor\t: 1\nmodel name\t: Another\nflags\t\t: fpu\n"
    )
    assert processor(cpuinfo) == Processor("A Chip: Fast", frozenset(["fpu", "avx2"]))
    assert processor(tmp_path / "nowhere") == Processor("", frozenset())


@pytest.mark.slow
def test_the_blas_is_numpys_whatever_else_is_loaded() -> None:
    def told(imports: str) -> str:
        code = f"{imports}; from mnist_fn.effects import blas; print(blas.numpys_blas())"
        run = [sys.executable, "-c", code]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout

    code = "import numpy, threadpoolctl; print(threadpoolctl.threadpool_info()[0]['internal_api'])"
    run = [sys.executable, "-c", code]
    name = subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    assert f"name='{name}'" in told("import numpy")
    assert told("import scipy.linalg, sklearn.linear_model") == told("import numpy")


@pytest.fixture
def restarts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], str]]:
    """The commands and kernels of each restart, on a machine that needs one."""
    made: list[tuple[list[str], str]] = []

    def execve(path: str, command: list[str], environment: dict[str, str]) -> None:
        made.append((command, environment["OPENBLAS_CORETYPE"]))

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(blas, "numpys_blas", lambda: ON_HASWELL)
    monkeypatch.setattr(blas, "processor", lambda: Processor("A Chip", AVX512))
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.delenv("MNIST_FN_BLAS", raising=False)
    return made


def test_the_command_line_starts_again_as_it_was_started_with_the_better_kernel(
    restarts: list[tuple[list[str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = ["python", "-W", "error", "-m", "mnist_fn", "train", "--seed", "1"]
    monkeypatch.setattr(sys, "orig_argv", started)
    blas.restart_with_better_kernel()
    assert restarts == [([sys.executable, *started[1:]], "SkylakeX")]
    assert "OPENBLAS_CORETYPE" not in os.environ


@pytest.mark.parametrize(
    ("variable", "value"), [("OPENBLAS_CORETYPE", "Haswell"), ("MNIST_FN_BLAS", "keep")]
)
def test_what_the_user_chose_is_kept(
    variable: str,
    value: str,
    restarts: list[tuple[list[str], str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    blas.restart_with_better_kernel()
    assert restarts == []


def test_a_restarted_command_does_its_work_with_the_kernel_and_once() -> None:
    # On a real machine: claim that the kernel is Haswell, and see what the new process runs on.
    code = (
        "from mnist_fn.effects import blas\n"
        "blas.better_kernel = lambda *_: 'Haswell'\n"
        "from mnist_fn.__main__ import main; main()"
    )
    kept = {"OPENBLAS_CORETYPE", "MNIST_FN_BLAS"}
    environment = {name: value for name, value in os.environ.items() if name not in kept}
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "--help"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("Train a network and write it to a file") == 1


def test_an_import_leaves_the_environment_alone() -> None:
    code = (
        "import os; before = dict(os.environ); import mnist_fn; print(before == dict(os.environ))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("with_it", "last"),
    [
        (400.0, "(mnist-fn does so for itself, unless MNIST_FN_BLAS=keep)"),
        (202.0, "advice     leave it as it is"),
    ],
)
def test_the_doctor_advises_what_it_measured(
    with_it: float, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    monkeypatch.setattr(blas, "numpys_blas", lambda: ON_HASWELL)
    monkeypatch.setattr(blas, "processor", lambda: Processor("A Chip", AVX512))
    monkeypatch.setattr(blas, "measure", lambda kernel: with_it if kernel else 200.0)
    lines = CliRunner().invoke(cli.app, ["doctor"]).stdout.splitlines()
    assert lines[0] == "processor  A Chip"
    assert lines[1].endswith("on openblas 0.3.30, kernel Haswell, 2 threads")
    assert lines[2] == "products   200 GFLOP/s with the kernel that OpenBLAS takes by itself"
    assert lines[3] == f"           {with_it:.0f} GFLOP/s with OPENBLAS_CORETYPE=SkylakeX"
    assert lines[-1].strip() == last
    assert ("export OPENBLAS_CORETYPE=SkylakeX" in " ".join(lines)) == (with_it > 300)


def test_the_doctor_measures_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_ROUNDS", 1)
    # How fast this machine is, is not the question: on a busy one it is 0 after rounding.
    monkeypatch.setattr(blas, "_MEASUREMENT", blas._MEASUREMENT.replace("1536", "128"))
    result = CliRunner().invoke(cli.app, ["doctor"])
    assert result.exit_code == 0
    if blas.numpys_blas() and "on openblas" in result.stdout:
        assert re.search(r"^products +\d+ GFLOP/s", result.stdout, re.MULTILINE)


def test_a_kernel_is_measured_in_a_process_that_has_it_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    print_it = "import os; print(len(os.environ.get('OPENBLAS_CORETYPE', '')))"
    monkeypatch.setattr(blas, "_MEASUREMENT", print_it)
    assert blas.measure("Haswell") == len("Haswell")
    assert blas.measure("") == 0


def test_what_cannot_be_told_or_chosen_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(blas, "measure")
    monkeypatch.setattr(blas, "threadpool_info", lambda: [{"user_api": "openmp"}])
    assert blas.numpys_blas() is None
    assert [*blas.report()][1:] == [
        f"NumPy      {np.__version__} on a BLAS that threadpoolctl does not know"
    ]
    monkeypatch.setattr(blas, "numpys_blas", lambda: Blas("mkl", "2025.1", "Intel", 2))
    assert [*blas.report()][1:] == [
        f"NumPy      {np.__version__} on mkl 2025.1, kernel Intel, 2 threads"
    ]
