"""The network and the optimizers against PyTorch and JAX, which are asked in float64.

Two sums of the same terms agree to a share of the sum of their magnitudes; of what is left
where they cancel, nothing can be asked. So each number may be off by a share of what the same
formula gives with absolute values in it, which also says how the errors of one part grow in
the next.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mnist_fn as mf
from mnist_fn import Gradients, Params, relu, sigmoid, tanh

DTYPES: list[type[np.float32] | type[np.float64]] = [np.float32, np.float64]

ACTIVATIONS = [relu, tanh, sigmoid]

# A sum of n terms is off by n times half the precision at most (Higham, "Accuracy and Stability
# of Numerical Algorithms", 2002, section 4.2), and no sum here has more than 41 of them.
SHARES = {np.dtype(np.float32): 64 * 2.0**-23, np.dtype(np.float64): 1e-12}

# And each term by half the smallest subnormal at most: to take all subnormals of float32 for 0 is
# an error. In float64 it is none, as JAX does so itself.
LOST = {
    np.dtype(np.float32): 32 * float(np.finfo(np.float32).smallest_subnormal),
    np.dtype(np.float64): float(np.finfo(np.float64).tiny),
}
# The magnitude of which this is the share.
LEAST = {dtype: LOST[dtype] / share for dtype, share in SHARES.items()}

Sizes = tuple[int, ...]
# pixels, hidden, classes and m. So few for JAX, because it compiles for each.
FEW_SIZES = st.sampled_from(
    [(1, 1, 1, 1), (3, 1, 2, 5), (4, 3, 2, 1), (2, 5, 3, 4), (40, 20, 10, 16)]
)
ANY_SIZES = st.tuples(*(st.integers(1, most) for most in (20, 9, 7, 12)))


class Case(NamedTuple):
    params: Params
    X: np.ndarray
    Y: np.ndarray
    g: mf.ActivationFunction
    label_smoothing: float


class Answer(NamedTuple):
    activations: list[np.ndarray]
    loss: float
    gradients: list[np.ndarray]


Oracle = Callable[[Case], Answer]


def extremes(dtype: Any, most: float) -> st.SearchStrategy[float]:
    limits = np.finfo(dtype)
    sizes = [0, limits.smallest_subnormal, 1e-38, limits.tiny, 1, most]
    return st.sampled_from([float(dtype(sign * size)) for size in sizes for sign in (1, -1)])


def labels(classes: int, m: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.int64, m, elements=st.integers(0, classes - 1))


smoothings = st.sampled_from([0.0, 0.1])


@st.composite
def cases(draw: st.DrawFn, sizes: st.SearchStrategy[Sizes]) -> Case:
    pixels, hidden, classes, m = draw(sizes)
    dtype = draw(st.sampled_from(DTYPES))
    elements = st.floats(-2, 2, width=32)
    if draw(st.booleans()):
        # Of three factors of 1e38, the product is past the largest float32.
        elements |= extremes(dtype, 1e38 if dtype is np.float64 else 1e9)
    shapes = (hidden, pixels), (hidden, 1), (classes, hidden), (classes, 1), (pixels, m)
    *params, X = (draw(hnp.arrays(dtype, shape, elements=elements)) for shape in shapes)
    g = draw(st.sampled_from(ACTIVATIONS))
    return Case(Params(*params), X, draw(labels(classes, m)), g, draw(smoothings))


@st.composite
def cases_of_logits(draw: st.DrawFn, sizes: st.SearchStrategy[Sizes]) -> Case:
    classes, m = draw(sizes)
    dtype = draw(st.sampled_from(DTYPES))
    elements = extremes(dtype, 1e38) | st.floats(-200, 200, width=32)
    Z2 = draw(hnp.arrays(dtype, (classes, m), elements=elements))
    return with_logits(Z2, draw(labels(classes, m)), draw(smoothings))


OF_FLOAT32 = st.floats(-2, 2, width=32) | extremes(np.float32, 1e18)


def with_logits(Z2: np.ndarray, Y: np.ndarray, label_smoothing: float = 0.0) -> Case:
    """A network that makes these logits, to the bit, of images of one pixel each."""
    classes, m = Z2.shape
    eye, zeros = np.eye(m, dtype=Z2.dtype), np.zeros((max(classes, m), 1), Z2.dtype)
    return Case(Params(eye, zeros[:m], Z2, zeros[:classes]), eye, Y, relu, label_smoothing)


def of_mnist_fn(case: Case) -> Answer:
    params, X, Y, g, smoothing = case
    activations = mf.forward(params, X, g)
    gradients = mf.backward(params, activations, X, Y, g, smoothing)
    return Answer([*activations], mf.loss(params, X, Y, g, smoothing), [*gradients])


def of_pytorch(torch: Any, case: Case) -> Answer:
    params, X, Y, g, smoothing = case
    leaves = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in params]
    W1, b1, W2, b2 = leaves
    Z1 = W1 @ torch.tensor(X, dtype=torch.float64) + b1
    A1 = getattr(torch, g.name)(Z1)
    Z2 = W2 @ A1 + b2
    loss = torch.nn.functional.cross_entropy(Z2.T, torch.tensor(Y), label_smoothing=smoothing)
    activations = [A.detach().numpy() for A in (Z1, A1, Z2, Z2.softmax(0))]
    return Answer(
        activations, float(loss.detach()), [dp.numpy() for dp in torch.autograd.grad(loss, leaves)]
    )


def of_jax(case: Case) -> Answer:
    params, X, Y, g, smoothing = case
    with jax.enable_x64(True):
        double = [p.astype(np.float64) for p in params], X.astype(np.float64)
        (loss, activations), gradients = _of_jax(*double, Y, ACTIVATIONS.index(g), smoothing)
        return Answer([*map(np.asarray, activations)], float(loss), [*map(np.asarray, gradients)])


def _loss_of_jax(params: Any, X: Any, Y: Any, g: int, smoothing: float) -> Any:
    W1, b1, W2, b2 = params
    Z1 = W1 @ X + b1
    A1 = jax.lax.switch(g, [jax.nn.relu, jax.nn.tanh, jax.nn.sigmoid], Z1)
    Z2 = W2 @ A1 + b2
    T = optax.smooth_labels(jax.nn.one_hot(Y, len(Z2)), smoothing)
    return optax.softmax_cross_entropy(Z2.T, T).mean(), (Z1, A1, Z2, jax.nn.softmax(Z2, axis=0))


_of_jax = jax.jit(jax.value_and_grad(_loss_of_jax, has_aux=True))


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is missing: pip install 'mnist-fn[oracle]'")


def smoothed_labels(case: Case) -> np.ndarray:
    classes = len(case.params.W2)
    smoothing = case.label_smoothing
    return (1 - smoothing) * np.eye(classes)[:, case.Y] + smoothing / classes


def magnitudes(case: Case, A2: np.ndarray) -> Answer:
    """The sums of the magnitudes of all that the numbers of the answer are made of."""
    g, share, least = case.g, SHARES[case.X.dtype], LEAST[case.X.dtype]
    W1, b1, W2, b2, X = (np.abs(p.astype(np.float64)) + least for p in (*case.params, case.X))
    Z1 = W1 @ X + b1
    A1 = np.maximum(Z1, 1) if g is sigmoid else Z1
    Z2 = W2 @ A1 + b2
    # As much as a logit is off, so is the logarithm of a probability; if that is much, then the
    # probability may be anything up to 1.
    of_logits = 1 + 2 * Z2.max(axis=0)
    P = np.where(share * of_logits < 0.1, A2 * of_logits + least, 1 / share)
    dZ2 = (P + smoothed_labels(case)) / len(case.Y)
    dZ1 = W2.T @ dZ2 + least
    if g is not relu:  # the slope of relu is exact
        dZ1 *= np.minimum(1 + 2 * Z1, 1 / share)
    gradients = [dZ1 @ X.T, dZ1.sum(1, keepdims=True), dZ2 @ A1.T, dZ2.sum(1, keepdims=True)]
    return Answer([Z1, A1, Z2, P], float(of_logits.mean()), gradients)


def assert_close(got: Any, expected: Any, magnitude: Any, dtype: np.dtype[Any]) -> None:
    error = np.abs(np.asarray(got, np.float64) - expected)
    most = SHARES[dtype] * magnitude + LOST[dtype]
    assert np.all(error <= most), f"off by {error}: {got}, not {expected}"


def hangs_on_a_rounding(case: Case, expected: Answer, size: Answer) -> bool:
    """Whether the slope of relu does, which is 0 or 1."""
    W1, b1, *_ = case.params
    terms = (W1 != 0).astype(int) @ (case.X != 0) + (b1 != 0)
    small = np.abs(expected.activations[0]) <= SHARES[case.X.dtype] * size.activations[0]
    return case.g is relu and bool(np.any(small & (terms > 0)))


def at_the_kink() -> Case:
    """Hidden units at exactly 0, where the slope of relu is taken to be 0."""
    W2 = np.array([[1.0, -1.0, 2.0], [0.0, 3.0, -1.0]])
    params = Params(np.zeros((3, 4)), np.zeros((3, 1)), W2, np.zeros((2, 1)))
    return Case(params, np.ones((4, 1)), np.array([1]), relu, 0.0)


def check_network(oracle: Oracle, case: Case) -> None:
    expected = oracle(case)
    size = magnitudes(case, expected.activations[3])
    assume(not hangs_on_a_rounding(case, expected, size))
    got = of_mnist_fn(case)
    assert_close(got.loss, expected.loss, size.loss, case.X.dtype)
    arrays = [[*answer.activations, *answer.gradients] for answer in (got, expected, size)]
    for array, other, magnitude in zip(*arrays, strict=True):
        assert array.dtype == case.X.dtype
        assert_close(array, other, magnitude, case.X.dtype)


@pytest.mark.slow
@given(case=cases(FEW_SIZES))
@example(case=at_the_kink())
def test_activations_loss_and_gradients_are_those_of_jax(case: Case) -> None:
    check_network(of_jax, case)


@pytest.mark.slow  # the import of PyTorch takes seconds
@given(case=cases(ANY_SIZES))
@example(case=at_the_kink())
def test_activations_loss_and_gradients_are_those_of_pytorch(torch: Any, case: Case) -> None:
    check_network(functools.partial(of_pytorch, torch), case)


def check_logits(oracle: Oracle, case: Case) -> None:
    """Where they are exact, their softmax is so in each entry, and the loss, however large."""
    expected, got = oracle(case), of_mnist_fn(case)
    np.testing.assert_array_equal(got.activations[2], case.params.W2)
    dtype = case.X.dtype
    least = LEAST[dtype]
    A2 = expected.activations[3] + least
    assert_close(got.activations[3], expected.activations[3], A2, dtype)
    assert_close(got.loss, expected.loss, 1 + abs(expected.loss), dtype)
    dZ2 = (A2 + smoothed_labels(case)) / len(case.Y)
    dZ1 = np.abs(case.params.W2.T.astype(np.float64)) @ dZ2 + least
    sizes = dZ1 * case.X, (dZ1 * case.X).sum(1, keepdims=True), dZ2, dZ2.sum(1, keepdims=True)
    for dp, other, size in zip(got.gradients, expected.gradients, sizes, strict=True):
        assert_close(dp, other, size, dtype)


LOGITS = [
    with_logits(np.zeros((10, 3), np.float32), np.array([0, 9, 4])),
    with_logits(np.full((10, 3), 1e38, np.float32), np.array([0, 9, 4])),
    with_logits(np.array([[1e38], [-1e38]], np.float32), np.array([1])),
]


def with_examples(test: Callable[..., None]) -> Callable[..., None]:
    return functools.reduce(lambda test, case: example(case=case)(test), LOGITS, test)


@settings(max_examples=50)
@given(case=cases_of_logits(st.sampled_from([(2, 1), (3, 4), (10, 6)])))
@with_examples
def test_any_logits_give_what_jax_says(case: Case) -> None:
    check_logits(of_jax, case)


@pytest.mark.slow
@settings(max_examples=50)
@given(case=cases_of_logits(st.tuples(st.integers(1, 10), st.integers(1, 12))))
@with_examples
def test_any_logits_give_what_pytorch_says(torch: Any, case: Case) -> None:
    check_logits(functools.partial(of_pytorch, torch), case)


@given(*(hnp.arrays(np.float32, shape, elements=OF_FLOAT32) for shape in [(5, 1), (1, 4)]))
def test_a_product_alone_is_rounded_once(W1: np.ndarray, X: np.ndarray) -> None:
    zeros = np.zeros((2, 5), np.float32)
    Z1 = mf.forward(Params(W1, zeros[:1].T, zeros, zeros[:, :1]), X).Z1
    # In float64, the product of two numbers of float32 is exact.
    exact = W1.astype(np.float64) * X.astype(np.float64)
    np.testing.assert_array_equal(Z1, exact.astype(np.float32))


WEIGHTS = [True, False, True, False]
STEPS = 4


def falling(step: Any) -> Any:
    return 0.05 / (step + 1)


def weights_decay(params: list[Any], weight_decay: float) -> list[dict[str, Any]]:
    W1, b1, W2, b2 = params
    return [{"params": [W1, W2], "weight_decay": weight_decay}, {"params": [b1, b2]}]


class Row(NamedTuple):
    """One optimizer three times. PyTorch is told its learning rate later."""

    ours: mf.Optimizer[Any]
    of_optax: Any
    of_pytorch: Callable[[Any, list[Any]], Any]


# The defaults of rmsprop are PyTorch's.
ROWS = {
    "sgd": Row(mf.sgd(falling), optax.sgd(falling), lambda o, p: o.SGD(p)),
    "momentum": Row(
        mf.momentum(falling), optax.sgd(falling, 0.9), lambda o, p: o.SGD(p, momentum=0.9)
    ),
    "nesterov": Row(
        mf.momentum(falling, 0.8, nesterov=True),
        optax.sgd(falling, 0.8, nesterov=True),
        lambda o, p: o.SGD(p, momentum=0.8, nesterov=True),
    ),
    "rmsprop": Row(
        mf.rmsprop(falling),
        optax.rmsprop(falling, 0.99, 1e-8, eps_in_sqrt=False),
        lambda o, p: o.RMSprop(p),
    ),
    "rmsprop with a short memory": Row(
        mf.rmsprop(falling, 0.3, 1e-3),
        optax.rmsprop(falling, 0.3, 1e-3, eps_in_sqrt=False),
        lambda o, p: o.RMSprop(p, alpha=0.3, eps=1e-3),
    ),
    "adam": Row(mf.adam(falling), optax.adam(falling), lambda o, p: o.Adam(p)),
    "adam with weight decay": Row(
        mf.adam(falling, 0.4, 0.45, 1e-3, 0.1),
        optax.adamw(falling, 0.4, 0.45, 1e-3, weight_decay=0.1, mask=WEIGHTS),
        lambda o, p: o.AdamW(weights_decay(p, 0.1), betas=(0.4, 0.45), eps=1e-3, weight_decay=0),
    ),
    "decayed momentum": Row(
        mf.decay_weights(mf.momentum(falling, 0.8), 0.1),
        optax.chain(optax.add_decayed_weights(0.1, WEIGHTS), optax.sgd(falling, 0.8)),
        lambda o, p: o.SGD(weights_decay(p, 0.1), momentum=0.8),
    ),
}
# What the optimizers call what they keep.
OF_OPTAX = {"velocity": "trace", "mean": "mu", "square": "nu"}
OF_PYTORCH = {
    "momentum_buffer": "velocity",
    "exp_avg": "mean",
    "exp_avg_sq": "square",
    "square_avg": "square",
}

Steps = list[dict[str, list[np.ndarray]]]
"""After each step the parameters, their average and what else is kept, by our names."""


class Training(NamedTuple):
    params: Params
    gradients: list[Gradients]


@st.composite
def trainings(draw: st.DrawFn, sizes: st.SearchStrategy[Sizes]) -> Training:
    pixels, hidden, classes = draw(sizes)
    shapes = [(hidden, pixels), (hidden, 1), (classes, hidden), (classes, 1)]
    dtype = draw(st.sampled_from(DTYPES))
    # The square of a number past 1.8e19 is past the largest float32.
    elements = st.floats(-10, 10, width=32)
    elements |= extremes(dtype, 1e38 if dtype is np.float64 else 1e18)

    ends = [*itertools.accumulate(math.prod(shape) for shape in shapes)]
    rows = draw(hnp.arrays(dtype, (1 + STEPS, ends[-1]), elements=elements))
    parts = [np.split(row, ends[:-1]) for row in rows]
    shaped = [[a.reshape(shape) for a, shape in zip(part, shapes, strict=True)] for part in parts]
    return Training(Params(*shaped[0]), [Gradients(*of_step) for of_step in shaped[1:]])


def steps_of_mnist_fn(optimizer: mf.Optimizer[Any], training: Training) -> Steps:
    averaged = mf.average_params(optimizer, 0.7)
    params, state, steps = training.params, averaged.init(training.params), []
    for gradients in training.gradients:
        params, state = averaged.update(params, gradients, state)
        kept = {
            name: [*of_name] for name, of_name in state.inside._asdict().items() if name != "step"
        }
        steps.append({"params": [*params], "average": [*state.average], **kept})
    return steps


def steps_of_optax(row: Row, training: Training) -> Steps:
    def double(arrays: Any) -> list[np.ndarray]:
        return [array.astype(np.float64) for array in arrays]

    steps: Steps = []
    with jax.enable_x64(True):
        params, average, update = double(training.params), None, jax.jit(row.of_optax.update)
        state = row.of_optax.init(params)
        for gradients in training.gradients:
            moves, state = update(double(gradients), state, params)
            params = optax.apply_updates(params, moves)
            average = optax.incremental_update(params, average, 0.3) if average else params
            step: dict[str, Any] = {"params": params, "average": average}
            for name, of_name in OF_OPTAX.items():
                if kept := optax.tree.get(state, of_name, None):
                    step[name] = kept
            steps.append({name: [*map(np.asarray, arrays)] for name, arrays in step.items()})
    return steps


def steps_of_pytorch(torch: Any, row: Row, training: Training) -> Steps:
    params = [torch.nn.Parameter(torch.tensor(p, dtype=torch.float64)) for p in training.params]
    module, swa = torch.nn.ParameterList(params), torch.optim.swa_utils
    average = swa.AveragedModel(module, multi_avg_fn=swa.get_ema_multi_avg_fn(0.7))
    optimizer = row.of_pytorch(torch.optim, params)
    steps: Steps = []
    for i, gradients in enumerate(training.gradients):
        for group in optimizer.param_groups:
            group["lr"] = falling(i)
        for p, dp in zip(params, gradients, strict=True):
            p.grad = torch.tensor(dp, dtype=torch.float64)
        optimizer.step()
        average.update_parameters(module)
        step = {"params": params, "average": [*average.module]}
        for theirs, ours in OF_PYTORCH.items():
            if kept := [optimizer.state[p][theirs] for p in params if theirs in optimizer.state[p]]:
                step[ours] = kept
        steps.append({k: [array.detach().numpy().copy() for array in v] for k, v in step.items()})
    return steps


def absolute(training: Training, weight_decay: float) -> Training:
    """What makes each step add up magnitudes: to go down such gradients is to grow.

    A weight decay in the gradients takes from them, which is made up for three times over.
    """
    least = LEAST[training.params.W1.dtype]

    def magnitude(array: np.ndarray) -> np.ndarray:
        return np.abs(array.astype(np.float64)) + least

    params = Params(*(magnitude(p) for p in training.params))
    gradients = [
        Gradients(
            *(-magnitude(dp) - 3 * weight_decay * p for p, dp in zip(params, of_step, strict=True))
        )
        for of_step in training.gradients
    ]
    return Training(params, gradients)


def check_steps(
    steps_of_oracle: Callable[[Row, Training], Steps], name: str, training: Training
) -> None:
    row, dtype = ROWS[name], training.params.W1.dtype
    of_all = (
        steps_of_mnist_fn(row.ours, training),
        steps_of_oracle(row, training),
        steps_of_mnist_fn(row.ours, absolute(training, 0.1 if name.startswith("decayed") else 0)),
    )
    for got, expected, size in zip(*of_all, strict=True):
        assert got.keys() == expected.keys()
        for kept, arrays in got.items():
            for array, other, magnitude in zip(arrays, expected[kept], size[kept], strict=True):
                assert array.dtype == dtype
                assert_close(array, other, np.abs(magnitude), dtype)


@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=50)
@given(training=trainings(st.just((3, 2, 1))))
def test_every_step_and_its_average_are_those_of_optax(name: str, training: Training) -> None:
    check_steps(steps_of_optax, name, training)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
@settings(max_examples=50)
@given(training=trainings(st.tuples(*(st.integers(1, most) for most in (6, 4, 3)))))
def test_every_step_and_its_average_are_those_of_pytorch(
    torch: Any, name: str, training: Training
) -> None:
    check_steps(functools.partial(steps_of_pytorch, torch), name, training)
