import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import agree, numerical_gradients
from hypothesis import assume, given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

import mnist_fn as mf
from mnist_fn import ActivationFunction, Batch, Gradients, Params, relu, sigmoid, tanh

ACTIVATIONS = (relu, tanh, sigmoid)
sizes = st.integers(1, 4)
seeds = st.integers(0, 2**32)


@st.composite
def networks(draw: st.DrawFn, m: st.SearchStrategy[int] = sizes) -> tuple[Params, Batch]:
    """A float64 network of any size, with a batch of data and biases that are not 0."""
    pixels, hidden, classes = draw(sizes), draw(sizes), draw(sizes)
    random = np.random.default_rng(draw(seeds))
    params = Params(
        W1=random.normal(size=(hidden, pixels)),
        b1=random.normal(size=(hidden, 1)),
        W2=random.normal(size=(classes, hidden)),
        b2=random.normal(size=(classes, 1)),
    )
    columns = draw(m)
    batch = Batch(random.random((pixels, columns)), random.integers(0, classes, columns))
    return params, batch


def gradients_of(params: Params, batch: Batch, g: ActivationFunction = relu) -> Gradients:
    X, Y = batch
    return mf.backward(params, mf.forward(params, X, g), X, Y, g)


@pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
@given(network=networks())
def test_gradients_are_the_derivatives_of_the_loss(
    g: ActivationFunction, network: tuple[Params, Batch]
) -> None:
    params, batch = network
    if g is relu:
        assume(np.abs(mf.forward(params, batch.X, g).Z1).min() > 0.01)  # away from its kink
    numerical = numerical_gradients(lambda p: mf.loss(p, *batch, g), params)
    assert agree(gradients_of(params, batch, g), numerical)


def test_the_gradient_check_finds_wrong_gradients() -> None:
    random = np.random.default_rng(0)
    params = Params(*(random.normal(size=s) for s in ((3, 4), (3, 1), (2, 3), (2, 1))))
    batch = Batch(random.random((4, 5)), random.integers(0, 2, 5))
    right = gradients_of(params, batch, tanh)
    numerical = numerical_gradients(lambda p: mf.loss(p, *batch, tanh), params)
    assert agree(right, numerical)
    for field, dp in right._asdict().items():
        off_by_a_thousandth = right._replace(**{field: dp * 1.001})
        assert not agree(off_by_a_thousandth, numerical)
        one_entry_off = dp.copy()
        one_entry_off.flat[-1] *= 1.001
        assert not agree(right._replace(**{field: one_entry_off}), numerical)
    for field in ("db1", "db2"):
        summed_over_everything = np.full_like(getattr(right, field), getattr(right, field).sum())
        assert not agree(right._replace(**{field: summed_over_everything}), numerical)
    without_1_over_m = Gradients(*(dp * len(batch.Y) for dp in right))
    assert not agree(without_1_over_m, numerical)


@pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
def test_the_derivative_of_an_activation_function_is_its_derivative(g: ActivationFunction) -> None:
    Z = np.concatenate([np.linspace(-5, -0.01, 50), np.linspace(0.01, 5, 50)])
    h = 1e-5
    slope = (g.function(Z + h) - g.function(Z - h)) / (2 * h)
    np.testing.assert_allclose(g.derivative(Z, g.function(Z)), slope, rtol=1e-6, atol=1e-10)


def test_an_activation_function_that_writes_into_its_argument_is_refused() -> None:
    in_place = ActivationFunction("in place", lambda Z: np.tanh(Z, out=Z), tanh.derivative)
    params = mf.init_params(mf.key(0), pixels=5, hidden=4, classes=3)
    with pytest.raises(ValueError, match="read-only"):
        mf.forward(params, np.ones((5, 2), np.float32), in_place)


def test_a_derivative_of_another_shape_is_refused() -> None:
    summed = ActivationFunction(
        "summed", tanh.function, lambda Z, A: tanh.derivative(Z, A).sum(axis=1, keepdims=True)
    )
    params = mf.init_params(mf.key(0), pixels=5, hidden=4, classes=3)
    batch = Batch(np.ones((5, 2), np.float32), np.array([0, 2]))
    with pytest.raises(ValueError, match=r"derivative of summed has the shape \(4, 1\), but must"):
        gradients_of(params, batch, summed)


def test_a_derivative_with_an_axis_more_is_refused() -> None:
    twice = ActivationFunction("twice", relu.function, lambda Z, A: np.stack([Z, Z]))
    params = mf.init_params(mf.key(0), pixels=3, hidden=1, classes=2)
    X, Y = np.ones((3, 4), np.float32), np.zeros(4, int)
    with pytest.raises(
        ValueError, match=r"derivative of twice has the shape \(2, 1, 4\), but must"
    ):
        mf.backward(params, mf.forward(params, X, twice), X, Y, twice)


def test_the_derivative_of_relu_serves_other_functions() -> None:
    shifted = ActivationFunction("shifted", lambda Z: np.maximum(Z, 0) + 1, relu.derivative)
    random = np.random.default_rng(0)
    params = Params(*(random.normal(size=s) for s in ((3, 4), (3, 1), (2, 3), (2, 1))))
    batch = Batch(random.random((4, 5)), random.integers(0, 2, 5))
    numerical = numerical_gradients(lambda p: mf.loss(p, *batch, shifted), params)
    assert agree(gradients_of(params, batch, shifted), numerical)


@pytest.mark.parametrize("function", [mf.predict, mf.loss, mf.accuracy])
def test_an_activation_function_of_another_precision_is_refused(function: Any) -> None:
    double = ActivationFunction("double", lambda Z: Z.astype(np.float64), tanh.derivative)
    params = mf.init_params(mf.key(0), pixels=5, hidden=4, classes=3)
    X, Y = np.ones((5, 2), np.float32), np.array([0, 2])
    arguments = (params, X) if function is mf.predict else (params, X, Y)
    with pytest.raises(TypeCheckError, match=r"forward: the returned `result.A1` does not fit"):
        function(*arguments, double)


def test_the_derivative_of_relu_at_its_kink_is_0() -> None:
    Z = np.array([-1.0, -0.0, 0.0, 5e-324])
    assert relu.derivative(Z, relu.function(Z)).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activation_functions_take_any_finite_number(
    g: ActivationFunction, dtype: type[np.float32] | type[np.float64]
) -> None:
    limits = np.finfo(dtype)
    Z = np.array([limits.min, -1e30, -100, -limits.tiny, 0, limits.tiny, 100, 1e30, limits.max])
    Z = Z.astype(dtype)
    A = g.function(Z)
    derivative = g.derivative(Z, A)
    assert A.dtype == (A * derivative).dtype == dtype
    assert np.isfinite(A).all()
    assert np.isfinite(derivative).all()
    assert (np.diff(A) >= 0).all()


@given(network=networks(), g=st.sampled_from(ACTIVATIONS))
def test_forward_and_loss_are_the_formulas(
    network: tuple[Params, Batch], g: ActivationFunction
) -> None:
    params, (X, Y) = network
    scalars: dict[str, Callable[[float], float]] = {
        "relu": lambda z: max(z, 0.0),
        "tanh": math.tanh,
        "sigmoid": logistic,
    }
    losses = []
    activations = mf.forward(params, X, g)
    for j, y in enumerate(Y.tolist()):
        z1 = affine(params.W1, params.b1, X[:, j].tolist())
        a1 = [scalars[g.name](z) for z in z1]
        z2 = affine(params.W2, params.b2, a1)
        total = sum(math.exp(z) for z in z2)
        a2 = [math.exp(z) / total for z in z2]
        losses.append(-math.log(a2[y]))
        expected: tuple[list[float], ...] = (z1, a1, z2, a2)
        for column, array in zip(expected, activations, strict=True):
            np.testing.assert_allclose(array[:, j], column, rtol=1e-12, atol=1e-14)
    assert mf.loss(params, X, Y, g) == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    assert mf.predict(params, X, g).tolist() == activations.A2.argmax(axis=0).tolist()


def affine(W: np.ndarray, b: np.ndarray, x: list[float]) -> list[float]:
    rows = zip(W.tolist(), b[:, 0].tolist(), strict=True)
    return [sum(w * v for w, v in zip(row, x, strict=True)) + shift for row, shift in rows]


def logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def with_logits(Z2: np.ndarray) -> tuple[Params, np.ndarray]:
    """A network and one image for each of the columns of ``Z2`` that it makes of them."""
    classes, m = Z2.shape
    eye = np.eye(m, dtype=Z2.dtype)
    zeros = np.zeros((max(classes, m), 1), Z2.dtype)
    return Params(W1=eye, b1=zeros[:m], W2=Z2, b2=zeros[:classes]), eye


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_and_cross_entropy_are_stable(dtype: type[np.float32] | type[np.float64]) -> None:
    big, most = dtype(1e30), np.finfo(dtype).max
    columns = [[big, -big, 0], [-big, -big, -big], [most, most, most], [-most, most / 4, 0]]
    Z2 = np.array(columns, dtype).T
    params, X = with_logits(Z2)
    Y = np.array([1, 0, 2, 2])
    activations = mf.forward(params, X)
    np.testing.assert_array_equal(activations.Z2, Z2)
    A2 = np.array([[3, 0, 0], [1, 1, 1], [1, 1, 1], [0, 3, 0]]).T / 3
    np.testing.assert_allclose(activations.A2, A2, rtol=1e-6)
    expected = [2 * float(big), math.log(3), math.log(3), float(most) / 4]
    for j, loss in enumerate(expected):
        assert mf.loss(params, X[:, j : j + 1], Y[j : j + 1]) == pytest.approx(loss, rel=1e-6)
    assert math.isfinite(mf.loss(params, X, Y))
    gradients = mf.backward(params, activations, X, Y)
    assert all(np.isfinite(dp).all() for dp in gradients[2:])


def test_the_loss_is_finite_for_any_finite_float32() -> None:
    most = np.finfo(np.float32).max
    params, X = with_logits(np.array([[most], [-most]], np.float32))
    assert mf.loss(params, X, np.array([1])) == 2 * float(most)


def test_a_loss_past_the_largest_float64_is_infinite_without_a_warning() -> None:
    most = np.finfo(np.float64).max
    params, X = with_logits(np.array([[most], [-most]]))
    assert mf.loss(params, X, np.array([1])) == math.inf
    params, X = with_logits(np.array([[most, most], [0, 0]]))
    assert mf.loss(params, X, np.array([1, 1])) == pytest.approx(most)


@pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
@given(network=networks(st.integers(1, 20)), data=st.data())
def test_a_nan_is_in_all_that_it_concerns(
    g: ActivationFunction, network: tuple[Params, Batch], data: st.DataObject
) -> None:
    params, (X, Y) = network
    X = X * (X > 0.5)  # a NaN counts by a pixel that is 0, too
    field = data.draw(st.sampled_from(["X", *Params._fields]))
    array = (X if field == "X" else getattr(params, field)).copy()
    at = tuple(data.draw(st.integers(0, size - 1)) for size in array.shape)
    array[at] = np.nan
    concerned = np.arange(len(Y)) == at[1] if field == "X" else np.full(len(Y), True)
    if field == "X":
        X = array
    else:
        params = params._replace(**{field: array})
    activations = mf.forward(params, X, g)
    assert (np.isnan(activations.A2) == concerned).all()
    assert math.isnan(mf.loss(params, X, Y, g))
    gradients = mf.backward(params, activations, X, Y, g)
    assert all(np.isnan(dp).all() for dp in gradients)
    assert all(np.isnan(p).all() for p in mf.update(params, gradients, 0.1))
    sample = concerned.argmax()
    calls: dict[str, Callable[[], object]] = {
        "predict": lambda: mf.predict(params, X, g),
        "accuracy": lambda: mf.accuracy(params, X, Y, g),
    }
    for name, call in calls.items():
        with pytest.raises(
            ValueError,
            match=rf"^{name}: the probabilities of sample {sample} \(counted from 0\) are NaN, so "
            "that no class is the most probable; look for NaN, infinite or too large numbers in "
            "its image and in params$",
        ):
            call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_are_predicted_from(dtype: type[np.float32] | type[np.float64]) -> None:
    most, least = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    columns = [[0, 1e38, -1e38], [most, -most, most], [-0.0, least, 0]]
    params, X = with_logits(np.array(columns, dtype).T)
    assert mf.forward(params, X).A2[:, 0].tolist() == [0, 1, 0]
    assert mf.predict(params, X).tolist() == [1, 0, 0]
    assert mf.accuracy(params, X, np.array([1, 0, 1])) == 2 / 3
    assert mf.accuracy(params, X, np.array([0, 0, 1])) == 1 / 3


def test_infinite_numbers_have_their_limits_or_are_nan() -> None:
    random = np.random.default_rng(0)
    params = Params(*(random.normal(size=s) for s in ((3, 4), (3, 1), (2, 3), (2, 1))))
    X = random.random((4, 5))
    without_unit = params._replace(W2=params.W2 * [0, 1, 1])
    first = np.array([[np.inf], [0], [0]])
    off = params._replace(b1=params.b1 - first)
    np.testing.assert_array_equal(mf.forward(off, X).A2, mf.forward(without_unit, X).A2)
    on = params._replace(b1=params.b1 + first)
    as_bias = without_unit._replace(b2=params.b2 + params.W2[:, :1])
    for g in (tanh, sigmoid):
        np.testing.assert_allclose(mf.forward(on, X, g).A2, mf.forward(as_bias, X, g).A2)
    never = params._replace(b2=np.array([[0.0], [-np.inf]]))
    assert mf.forward(never, X).A2.tolist() == [[1] * 5, [0] * 5]
    assert mf.loss(never, X, np.zeros(5, int)) == 0
    assert mf.loss(never, X, np.ones(5, int)) == math.inf
    always = params._replace(b2=np.array([[0.0], [np.inf]]))
    with np.errstate(invalid="ignore"):
        assert math.isnan(mf.loss(always, X, np.ones(5, int)))
        with pytest.raises(ValueError, match="the probabilities of sample 0"):
            mf.predict(always, X)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=6), st.floats(-1e3, 1e3))
def test_softmax_does_not_see_a_shift_of_all_logits(logits: list[float], shift: float) -> None:
    Z2 = np.array([logits]).T
    params, X = with_logits(Z2)
    shifted, _ = with_logits(Z2 + shift)
    np.testing.assert_allclose(
        mf.forward(shifted, X).A2, mf.forward(params, X).A2, rtol=1e-9, atol=1e-12
    )


@given(networks(), st.sampled_from(ACTIVATIONS), seeds)
def test_permuting_the_samples_permutes_the_predictions(
    network: tuple[Params, Batch], g: ActivationFunction, seed: int
) -> None:
    params, (X, Y) = network
    order = np.random.default_rng(seed).permutation(len(Y))
    for whole, permuted in zip(
        mf.forward(params, X, g), mf.forward(params, X[:, order], g), strict=True
    ):
        np.testing.assert_allclose(permuted, whole[:, order], rtol=1e-12, atol=1e-14)
    for dp, permuted in zip(
        gradients_of(params, Batch(X, Y), g),
        gradients_of(params, Batch(X[:, order], Y[order]), g),
        strict=True,
    ):
        np.testing.assert_allclose(permuted, dp, rtol=1e-9, atol=1e-12)


@given(networks(), st.sampled_from(ACTIVATIONS), seeds)
def test_permuting_the_hidden_units_changes_nothing(
    network: tuple[Params, Batch], g: ActivationFunction, seed: int
) -> None:
    params, batch = network
    order = np.random.default_rng(seed).permutation(len(params.W1))
    permuted = Params(params.W1[order], params.b1[order], params.W2[:, order], params.b2)
    np.testing.assert_allclose(
        mf.forward(permuted, batch.X, g).A2, mf.forward(params, batch.X, g).A2, rtol=1e-9
    )
    dW1, db1, dW2, db2 = gradients_of(params, batch, g)
    expected = (dW1[order], db1[order], dW2[:, order], db2)
    for dp, of_permuted in zip(expected, gradients_of(permuted, batch, g), strict=True):
        np.testing.assert_allclose(of_permuted, dp, rtol=1e-9, atol=1e-12)


@given(networks(m=st.integers(2, 8)), st.sampled_from(ACTIVATIONS), st.data())
def test_the_gradient_of_a_concatenation_is_the_weighted_mean(
    network: tuple[Params, Batch], g: ActivationFunction, data: st.DataObject
) -> None:
    params, (X, Y) = network
    m = len(Y)
    cut = data.draw(st.integers(1, m - 1))
    parts = [Batch(X[:, :cut], Y[:cut]), Batch(X[:, cut:], Y[cut:])]
    weights = [cut / m, 1 - cut / m]
    losses = [mf.loss(params, *part, g) for part in parts]
    assert mf.loss(params, X, Y, g) == pytest.approx(np.dot(weights, losses), rel=1e-9)
    of_parts = [gradients_of(params, part, g) for part in parts]
    for whole, first, second in zip(gradients_of(params, Batch(X, Y), g), *of_parts, strict=True):
        np.testing.assert_allclose(
            weights[0] * first + weights[1] * second, whole, rtol=1e-9, atol=1e-12
        )


@given(networks(), st.floats(-1, 1))
def test_update_is_plain_gradient_descent(
    network: tuple[Params, Batch], learning_rate: float
) -> None:
    params, batch = network
    gradients = gradients_of(params, batch)
    updated = mf.update(params, gradients, learning_rate)
    for p, dp, new in zip(params, gradients, updated, strict=True):
        np.testing.assert_array_equal(new, p - learning_rate * dp)


def test_a_small_step_down_the_gradient_lowers_the_loss(digits: mf.Dataset) -> None:
    batch = Batch(mf.scale(digits.X_train), digits.Y_train)
    params = mf.init_params(mf.key(0))
    updated = mf.update(params, gradients_of(params, batch), 0.01)
    assert mf.loss(updated, *batch) < mf.loss(params, *batch)


@pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_precision_throughout(
    g: ActivationFunction, dtype: type[np.float32] | type[np.float64]
) -> None:
    params = mf.init_params(mf.key(0), pixels=5, hidden=4, classes=3, dtype=dtype)
    X, Y = np.ones((5, 2), dtype), np.array([0, 2])
    activations = mf.forward(params, X, g)
    gradients = mf.backward(params, activations, X, Y, g)
    strong = np.float64(0.1)  # a float to a type checker, but it would promote float32
    arrays = (*params, *activations, *gradients, *mf.update(params, gradients, strong))
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
    optimizers: list[mf.Optimizer[Any]] = [
        mf.sgd(strong),
        mf.momentum(strong, decay=strong),
        mf.sgd(mf.cosine(strong, 9)),
    ]
    for init, update in optimizers:
        after, _ = update(params, gradients, init(params))
        assert {array.dtype for array in after} == {np.dtype(dtype)}
    assert isinstance(mf.loss(params, X, Y, g), float)
    assert isinstance(mf.accuracy(params, X, Y, g), float)


def test_a_batch_of_one_column_is_a_batch() -> None:
    params = mf.init_params(mf.key(0), pixels=5, hidden=4, classes=3)
    X, Y = np.ones((5, 3), np.float32), np.array([0, 1, 2])
    columns = [mf.forward(params, X[:, j : j + 1]).A2 for j in range(3)]
    np.testing.assert_allclose(np.hstack(columns), mf.forward(params, X).A2, rtol=1e-6)
    assert mf.backward(params, mf.forward(params, X[:, :1]), X[:, :1], Y[:1]).dW1.shape == (4, 5)


def test_an_empty_batch_has_predictions_but_no_mean() -> None:
    params = mf.init_params(mf.key(0), pixels=5, hidden=4, classes=3)
    X, Y = np.ones((5, 0), np.float32), np.array([], int)
    activations = mf.forward(params, X)
    assert activations.A2.shape == (3, 0)
    assert mf.predict(params, X).shape == (0,)
    calls: dict[str, Callable[[], object]] = {
        "loss": lambda: mf.loss(params, X, Y),
        "backward": lambda: mf.backward(params, activations, X, Y),
        "accuracy": lambda: mf.accuracy(params, X, Y),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=rf"^{name}: the batch is empty \(m = 0\)"):
            call()


@pytest.mark.parametrize("wrong", [-1, 3, 255])
def test_a_label_that_is_no_class_is_refused(wrong: int) -> None:
    params = mf.init_params(mf.key(0), pixels=5, hidden=4, classes=3)
    X, Y = np.ones((5, 2), np.float32), np.array([0, wrong])
    calls: dict[str, Callable[[], object]] = {
        "loss": lambda: mf.loss(params, X, Y),
        "backward": lambda: mf.backward(params, mf.forward(params, X), X, Y),
        "accuracy": lambda: mf.accuracy(params, X, Y),
    }
    for name, call in calls.items():
        with pytest.raises(
            ValueError, match=f"^{name}: Y holds the label {wrong}, .* 3 classes .* 0 to 2$"
        ):
            call()


def test_initial_weights_have_the_spread_that_he_et_al_give() -> None:
    params = mf.init_params(mf.key(0), pixels=400, hidden=900, classes=100)
    assert params.W1.std() == pytest.approx(math.sqrt(2 / 400), rel=0.01)
    assert params.W2.std() == pytest.approx(math.sqrt(2 / 900), rel=0.01)
    assert abs(params.W1.mean()) < 0.001
    assert not params.b1.any()
    assert not params.b2.any()


@pytest.mark.parametrize("size", ["pixels", "hidden", "classes"])
def test_a_network_without_units_is_refused(size: str) -> None:
    with pytest.raises(ValueError, match=f"init_params: {size} is 0, but it must be 1 or more"):
        mf.init_params(mf.key(0), **{size: 0})  # type: ignore[arg-type]  # mypy cannot know the name


@given(seeds, seeds)
def test_the_same_key_gives_the_same_bits_and_another_key_others(a: int, b: int) -> None:
    assume(a != b)
    first, again, other = (
        mf.init_params(mf.key(s), pixels=3, hidden=2, dtype=np.float64) for s in (a, a, b)
    )
    assert all((p == q).all() for p, q in zip(first, again, strict=True))
    assert (first.W1 != other.W1).all()
    assert (first.W2 != other.W2).all()
    assert not np.isin(first.W2, first.W1).any()


def test_a_network_is_for_mnist_if_nothing_else_is_said() -> None:
    params = mf.init_params(mf.key(0))
    assert [p.shape for p in params] == [(128, 784), (128, 1), (10, 128), (10, 1)]
    assert {p.dtype for p in params} == {np.dtype(np.float32)}
