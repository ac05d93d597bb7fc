"""Drawings of people through ``predict``: ``python benchmarks/drawings.py [MODEL.npz] [--quick]``.

Counts how many of the drawings a network gets right, over all and for each person (the
letter before the dash), and prints those that it misses as it sees them. Then it writes
MNIST's own test images as PNG files and reads them back through the same functions, to
tell what these steps change. Draws ``drawings.png``: every drawing as the network sees it.
The command ``mnist-fn predict --json`` itself is run over the drawings, and must agree.

Without a model file, it trains the recipe ``elastic``; with ``--quick``, one epoch of
``quick``, takes 500 of MNIST's images, and writes no files.

The drawings, and ``labels.tsv`` with a file's name, a tab and its digit on each line, are
read from ``$MNIST_FN_DRAWINGS``, or from ``drawings`` beside ``$MNIST_FN_DATA``. MNIST is
read from ``$MNIST_FN_DATA`` or the cache, or downloaded.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import print_machine, save, save_picture, subplots
from PIL import Image

import mnist_fn as mf
from mnist_fn import Dataset, recipes
from mnist_fn.effects.models import Model
from mnist_fn.effects.predicting import Answer, answers, line_of, shown


class Drawing(NamedTuple):
    """A drawing's digit, and what the network makes of it."""

    digit: int
    answer: Answer

    @property
    def name(self) -> str:
        """The file's name, without its folder."""
        return Path(self.answer.file).name

    @property
    def is_right(self) -> bool:
        """Tell whether it is taken for its digit; one that cannot be read is not."""
        return answered(self.answer) == self.digit


def answered(answer: Answer) -> int:
    """Return the most probable digit, or -1 for a picture that is no good."""
    return -1 if answer.probabilities is None else int(answer.probabilities.argmax())


def drawings_directory() -> Path:
    """Return where the drawings are, or stop and say what to set."""
    named = os.environ.get("MNIST_FN_DRAWINGS")
    mnist = os.environ.get("MNIST_FN_DATA")
    directory = Path(named) if named else Path(mnist or "mnist").parent / "drawings"
    if not (directory / "labels.tsv").is_file():
        sys.exit(
            f"the drawings are missing: there is no {directory / 'labels.tsv'}; "
            "set MNIST_FN_DRAWINGS to the directory that has it"
        )
    return directory


def labels_of(directory: Path) -> dict[str, int]:
    """Return the digit of each drawing, by the path of its file."""
    lines = (directory / "labels.tsv").read_text().splitlines()
    pairs = [line.split("\t") for line in lines if line]
    return {str(directory / name): int(digit) for name, digit in pairs}


def trained(path: Path, dataset: Dataset, quick: bool) -> None:
    """Train a network and write its model file."""
    recipe = recipes.quick._replace(epochs=1) if quick else recipes.elastic
    print(f"training {recipe.name}: {recipe.about}", flush=True)
    run = mf.prepare(recipe, mf.key(0), dataset.X_train, dataset.Y_train)
    *_, last = mf.train_epochs(*run)
    member = mf.Member(last.params, *recipe.views)
    mf.save_params(path, [member], g=recipe.g, trained_on="mnist")


def check_command(model: Path, directory: Path, drawings: Sequence[Drawing]) -> None:
    """Run the command itself over the folder, and stop if it answers anything else."""
    command = [sys.executable, "-m", "mnist_fn", "predict", str(model), str(directory), "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    digits = {record["file"]: record["digit"] for record in json.loads(printed)}
    if digits != {each.answer.file: answered(each.answer) for each in drawings}:
        sys.exit("mnist-fn predict --json answers something else than its own functions")


def print_drawings(drawings: Sequence[Drawing]) -> dict[str, Any]:
    """Print how many are right, and those that are not, and return the figures."""
    people: dict[str, list[Drawing]] = {}
    for drawing in drawings:
        people.setdefault(drawing.name.partition("-")[0], []).append(drawing)
    counts = {
        person: {"right": sum(each.is_right for each in of_person), "drawings": len(of_person)}
        for person, of_person in sorted(people.items())
    }
    right = sum(drawing.is_right for drawing in drawings)
    print(f"{right} of {len(drawings)} drawings are right")
    for person, count in counts.items():
        print(f"  {person}: {count['right']} of {count['drawings']}")
    misses = [drawing for drawing in drawings if not drawing.is_right]
    for miss in misses:
        print(f"\nnot the {miss.digit} that it is: {line_of(miss.answer)}")
        if miss.answer.image is not None:
            print(shown(miss.answer.image))
    print(flush=True)
    return {
        "right": right,
        "drawings": len(drawings),
        "people": counts,
        "misses": {
            miss.name: {"is": miss.digit, "taken for": answered(miss.answer)} for miss in misses
        },
    }


def through_files(model: Model, X: np.ndarray, Y: np.ndarray) -> dict[str, float]:
    """Print and return the accuracy on images as they are, and as PNG files."""
    as_arrays = mf.predict_committee(model.members, mf.scale(X), model.g)
    with tempfile.TemporaryDirectory() as directory:
        for i, image in enumerate(X.T.reshape(-1, 28, 28)):
            Image.fromarray(np.ascontiguousarray(image)).save(f"{directory}/{i:05}.png")
        as_files = [answered(answer) for answer in answers(model, [directory])]
    accuracy, through = 100 * float(np.mean(as_arrays == Y)), 100 * float(np.mean(as_files == Y))
    print(
        f"MNIST's {len(Y):,} test images: {accuracy:.2f} % as they are, {through:.2f} % as PNG "
        f"files through predict: a difference of {through - accuracy:+.2f} points"
    )
    return {
        "images": len(Y),
        "as they are, %": round(accuracy, 2),
        "through predict, %": round(through, 2),
        "difference, points": round(through - accuracy, 2),
    }


def draw(drawings: Sequence[Drawing], columns: int = 12) -> None:
    """Draw each drawing as the network sees it, in black, and the misses in red."""
    rows = -(-len(drawings) // columns)
    figure, grid = subplots(rows, columns, figsize=(columns * 0.66, rows * 0.82))
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.96, wspace=0.06, hspace=0.32)
    for axes, drawing in itertools.zip_longest(grid.flat, drawings):
        axes.set_xticks([])
        axes.set_yticks([])
        if drawing is None:
            axes.set_visible(False)
            continue
        if drawing.answer.image is not None:
            axes.imshow(drawing.answer.image, cmap="gray_r", vmin=0, vmax=1)
        name, colour, width = drawing.name.partition(".")[0], "#999999", 0.5
        if not drawing.is_right:
            name, colour, width = f"{name}: {answered(drawing.answer)}?", "#D55E00", 2.5
        axes.set_title(name, fontsize=7, pad=2.5, color=colour if width > 1 else "black")
        axes.spines[:].set(color=colour, linewidth=width)
    save_picture(__file__, figure)


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description="How drawings of people are recognised.")
    parser.add_argument("model", nargs="?", type=Path, help="a model file; else one is trained")
    parser.add_argument("--quick", action="store_true", help="a poorer network, and no files")
    arguments = parser.parse_args()
    directory = drawings_directory()
    print_machine()
    dataset = mf.load_mnist()
    with tempfile.TemporaryDirectory() as temporary:
        path = arguments.model or Path(temporary, "model.npz")
        if not arguments.model:
            trained(path, dataset, arguments.quick)
        model, labels = mf.load_model(path), labels_of(directory)
        drawings = [
            Drawing(labels[answer.file], answer) for answer in answers(model, [str(directory)])
        ]
        if len(drawings) != len(labels):
            sys.exit(f"{directory} has {len(drawings)} pictures, but labels.tsv {len(labels)}")
        check_command(path, directory, drawings)
    results = print_drawings(drawings)
    some = slice(500 if arguments.quick else None)
    results["mnist"] = through_files(model, dataset.X_test[:, some], dataset.Y_test[some])
    if not arguments.quick:
        save(__file__, results)
        draw(drawings)


if __name__ == "__main__":
    main()
