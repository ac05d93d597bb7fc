"""Laws that hold of what several rooms make together."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from calls import CALLS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mnist_fn as mf
from mnist_fn import Batch, Member, ModelError, Params, relu, sigmoid, tanh
from mnist_fn.views import VIEWS

ACTIVATIONS = (relu, tanh, sigmoid)
in_one_directory = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32)

OPTIMIZERS: dict[str, mf.Optimizer[Any]] = {
    "sgd": mf.sgd(0.1),
    "nesterov": mf.momentum(mf.cosine(0.1, 9), 0.8, nesterov=True),
    "rmsprop": mf.rmsprop(0.01),
    "adam with weight decay": mf.adam(0.01, weight_decay=0.1),
    "decayed, averaged adam": mf.average_params(mf.decay_weights(mf.adam(0.01), 0.1), 0.5),
}
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


class Task(NamedTuple):
    """A network in float64, and batches to train it on."""

    params: Params
    batches: list[Batch]
    g: mf.ActivationFunction


@st.composite
def tasks(draw: st.DrawFn, least: int = 1) -> Task:
    pixels, hidden, classes = (draw(st.integers(least, 20)) for _ in range(3))
    random = np.random.default_rng(draw(seeds))
    shapes = (hidden, pixels), (hidden, 1), (classes, hidden), (classes, 1)
    params = Params(*(random.normal(size=shape) for shape in shapes))
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    batches = [Batch(random.random((pixels, m)), random.integers(0, classes, m)) for m in sizes]
    return Task(params, batches, draw(st.sampled_from(ACTIVATIONS)))


def trained(name: str, task: Task) -> Params:
    optimizer = OPTIMIZERS[name]
    step = mf.make_step(optimizer, task.g, label_smoothing=0.1)
    return mf.train(step, mf.init_state(optimizer, task.params), task.batches).params


def bits(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return tuple(map(bits, value)) if isinstance(value, tuple | list) else value


def assert_close(got: Params, expected: Params) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


class Symmetry(NamedTuple):
    """What can be done to networks and batches without changing what a network makes of one."""

    of_params: Callable[[Params], Params]
    of_batch: Callable[[Batch], Batch]
    of_labels: Callable[[np.ndarray], np.ndarray]


def same(value: Any) -> Any:
    return value


def other_samples(task: Task, random: np.random.Generator) -> Symmetry:
    def permuted(Y: np.ndarray) -> np.ndarray:
        return Y[np.random.default_rng(len(Y)).permutation(len(Y))]

    return Symmetry(same, lambda batch: Batch(permuted(batch.X.T).T, permuted(batch.Y)), permuted)


def each_sample_twice(task: Task, random: np.random.Generator) -> Symmetry:
    def twice(Y: np.ndarray) -> np.ndarray:
        return np.concatenate([Y, Y])

    return Symmetry(same, lambda batch: Batch(twice(batch.X.T).T, twice(batch.Y)), twice)


def other_classes(task: Task, random: np.random.Generator) -> Symmetry:
    order = random.permutation(len(task.params.W2))
    new_label = np.argsort(order)

    def of_params(params: Params) -> Params:
        return params._replace(W2=params.W2[order], b2=params.b2[order])

    return Symmetry(
        of_params, lambda batch: batch._replace(Y=new_label[batch.Y]), lambda Y: new_label[Y]
    )


def other_hidden_units(task: Task, random: np.random.Generator) -> Symmetry:
    order = random.permutation(len(task.params.W1))

    def of_params(params: Params) -> Params:
        return Params(params.W1[order], params.b1[order], params.W2[:, order], params.b2)

    return Symmetry(of_params, same, same)


def other_pixels(task: Task, random: np.random.Generator) -> Symmetry:
    order = random.permutation(task.params.W1.shape[1])
    return Symmetry(
        lambda params: params._replace(W1=params.W1[:, order]),
        lambda batch: batch._replace(X=batch.X[order]),
        same,
    )


def higher_logits(task: Task, random: np.random.Generator) -> Symmetry:
    shift = random.uniform(-8, 8)
    return Symmetry(lambda params: params._replace(b2=params.b2 + shift), same, same)


SYMMETRIES = [other_samples, each_sample_twice, other_classes, other_hidden_units, other_pixels]
SYMMETRIES += [higher_logits]
every_symmetry = pytest.mark.parametrize("symmetry", SYMMETRIES, ids=lambda s: s.__name__)


@every_symmetry
@given(task=tasks(), seed=seeds)
def test_loss_and_predictions_do_not_see_a_symmetry(
    symmetry: Callable[..., Symmetry], task: Task, seed: int
) -> None:
    of_params, of_batch, of_labels = symmetry(task, np.random.default_rng(seed))
    for batch in task.batches:
        (X, Y), params = of_batch(batch), of_params(task.params)
        assert mf.loss(params, X, Y, task.g) == pytest.approx(
            mf.loss(task.params, *batch, task.g), rel=1e-12, abs=1e-12
        )
        expected = of_labels(mf.predict(task.params, batch.X, task.g))
        np.testing.assert_array_equal(mf.predict(params, X, task.g), expected)


@every_symmetry
@every_optimizer
@settings(max_examples=20)
@given(task=tasks(), seed=seeds)
def test_training_commutes_with_a_symmetry(
    symmetry: Callable[..., Symmetry], name: str, task: Task, seed: int
) -> None:
    of_params, of_batch, _ = symmetry(task, np.random.default_rng(seed))
    other = task._replace(params=of_params(task.params), batches=[*map(of_batch, task.batches)])
    assert_close(trained(name, other), of_params(trained(name, task)))


@every_optimizer
@settings(max_examples=30)
@given(task=tasks(least=3))
def test_hidden_units_that_start_equal_stay_equal(name: str, task: Task) -> None:
    W1, b1, W2, b2 = (p.copy() for p in task.params)
    W1[-1], b1[-1], W2[:, -1] = W1[0], b1[0], W2[:, 0]
    W1, b1, W2, _ = trained(name, task._replace(params=Params(W1, b1, W2, b2)))
    # To rounding: BLAS may add up the last rows of a product in another order.
    for first, last in ((W1[0], W1[-1]), (b1[0], b1[-1]), (W2[:, 0], W2[:, -1])):
        np.testing.assert_allclose(first, last, rtol=1e-7, atol=1e-8)


@every_optimizer
@settings(max_examples=30)
@given(task=tasks(least=2), seed=seeds)
def test_what_no_image_reaches_has_no_gradient_and_is_not_moved(
    name: str, task: Task, seed: int
) -> None:
    """Neither a pixel that is always 0, nor a hidden unit that is never on."""
    random = np.random.default_rng(seed)
    hidden, pixels = (random.integers(0, 2, n, bool) for n in task.params.W1.shape)
    batches = [Batch(np.where(pixels[:, np.newaxis], 0, X), Y) for X, Y in task.batches]
    b1 = np.where(hidden[:, np.newaxis], -1e3, task.params.b1)
    dead = Task(task.params._replace(b1=b1), batches, relu)
    for X, Y in batches:
        gradients = mf.backward(dead.params, mf.forward(dead.params, X), X, Y)
        assert not gradients.dW1[:, pixels].any()
        assert not gradients.dW1[hidden].any()
        assert not gradients.dW2[:, hidden].any()
    if "decay" not in name:
        after = trained(name, dead)
        assert bits(after.W1[:, pixels]) == bits(dead.params.W1[:, pixels])
        assert bits(after.W1[hidden]) == bits(dead.params.W1[hidden])
        assert bits(after.W2[:, hidden]) == bits(dead.params.W2[:, hidden])


@given(seed=seeds, m=st.integers(1, 9))
def test_what_is_predicted_of_distorted_images_hangs_on_key_and_images_only(
    seed: int, m: int
) -> None:
    X = np.random.default_rng(seed).random((36, m))
    params = mf.init_params(mf.key(seed), pixels=36, hidden=5, dtype=np.float64)

    def answer(images: np.ndarray) -> Any:
        distorted = mf.distort(mf.key(seed), images)
        return bits([mf.forward(params, distorted).A2, mf.predict(params, distorted)])

    assert answer(X) == answer(X) == answer(X.copy(order="F"))


@given(task=tasks(), n=st.integers(1, 9))
def test_a_committee_of_copies_is_the_network(task: Task, n: int) -> None:
    params, batches, g = task
    members = [Member(params)] * n
    for X, _ in batches:
        activations = mf.forward(params, X, g)
        np.testing.assert_allclose(
            mf.committee_probabilities(members, X, g), activations.A2, rtol=1e-14
        )
        np.testing.assert_array_equal(mf.predict_committee(members, X, g), mf.predict(params, X, g))
        joined = mf.join([params] * n)
        np.testing.assert_allclose(mf.forward(joined, X, g).Z2, activations.Z2, atol=1e-12)
    alone, together = mf.evaluate(params, batches, g), mf.evaluate(members, batches, g)
    assert together.loss == pytest.approx(alone.loss, rel=1e-12)
    np.testing.assert_array_equal(together.confusion, alone.confusion)


@st.composite
def saved(draw: st.DrawFn) -> list[Member]:
    """Members with any numbers at all, of images of sixteen pixels."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    odd = draw(st.booleans())
    numbers = hnp.from_dtype(np.dtype(dtype), allow_nan=odd, allow_infinity=odd)
    members = []
    for hidden in draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)):
        view = draw(st.sampled_from([*VIEWS.values()]))
        shapes = (hidden, 16 * view.images), (hidden, 1), (2, hidden), (2, 1)
        params = Params(*(draw(hnp.arrays(dtype, shape, elements=numbers)) for shape in shapes))
        members.append(Member(params, view))
    return members


@in_one_directory
@given(members=saved())
def test_what_is_saved_is_loaded_to_the_bit_and_what_is_not_finite_is_not_saved(
    tmp_path: Path, members: list[Member]
) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(b"what was there before")
    if all(np.isfinite(p).all() for params, _ in members for p in params):
        mf.save_params(path, members)
        assert bits(mf.load_model(path).members) == bits(tuple(members))
    else:
        with pytest.raises(ModelError, match=r"holds numbers that are not finite$"):
            mf.save_params(path, members)
        assert path.read_bytes() == b"what was there before"
        assert [*tmp_path.iterdir()] == [path]


def with_one_as(number: float, value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the value once for each array of floats in it, with a number in place of its last."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        array = value.copy()
        array[(-1,) * array.ndim] = number
        yield path, array
    elif isinstance(value, tuple | list):
        names = getattr(value, "_fields", range(len(value)))
        for i, (name, item) in enumerate(zip(names, value, strict=True)):
            for inside, other in with_one_as(number, item, f"{path}.{name}"):
                items = [*value[:i], other, *value[i + 1 :]]
                yield (
                    inside,
                    type(value)(*items) if hasattr(value, "_fields") else type(value)(items),
                )


def all_finite(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(all_finite, value))
    return not isinstance(value, float | np.ndarray) or bool(np.isfinite(value).all())


# What a call takes no numbers from. A first average is the new parameters; the slope of relu is 0
# or 1, and what `backward` needs of the rest is in the other activations; infinitely far is
# outside of an image.
UNUSED = (
    r"(sgd|momentum|rmsprop|adam|decay_weights)\.init-.*|average_params\.update-state\.average.*"
)
UNUSED += r"|backward-(params\.(W1|b1|b2)|activations\.(Z1|Z2))|resample-positions=inf"
NOT_FINITE = [
    pytest.param(name, arguments | {argument: other}, id=f"{name}-{path}={number}")
    for number in (np.nan, np.inf)
    for name, (_, arguments) in CALLS.items()
    for argument, value in arguments.items()
    for path, other in with_one_as(number, value, argument)
    if not re.match(UNUSED, f"{name}-{path}={number}")
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NumPy, at infinity less infinity
@pytest.mark.parametrize(("name", "arguments"), NOT_FINITE)
def test_what_is_not_finite_is_refused_or_is_seen_in_the_result(
    name: str, arguments: dict[str, Any]
) -> None:
    found, refused = False, ""
    try:
        result = CALLS[name].function(**arguments)
        found = not all_finite([*result] if isinstance(result, Iterator) else result)
    except ValueError as error:
        refused = str(error)
    assert found or re.search("NaN|not a number|finite|to inf", refused), refused
