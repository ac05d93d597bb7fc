import functools
import inspect
import os
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    TypeVar,
    assert_type,
    runtime_checkable,
)

import numpy as np
import pytest
from beartype import beartype
from beartype.vale import Is
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float, Int, Shaped, TypeCheckError, config, jaxtyped

import mnist_fn as mf
from mnist_fn import SameFloat, checked, contracts


class Pair(NamedTuple):
    left: Float[np.ndarray, "n k"]
    right: Float[np.ndarray, " n"]


class Nest(NamedTuple):
    name: str
    pair: Pair


T = TypeVar("T")


class Box(NamedTuple, Generic[T]):
    content: T
    sizes: Int[np.ndarray, " n"]


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape)


GOOD = Pair(ones(2, 3), ones(2))
BAD = Pair(ones(2, 3), ones(5))


@pytest.fixture
def full_checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that were checked in full, call by call."""
    names: list[str] = []
    check = contracts._check

    def counted(function: Callable[..., Any], *args: Any) -> bool:
        names.append(function.__name__)
        return check(function, *args)

    monkeypatch.setattr(contracts, "_check", counted)
    return names


def test_plain_jaxtyped_with_beartype_misses_what_checked_sees() -> None:
    params = mf.init_params(mf.key(0), pixels=4, hidden=3, classes=2)
    X = np.zeros((4, 1), np.float32)
    narrow = params._replace(W1=np.zeros((3, 3), np.float32))
    disagreeing = params._replace(b1=np.zeros((7, 1), np.float32))

    def first_row(params: mf.Params, X: mf.Images) -> object:
        return X[0]

    for wrong in (narrow, disagreeing):
        jaxtyped(first_row, typechecker=beartype)(wrong, X)
        with pytest.raises(TypeCheckError):
            checked(first_row)(wrong, X)


def test_the_message_names_all_there_is_to_know() -> None:
    params = mf.init_params(mf.key(0), pixels=4, hidden=3, classes=2)
    wrong = params._replace(b1=np.zeros((7, 1), np.float32))
    with pytest.raises(TypeCheckError) as caught:
        mf.forward(wrong, np.zeros((4, 1), np.float32))
    assert str(caught.value) == (
        "forward: argument `params.b1` does not fit.\n"
        "  got:       float32 array of shape (7, 1)\n"
        "  expected:  SameFloat[ndarray, 'hidden 1'], float32 or float64\n"
        "  sizes:     hidden = 3 (from params.W1), pixels = 4 (from params.W1)\n"
        "  precision: float32 (from params.W1)"
    )


@pytest.mark.parametrize(
    ("X", "advice"),
    [
        (np.zeros((5, 4), np.float32), "its transpose fits: `X.T`"),
        (np.zeros(4, np.float32), "it fits as one column: `X[:, np.newaxis]`"),
        (np.zeros((4, 5)), "convert it: `X.astype(np.float32)`"),
        (np.zeros((4, 5), np.uint8), "become floats with `mnist_fn.scale(X)`"),
    ],
)
def test_the_message_says_what_to_do(X: np.ndarray, advice: str) -> None:
    params = mf.init_params(mf.key(0), pixels=4, hidden=3, classes=2)
    with pytest.raises(TypeCheckError, match="advice: ") as caught:
        mf.forward(params, X)
    assert advice in str(caught.value)


@checked
def take(*values: Any, **named: Any) -> None:
    pass


@checked
def nested(nest: Nest) -> None:
    pass


@checked
def several(pairs: tuple[Pair, ...], more: list[Pair], named: dict[str, Pair]) -> None:
    pass


@checked
def optional(pair: Pair | None = None) -> None:
    pass


@checked
def mixed(x: tuple[int, tuple[int, Pair]] | list[Pair] | None) -> None:
    pass


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda: nested(Nest("x", BAD)), "nest.pair.right"),
        (lambda: several((GOOD, BAD), [], {}), "pairs[1].right"),
        (lambda: several((), [GOOD, BAD], {}), "more[1].right"),
        (lambda: several((), [], {"a": GOOD, "b": BAD}), "named['b'].right"),
        (lambda: optional(BAD), "pair.right"),
        (lambda: optional(pair=BAD), "pair.right"),
        (lambda: take(GOOD, BAD), "values[1].right"),
        (lambda: take(pair=BAD), "pair.right"),
        (lambda: mixed((1, (2, BAD))), "x[1][1].right"),
        (lambda: mixed([GOOD, BAD]), "x[1].right"),
    ],
)
def test_the_fields_of_namedtuples_are_checked_wherever_they_stand(
    call: Callable[[], None], path: str
) -> None:
    with pytest.raises(TypeCheckError) as caught:
        call()
    assert f"argument `{path}` does not fit" in str(caught.value)
    assert "sizes:     n = 2" in str(caught.value)


def test_good_values_pass_wherever_they_stand() -> None:
    nested(Nest("x", GOOD))
    several((GOOD, GOOD), [GOOD], {"a": GOOD})
    optional()
    optional(GOOD)
    take(GOOD, 1, None, x=GOOD)
    mixed((1, (2, GOOD)))


def test_the_items_of_an_iterable_each_have_their_own_sizes() -> None:
    @checked
    def consume(pairs: Iterable[Pair]) -> int:
        return len(list(pairs))

    assert consume([GOOD, Pair(ones(3, 1), ones(3))]) == 2
    assert consume((GOOD, Pair(ones(3, 1), ones(3)))) == 2


def test_one_name_is_one_size_across_arguments_and_result() -> None:
    @checked
    def wrong_result(pair: Pair) -> Pair:
        return Pair(pair.left.T, ones(len(pair.left.T)))

    assert wrong_result(Pair(ones(2, 2), ones(2))).right.shape == (2,)
    with pytest.raises(TypeCheckError, match=r"the returned `result.left` does not fit"):
        wrong_result(GOOD)


def test_an_argument_that_is_changed_during_the_call_is_named_as_one() -> None:
    @checked
    def add_a_shorter_one(vectors: list[Float[np.ndarray, " n"]]) -> int:
        vectors.append(ones(2))
        return len(vectors)

    with pytest.raises(TypeCheckError, match=r"argument `vectors\[1\]` does not fit"):
        add_a_shorter_one([ones(3)])


def test_a_result_that_must_have_certain_values_is_checked_at_every_call() -> None:
    @checked
    def negative(n: int) -> Annotated[int, Is[lambda result: result > 0]]:
        return -n

    assert negative(-1) == 1
    with pytest.raises(TypeCheckError, match="the returned `result` does not fit"):
        negative(1)


def test_generic_namedtuples_are_checked() -> None:
    @checked
    def unpack(box: Box[int]) -> tuple[Box[int], int]:
        return box, box.content

    unpack(Box(1, np.ones(3, int)))
    with pytest.raises(TypeCheckError, match=r"`box.sizes`"):
        unpack(Box(1, ones(3)))
    with pytest.raises(TypeCheckError, match=r"got: .* of type Pair"):
        unpack(GOOD)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


def test_what_a_generic_namedtuple_is_filled_with_is_checked() -> None:
    @checked
    def total(box: Box[Float[np.ndarray, " n"]]) -> float:
        return float(box.content.sum())

    total(Box(ones(3), np.ones(3, int)))
    for wrong in (Box("x", np.ones(3, int)), Box(ones(2), np.ones(3, int))):
        with pytest.raises(TypeCheckError, match=r"argument `box\.(content|sizes)`"):
            total(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


A1D = Float[np.ndarray, " n"]


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (tuple[int, int] | tuple[str, str], ("a", "b"), ("a", 1)),
        (list[int] | list[str], ["a"], ["a", 1]),
        (dict[str, int] | dict[str, str], {"a": "b"}, {"a": "b", "c": 1}),
        (tuple[int, int], (1, 2), (1,)),
        (tuple[int, ...], (1, 2, 3), (1, 2, "3")),
        (tuple[()], (), (1,)),
        (tuple[A1D, A1D] | None, (ones(2), ones(2)), (ones(2), ones(3))),
        (list[A1D], [ones(2), ones(2)], [ones(2), ones(3)]),
        (tuple[int, tuple[str, Pair]] | int, (1, ("a", GOOD)), (1, ("a", BAD))),
        (tuple, (1, "a"), [1]),
        (tuple[int, *tuple[str, ...]], (1, "a", "b"), [1, "a"]),
        (int | list[Pair], [GOOD], [GOOD, BAD]),
    ],
    ids=str,
)
def test_containers_are_checked_item_by_item(hint: Any, good: object, bad: object) -> None:
    def f(x: Any) -> None: ...

    f.__annotations__["x"] = hint
    f = checked(f)
    for _ in range(2):
        f(good)
        with pytest.raises(TypeCheckError):
            f(bad)


def test_where_no_alternative_fits_the_first_is_expected() -> None:
    @checked
    def consume(vectors: tuple[Float[np.ndarray, " n"]] | tuple[Float[np.ndarray, "n k"]]) -> None:
        pass

    with pytest.raises(TypeCheckError, match=r"`vectors\[0\]` .*\n.*\n.*Float\[ndarray, 'n'\]"):
        consume((np.ones((1, 2, 3)),))


def test_an_alternative_that_fails_leaves_no_sizes_behind() -> None:
    @checked
    def f(x: tuple[A1D, A1D] | tuple[Float[np.ndarray, " k"], Any], y: A1D) -> None: ...

    f((ones(2), ones(3)), ones(5))
    f((ones(2), ones(2)), ones(2))
    three: Any = (ones(2), ones(2), ones(2))
    with pytest.raises(TypeCheckError):
        f(three, ones(2))


def test_one_precision_in_a_call() -> None:
    @checked
    def add(
        a: SameFloat[np.ndarray, " n"], b: SameFloat[np.ndarray, " n"] | None
    ) -> SameFloat[np.ndarray, " n"]:
        return a if b is None else a.astype(np.float64) + b

    single, double = np.ones(2, np.float32), np.ones(2)
    add(single, None)
    add(double, double)
    with pytest.raises(TypeCheckError, match=r"precision: float32 \(from a\)"):
        add(single, double)
    with pytest.raises(TypeCheckError, match="the returned `result`"):
        add(single, single)
    with pytest.raises(TypeCheckError, match=r"got: .*int64"):
        add(np.ones(2, int), None)


def test_floats_are_as_for_static_type_checkers() -> None:
    @checked
    def half(x: float) -> float:
        return x / 2

    assert half(1) == half(1.0) == half(np.float64(1)) == 0.5
    with pytest.raises(TypeCheckError, match=r"convert it: `float\(x\)`"):
        half(np.float32(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose
    for wrong in ("1", np.float32(1), np.ones(1)):
        with pytest.raises(TypeCheckError, match="expected:  float"):
            half(wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


def test_the_signature_and_the_static_type_are_kept() -> None:
    def plain(x: int, *, y: str = "a") -> float:
        """Say what it does."""
        return x + len(y)

    wrapped = checked(plain)
    assert inspect.unwrap(wrapped) is plain
    assert inspect.signature(wrapped) == inspect.signature(plain)
    assert wrapped.__doc__ == plain.__doc__
    assert_type(wrapped(1, y="b"), float)


def test_a_wrong_number_of_arguments_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'nest'"):
        nested()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]  # on purpose


def test_defaults_are_checked() -> None:
    @checked
    def wrong(x: int = "one") -> None:  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]  # on purpose
        pass

    with pytest.raises(TypeCheckError, match="argument `x`"):
        wrong()


def test_a_verdict_is_remembered_by_types_dtypes_and_shapes(full_checks: list[str]) -> None:
    @checked
    def f(pair: Pair, scale: float = 1.0) -> Pair:
        return pair

    f(GOOD)
    first = len(full_checks)
    f(GOOD)
    f(Pair(ones(2, 3) * 7, ones(2)))
    assert len(full_checks) == first
    f(Pair(ones(4, 3), ones(4)))
    f(Pair(ones(2, 3).astype(np.float32), ones(2)))
    f(GOOD, 2.0)
    f(pair=GOOD)
    assert len(full_checks) == 5 * first


def test_a_free_type_variable_does_not_stand_in_the_way_of_memory(full_checks: list[str]) -> None:
    @checked
    def first(box: Box[T], other: T) -> T:
        return box.content

    first(Box("a", np.ones(3, int)), "b")
    seen = len(full_checks)
    first(Box("c", np.zeros(3, int)), "d")
    assert len(full_checks) == seen
    with pytest.raises(TypeCheckError, match=r"`box.sizes`"):
        first(Box("c", ones(3)), "d")


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.booleans()), min_size=1, max_size=30))
def test_a_remembered_verdict_is_that_of_a_fresh_check(
    calls: list[tuple[int, int, int, bool]],
) -> None:
    def f(pair: Pair, flat: bool) -> Float[np.ndarray, " n"]:
        return pair.right if flat else pair.left[:, 0]

    def verdict(function: Callable[..., Any], pair: Pair, flat: bool) -> str:
        try:
            function(pair, flat)
        except (TypeCheckError, IndexError) as error:
            return str(error)
        return "fits"

    remembering = checked(f)
    for n, k, m, flat in calls:
        pair = Pair(ones(n, k), ones(m))
        assert verdict(remembering, pair, flat) == verdict(checked(f), pair, flat)


def test_what_depends_on_values_is_checked_each_time() -> None:
    @runtime_checkable
    class Named(Protocol):
        name: str

    named, nameless = Thing(), Thing()
    named.name = "x"  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # on purpose

    @checked
    def literal(x: Literal["a"]) -> None: ...

    @checked
    def members(x: list[int]) -> None: ...

    @checked
    def protocol(x: Named) -> None: ...

    @checked
    def sized(n: int, x: Float[np.ndarray, "{n}"]) -> None: ...

    @checked
    def items(x: tuple[Literal[1], ...] | None) -> None: ...

    calls: list[tuple[Callable[..., None], tuple[Any, ...], tuple[Any, ...]]] = [
        (literal, ("a",), ("b",)),
        (members, ([1, 2, 3],), ([1, "2", 3],)),
        (protocol, (named,), (nameless,)),
        (sized, (2, ones(2)), (3, ones(2))),
        (items, ((1, 1),), ((1, 2),)),
    ]
    for function, good, bad in calls:
        function(*good)
        with pytest.raises(TypeCheckError):
            function(*bad)
        function(*good)


class Thing:
    pass


class Other:
    pass


class Subclass(np.ndarray):
    pass


class Duck:
    """An array for jaxtyping, but not for NumPy."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self.dtype = np.dtype(float)


B = TypeVar("B", bound=list[int])


def test_what_may_change_with_the_value_is_not_remembered() -> None:
    @checked
    def thing(x: Thing) -> None: ...

    @checked
    def duck(x: Float[Any, "2"]) -> None: ...

    @checked
    def bounded(x: B) -> B:
        return x

    @checked
    def subclass(x: Float[Subclass, " n"]) -> None: ...

    a, b = Thing(), Other()
    calls: list[tuple[Callable[..., object], Any, Any]] = [
        (thing, weakref.proxy(a), weakref.proxy(b)),  # which say that they are what they stand for
        (duck, Duck(2), Duck(3)),
        (bounded, [1], ["1"]),
        (subclass, ones(2).view(Subclass), ones(2)),
    ]
    for function, good, bad in calls:
        function(good)
        with pytest.raises(TypeCheckError):
            function(bad)


def test_the_sizes_of_many_axes_are_told_apart() -> None:
    @checked
    def f(x: Float[np.ndarray, "first *middle last"], y: Float[np.ndarray, " last"]) -> None: ...

    f(ones(2, 9, 9, 5), ones(5))
    with pytest.raises(TypeCheckError, match=r"first = 2 \(from x\), last = 5 \(from x\)"):
        f(ones(2, 9, 9, 5), ones(9))


def test_a_wrapper_around_a_contract_is_not_taken_off_with_it() -> None:
    @checked
    def half(x: float) -> float:
        return x / 2

    @functools.wraps(half)
    def louder(x: float) -> float:
        return 10 * half(x)

    assert contracts.unchecked(louder)(1.0) == 5.0
    assert contracts.unchecked(half)(1.0) == 0.5


def test_arguments_that_do_not_bind_are_never_let_through() -> None:
    def plain(x: int) -> int:
        return x

    @functools.wraps(plain)
    def takes_more(*args: object, **kwargs: object) -> object:
        return "no"

    with pytest.raises(TypeError, match="unexpected keyword argument 'seed'"):
        checked(takes_more)("x", seed=1)


def test_what_is_not_a_plain_function_is_refused_at_once() -> None:
    async def later(x: int) -> int:
        return x

    def plain(cls: type) -> type:
        return cls

    wrong: list[Any] = [later, functools.partial(print), classmethod(plain), 3]
    for function in wrong:
        with pytest.raises(TypeError, match="is not a plain function; put @checked directly above"):
            checked(function)


def test_a_value_without_a_good_repr_is_still_reported() -> None:
    class Nameless:
        def __repr__(self) -> str:
            raise RuntimeError

    @checked
    def f(x: dict[Any, int], y: int = 0) -> None: ...

    f({Nameless(): 1})
    with pytest.raises(TypeCheckError, match="Nameless instance at"):
        f({}, Nameless())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose
    with pytest.raises(TypeCheckError, match="of type int"):
        f(10**5000)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


def test_a_list_that_changes_is_checked_again() -> None:
    @checked
    def f(x: list[Pair]) -> None: ...

    pairs = [GOOD]
    f(pairs)
    pairs.append(BAD)
    with pytest.raises(TypeCheckError, match=r"`x\[1\].right`"):
        f(pairs)


def test_classes_as_arguments_are_told_apart() -> None:
    @checked
    def f(dtype: type[np.float32] | type[np.float64]) -> None: ...

    f(np.float32)
    f(np.float64)
    with pytest.raises(TypeCheckError):
        f(np.int32)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


def test_it_does_not_grow_without_bound() -> None:
    @checked
    def f(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        return x[: sizes.pop()]

    remembered = inspect.getclosurevars(f).nonlocals["remembered"]
    for n in range(3 * contracts._MOST_REMEMBERED):
        sizes = [n]
        f(ones(n))
        assert len(remembered) <= contracts._MOST_REMEMBERED
    for n in range(3 * contracts._MOST_RESULTS):
        sizes = [n]
        f(ones(3000))
        assert len(remembered[((3000,), np.dtype(float))]) <= contracts._MOST_RESULTS


def test_it_is_safe_under_threads() -> None:
    @checked
    def f(pair: Pair) -> Pair:
        return pair

    def verdict(i: int) -> bool:
        n, m = i % 7, i // 7 % 7
        try:
            f(Pair(ones(n, 3), ones(m)))
        except TypeCheckError:
            return n != m
        return n == m

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(verdict, range(3000)))


def test_a_generator_is_not_consumed_by_the_check() -> None:
    @checked
    def count(n: int) -> Iterator[int]:
        return iter(range(n))

    assert list(count(3)) == [0, 1, 2]
    with pytest.raises(TypeCheckError, match="argument `n`"):
        count("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


def test_an_annotation_that_cannot_be_resolved_says_so() -> None:
    @checked
    def f(x: "Nowhere") -> None: ...  # type: ignore[name-defined]  # pyright: ignore[reportUndefinedVariable]  # on purpose

    with pytest.raises(NameError, match=r"cannot resolve the annotations of .*'Nowhere'"):
        f(1)


def test_the_environment_turns_it_off() -> None:
    program = (
        "import numpy as np, mnist_fn as mf\n"
        "p = mf.init_params(mf.key(0), pixels=4, hidden=3, classes=2)\n"
        "print(mf.forward(p, np.ones((4, 2))).A2.dtype)"
    )
    run = [sys.executable, "-c", program]
    off = subprocess.run(
        run, env=os.environ | {"JAXTYPING_DISABLE": "1"}, capture_output=True, text=True
    )
    on = subprocess.run(
        run, env=os.environ | {"JAXTYPING_DISABLE": "0"}, capture_output=True, text=True
    )
    assert off.stdout == "float64\n"
    assert "forward: argument `X` does not fit" in on.stderr


def test_the_configuration_of_jaxtyping_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    nested(Nest("x", BAD))
    monkeypatch.setattr(config, "jaxtyping_disable", False)
    with pytest.raises(TypeCheckError):
        nested(Nest("x", BAD))


def test_many_signatures_are_remembered_at_a_time(full_checks: list[str]) -> None:
    @checked
    def total(A: Float[np.ndarray, " n"]) -> float:
        return float(A.sum())

    for _ in range(3):
        for n in range(20):
            total(ones(n))
    assert len(full_checks) == 2 * 20  # of the arguments, and with the result


def test_an_argument_that_a_function_spoils_is_no_result() -> None:
    @checked
    def spoil(numbers: list[int]) -> int:
        numbers[0] = "0"  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]  # on purpose
        return 0

    with pytest.raises(TypeCheckError, match=r"^spoil: argument `numbers\[0\]` does not fit"):
        spoil([1])


def test_what_one_column_or_a_transpose_would_mend_is_told_only_if_it_would() -> None:
    @checked
    def column(b: Float[np.ndarray, "n 1"]) -> None: ...

    with pytest.raises(TypeCheckError, match=r"it fits as one column: `b\[:, np.newaxis\]`"):
        column(ones(3))

    @checked
    def pair(b: Float[np.ndarray, "n 2"]) -> None: ...

    with pytest.raises(TypeCheckError) as caught:
        pair(ones(3))
    assert "advice" not in str(caught.value)


def test_the_axes_after_any_number_of_others_are_named_from_the_last() -> None:
    @checked
    def f(A: Float[np.ndarray, "n *rest k m"], B: Float[np.ndarray, " m"]) -> None: ...

    with pytest.raises(
        TypeCheckError, match=r"n = 2 \(from A\), m = 6 \(from A\), k = 5 \(from A\)"
    ):
        f(ones(2, 3, 4, 5, 6), ones(7))


def test_a_condition_on_the_value_is_a_part_of_the_contract() -> None:
    @checked
    def root(x: Annotated[int, Is[lambda x: x >= 0]]) -> float:
        return float(x**0.5)

    assert root(4) == 2
    with pytest.raises(TypeCheckError, match=r"^root: argument `x` does not fit"):
        root(-4)


def test_an_annotation_that_cannot_be_hashed_holds_all_the_same() -> None:
    @checked
    def double(length: Annotated[int, ["in metres"]]) -> int:
        return 2 * length

    assert double(3) == 6
    with pytest.raises(TypeCheckError, match=r"^double: argument `length` does not fit"):
        double("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


def test_sizes_come_from_arrays_that_are_there() -> None:
    @checked
    def f(A: Float[np.ndarray, "n k"] | None, B: Float[np.ndarray, " n"], C: int) -> None: ...

    with pytest.raises(TypeCheckError, match=r"sizes: +n = 2 \(from B\)$"):
        f(None, ones(2), "3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # on purpose


def test_an_alternative_is_tried_with_the_sizes_of_the_arrays_before() -> None:
    @checked
    def f(A: A1D, either: tuple[A1D, int] | tuple[Float[np.ndarray, "n n"], int]) -> None: ...

    f(ones(2), (ones(2), 0))
    f(ones(2), (ones(2, 2), 0))
    with pytest.raises(TypeCheckError, match=r"argument `either\[0\]` does not fit"):
        f(ones(2), (ones(3, 3), 0))


def test_a_verdict_on_what_may_be_none_is_remembered(full_checks: list[str]) -> None:
    @checked
    def f(A: A1D | None) -> None: ...

    for _ in range(3):
        f(None)
        f(ones(2))
    assert len(full_checks) == 2 * 2  # of the argument, and with the result


def test_advice_is_given_only_where_it_helps() -> None:
    @checked
    def f(A: Float[np.ndarray, "n k 1"]) -> None: ...

    with pytest.raises(TypeCheckError) as caught:
        f(ones(2, 3))
    assert "advice" not in str(caught.value)

    @checked
    def g(A: SameFloat[np.ndarray, " n"], B: SameFloat[np.ndarray, " n"]) -> None: ...

    for A in (np.array(1.0), np.ones(2, np.bool_)):
        with pytest.raises(TypeCheckError) as caught:
            g(A, ones(2))
        assert "advice" not in str(caught.value)

    with pytest.raises(TypeCheckError, match=r"convert it: `B.astype\(np.float64\)`"):
        g(ones(2), ones(2).astype(np.float32))


def test_the_message_names_sizes_that_have_names_and_no_others() -> None:
    @checked
    def f(A: Float[np.ndarray, "n 3 _ _k"], B: Float[np.ndarray, " n"]) -> None: ...

    with pytest.raises(TypeCheckError, match=r"\n  sizes:     n = 2 \(from A\)$"):
        f(ones(2, 3, 4, 5), ones(7))


def test_the_precision_is_told_where_it_is_asked_for_and_nowhere_else() -> None:
    params = mf.init_params(mf.key(0), pixels=4, hidden=3, classes=2)
    labels: Any = np.zeros(1)
    with pytest.raises(TypeCheckError) as caught:
        mf.loss(params, np.zeros((4, 1), np.float32), labels)
    assert "argument `Y` does not fit" in str(caught.value)
    assert "precision" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.complex64])
def test_only_floats_must_have_the_precision_of_the_others(dtype: type) -> None:
    @checked
    def f(
        A: SameFloat[np.ndarray, " n"] | Shaped[np.ndarray, " n"], B: SameFloat[np.ndarray, " n"]
    ) -> None: ...

    f(np.ones(2, dtype), ones(2))
    f(np.ones(2, dtype), np.ones(2, np.float32))
    with pytest.raises(TypeCheckError, match=r"precision: float32 \(from A\)"):
        f(np.ones(2, np.float32), ones(2))


def test_half_precision_is_to_be_made_single_if_nothing_else_is_known() -> None:
    @checked
    def f(A: SameFloat[np.ndarray, " n"]) -> None: ...

    with pytest.raises(TypeCheckError, match=r"convert it: `A.astype\(np.float32\)`"):
        f(np.ones(2, np.float16))
    for dtype in (np.int64, np.complex64):
        with pytest.raises(TypeCheckError) as caught:
            f(np.ones(2, dtype))
        assert "advice" not in str(caught.value)
