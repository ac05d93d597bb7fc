"""The mutants that there are: each is a room with one small change that cosmic-ray makes."""

import difflib
import random
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

PROJECT = Path(__file__).resolve().parents[1]
CONFIG = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["cosmic-ray"]
ROOMS = sorted(
    path.stem
    for path in PROJECT.glob(f"{CONFIG['module-path']}/*.py")
    if str(path.relative_to(PROJECT)) not in CONFIG["excluded-modules"]
)


def path_of(room: str) -> Path:
    """Return the file, from the project's directory on."""
    return Path(CONFIG["module-path"], f"{room}.py")


class Mutant(NamedTuple):
    """The change that an operator of cosmic-ray makes at one of the places that it knows."""

    room: str
    operator: str
    occurrence: int

    def path(self) -> Path:
        """Return the file that it changes."""
        return path_of(self.room)

    def kind(self) -> str:
        """Return the room and the kind of the change."""
        return f"{self.room} {self.operator.split('_')[0]}"


def is_signature(node: Any) -> bool:
    """Tell whether it is in an annotation, or says which arguments have no name, or need one.

    Such a change is an error when the room is imported, whatever the tests are.
    """
    while node.parent is not None:
        parent = node.parent
        if parent.type in ("tfpdef", "parameters") and node.type == "operator":
            return True
        if parent.type == "tfpdef" or node is getattr(parent, "annotation", None):
            return True
        if parent.type == "annassign" and node is parent.children[1]:
            return True
        node = parent
    return False


def mutants_of(room: str) -> Iterator[Mutant]:
    """Yield all the mutants of a room."""
    excluded = re.compile("|".join(CONFIG["filters"]["operators-filter"]["exclude-operators"]))
    nodes = list(ast_nodes(get_ast(path_of(room).read_text())))
    for operator in operator_names():
        if excluded.match(operator) or get_operator(operator).arguments():
            continue
        positions = get_operator(operator)().mutation_positions
        places = [node for node in nodes for _ in positions(node)]
        yield from (
            Mutant(room, operator, i) for i, node in enumerate(places) if not is_signature(node)
        )


def sample_of(mutants: list[Mutant], n: int, seed: int) -> list[Mutant]:
    """Return ``n`` of them, of each room and kind the same share."""
    strata: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        strata[mutant.kind()].append(mutant)
    places: dict[Mutant, float] = {}
    for kind, stratum in strata.items():
        of_kind = random.Random(f"{seed} {kind}")  # rooms do not depend on each other
        of_kind.shuffle(stratum)
        places |= {m: (i + of_kind.random()) / len(stratum) for i, m in enumerate(stratum)}
    return sorted(places, key=lambda mutant: places[mutant])[:n]


def source_of(mutant: Mutant) -> tuple[str, str]:
    """Return the room's source, and the mutant's."""
    source = mutant.path().read_text()
    mutated = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    if mutated is None:
        raise LookupError(f"{mutant}: there is no such place in the room")
    return source, mutated


def diff_of(mutant: Mutant) -> list[str]:
    """Return the lines that a mutant changes."""
    before, after = (text.splitlines() for text in source_of(mutant))
    return list(difflib.unified_diff(before, after, f"{mutant.room}.py", lineterm="", n=0))[2:]


def change_of(mutant: Mutant) -> str:
    """Return what the mutant has in place of the room's line, or that it has it not."""
    lines = diff_of(mutant)[1:]
    added = [line for line in lines if line.startswith("+")]
    text = " ".join(" ".join(line[1:] for line in added or lines).split())
    return text if added else f"no {text}"
