"""`check_cell` passes anyone's good cell with no change in the house, and says what a bad one does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import StepCell, StepWeights
from workbench.probes.cell_checks import CellError, check_cell
from workbench.rnn.table import EVERYWHERE

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
OURS = {name: rnn for name, rnn in EVERYWHERE.items() if name != "keras"}  # which takes no integer states
DYNAMIC = {"dynamic": EVERYWHERE["dynamic"]}
registered = keras.saving.register_keras_serializable(package="third_party")


@registered
class Good(keras.layers.Layer):
    """A minimal cell as Keras' own documentation has it, by someone who never heard of this house."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units, self.units), name="recurrent")

    def call(self, inputs, states):
        h = tf.tanh(inputs @ self.kernel + states[0] @ self.recurrent)
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@registered
class OneTensor(Good):
    """Keras also takes a single state that is not in a list."""

    def get_initial_state(self, batch_size=None):
        return tf.ones([batch_size, self.units], self.compute_dtype)

    def call(self, inputs, states):
        output, (state,) = super().call(inputs, states)
        return output, state


@registered
class OutputIsNoState(Good):
    """Its output is another and larger thing than its states, of which one counts."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.state_size, self.output_size = [units, 1], 2 * units

    def get_initial_state(self, batch_size=None):
        zeros = tf.zeros([batch_size, self.units], self.compute_dtype)
        return [zeros, tf.zeros([batch_size, 1], "int32")]

    def call(self, inputs, states):
        output, (state,) = super().call(inputs, states[:1])
        return tf.concat([output, -output], -1), [state, states[1] + 1]


@registered
class Nested(keras.layers.Layer):
    """Nested inputs, outputs and states."""

    output_size = (1, 3)
    state_size = ({"a": 2, "b": 3}, 1)

    def get_initial_state(self, batch_size=None):
        a, b, c = (tf.zeros([batch_size, n], self.compute_dtype) for n in (2, 3, 1))
        return {"a": a, "b": b}, c

    def call(self, inputs, states):
        kept = tf.nest.map_structure(tf.add, states[0], inputs)
        return (tf.reduce_sum(kept["a"], 1, keepdims=True), kept["b"] * states[1]), (kept, states[1] + 1)


@registered
class MadeOfLayers(Good):
    """Keras layers inside, one of which draws in training."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.dense = keras.layers.Dense(units, "tanh", dtype=self.dtype_policy)
        self.drop = keras.layers.Dropout(0.5, dtype=self.dtype_policy)

    def build(self, input_shape):
        self.dense.build((None, input_shape[-1] + self.units))

    def call(self, inputs, states, training=False):
        h = self.drop(self.dense(tf.concat([inputs, states[0]], -1)), training=training)
        return h, [h]


@pytest.mark.parametrize(
    ("cell", "rnns"),
    [
        (lambda: Good(3, dtype="float64"), EVERYWHERE),
        pytest.param(lambda: OneTensor(3, dtype="float64"), EVERYWHERE, marks=pytest.mark.slow),
        pytest.param(lambda: OutputIsNoState(3, dtype="float64"), OURS, marks=pytest.mark.slow),
        (lambda: MadeOfLayers(3), DYNAMIC),
        pytest.param(lambda: keras.layers.LSTMCell(3, dtype="float64"), DYNAMIC, marks=pytest.mark.slow),
        pytest.param(
            lambda: keras.layers.GRUCell(3, dropout=0.5, recurrent_dropout=0.5),
            DYNAMIC,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: keras.layers.StackedRNNCells([keras.layers.GRUCell(3), keras.layers.SimpleRNNCell(2)]),
            DYNAMIC,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["good", "one tensor", "no state", "layers", "keras lstm", "keras gru", "keras stacked"],
)
def test_cells_of_others_pass(cell, rnns):
    check_cell(cell(), rnns=rnns)


def test_a_cell_of_nests_passes():
    check_cell(Nested(dtype="float64"), input_size={"a": 2, "b": 3}, rnns=DYNAMIC)


class NotRegistered(Good):
    pass


class Draws(Good):
    def call(self, inputs, states):
        return super().call(inputs + tf.random.normal(tf.shape(inputs), dtype=inputs.dtype), states)


class CountsCalls(Good):
    calls = 0

    def call(self, inputs, states):
        self.calls += 1
        return super().call(inputs, states)


class KeepsItsState(Good):
    def build(self, input_shape):
        super().build(input_shape)
        self.kept = self.add_weight(shape=(), name="kept", initializer="zeros", trainable=False)

    def call(self, inputs, states):
        self.kept.assign_add(1)
        return super().call(inputs * self.kept, states)


class ReadsAVariable(Good):
    def build(self, input_shape):
        super().build(input_shape)
        self.scale = tf.Variable(tf.ones([self.units], self.compute_dtype))

    def call(self, inputs, states):
        output, states = super().call(inputs, states)
        return output * self.scale, states


class ForgetsItsState(Good):
    def call(self, inputs, states):
        return super().call(inputs, states)[0], states


class StartsAnewEachStep(Good):
    def call(self, inputs, states):
        return super().call(inputs, [tf.zeros_like(states[0])])


class DrawsByNumPy(Good):
    def call(self, inputs, states, training=False):
        keep = np.random.default_rng().uniform(size=self.units) if training else np.ones(self.units)
        output, states = super().call(inputs, states)
        return output * tf.constant(keep, output.dtype), states


class LooksAtTheBatch(Good):
    def call(self, inputs, states):
        return super().call(inputs - tf.reduce_mean(inputs, 0, keepdims=True), states)


class Branches(Good):
    def call(self, inputs, states):
        output, states = super().call(inputs, states)
        return (output if tf.reduce_any(inputs == 7) else 2 * output), states


class UsesNumPy(Good):
    def call(self, inputs, states):
        return super().call(tf.constant(inputs.numpy()), states)


class ForgetsItsUnits(Good):
    def get_config(self):
        return {**super().get_config(), "units": 3}


class ForgetsAnOption(Good):
    def __init__(self, units, scale=1.0, **kwargs):
        super().__init__(units, **kwargs)
        self.scale = scale


class NeedsAnOption(Good):
    def __init__(self, units, *, scale, **kwargs):
        super().__init__(units, **kwargs)

    @classmethod
    def make(cls, units, **kwargs):
        return cls(units, scale=1.0, **kwargs)


class HasNoStateSize(Good):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        del self.state_size


class NotItsStateSize(Good):
    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.state_size = units + 1


class NotItsOutputSize(Good):
    output_size = 7


class StartsAtOneSize(Good):
    def get_initial_state(self, batch_size=None):
        return [tf.zeros([32, self.units], self.compute_dtype)]


class StartsFromInputs(Good):
    def get_initial_state(self, inputs):
        return [tf.zeros([len(inputs), self.units])]


class GivesOnlyOutputs(Good):
    def call(self, inputs, states):
        return super().call(inputs, states)[0]


class ChangesItsState(Good):
    def call(self, inputs, states):
        output, (state,) = super().call(inputs, states)
        return output, [tf.concat([state, state], -1)]


class KnowsOneDtype(Good):
    def call(self, inputs, states):
        output, states = super().call(inputs, states)
        return output + tf.ones([self.units], "float64"), states


class StopsItsInputs(Good):
    def call(self, inputs, states):
        return super().call(tf.stop_gradient(inputs), states)


class StopsItsState(Good):
    def call(self, inputs, states):
        return super().call(inputs, [tf.stop_gradient(states[0])])


class HasASpareWeight(Good):
    def build(self, input_shape):
        super().build(input_shape)
        self.spare = self.add_weight(shape=(2,), name="spare")


class HasAnotherGradient(Good):
    def call(self, inputs, states):
        straight = tf.custom_gradient(lambda x: (tf.tanh(x), lambda upstream: upstream))
        h = straight(inputs @ self.kernel + states[0] @ self.recurrent)
        return h, [h]


class BreaksInTraining(Good):
    def call(self, inputs, states, training=False):
        output, states = super().call(inputs, states)
        return (output / 0.0 if training else output), states


BAD = {
    NotRegistered: r"Could not locate class 'NotRegistered'.*register_keras_serializable.*custom_objects=",
    Draws: r"two calls on the same inputs and states differ\. What is random belongs under `training`",
    CountsCalls: r"change nothing but its states\. It changes counts_calls\.calls",
    KeepsItsState: r"two calls .* differ\. It changes keeps_its_state/kept",
    ReadsAVariable: r"reads .*Variable:0, which is not among the cell's trainable_variables.*add_weight",
    LooksAtTheBatch: r"example 0 alone is not what it is among others: .* across the batch axis",
    ForgetsItsState: r"nothing is carried from step to step.* return the new ones.* skip=\('memory',\)",
    StartsAnewEachStep: r"nothing is carried from step to step.*Read `states` in call",
    DrawsByNumPy: r"random numbers of Python or NumPy are drawn once.*Draw with tf\.random or keras\.random",
    Branches: r"inside tf\.function, .* raises OperatorNotAllowedInGraphError.*no `if` on a tensor",
    UsesNumPy: r"inside tf\.function, .* no attribute 'numpy'",
    ForgetsItsUnits: "come back from the config as",
    ForgetsAnOption: r"get_config lacks scale, an argument of __init__",
    NeedsAnOption: r"from_config\(get_config\(\)\) raises TypeError: .*'scale'; get_config must have every",
    HasNoStateSize: "has no state_size: set self.state_size",
    NotItsStateSize: r"states \[\(4, 5\)\], as state_size=5 has them, raises InvalidArgumentError: Matrix size",
    NotItsOutputSize: r"outputs have .*\(4, 4\).* but output_size and dtype say .*\(4, 7\)",
    StartsAtOneSize: r"get_initial_state\(batch_size=4\) has shapes \[\(32, 4\)\], but state_size is \[4\]",
    StartsFromInputs: r"get_initial_state\(batch_size=4\), as Keras calls it, raises TypeError",
    GivesOnlyOutputs: r"call must return \(output, new_states\), but returns \[\(\(4, 4\), 'float64'\)\]",
    ChangesItsState: "a step turns states .* they must stay alike",
    KnowsOneDtype: r"with dtype='float32', a step raises InvalidArgumentError.* cast to self\.compute_dtype",
    StopsItsInputs: r"no gradient reaches inputs.* pass without_gradient=\('inputs',\)",
    StopsItsState: r"no gradient reaches states.* pass without_gradient=\('states',\)",
    HasASpareWeight: r"no gradient reaches .*spare.* pass without_gradient=\('spare',\)",
    HasAnotherGradient: r"along a random direction.* difference quotient .*skip=\('derivative',\)",
    BreaksInTraining: "with training=True outputs are not finite",
}


@pytest.mark.parametrize(("kind", "message"), BAD.items())
def test_a_bad_cell_is_told_what_it_does(kind, message):
    kind = kind if kind is NotRegistered else registered(kind)
    with pytest.raises(CellError, match=message):
        check_cell(getattr(kind, "make", kind)(4, dtype="float64"), rnns=DYNAMIC)


class OneStep(StepCell):
    """In one-step form, and wrong in it."""

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.projection_width = self.state_size = self.output_size = units

    def build(self, input_shape):
        self.kernel = self.add_kernel("kernel", input_shape[-1], self.units)
        self.recurrent_kernel = self.add_recurrent("recurrent_kernel", self.units, self.units)
        self.bias = self.add_vector("bias", self.units)

    def step_weights(self):
        return StepWeights(
            self.read(self.kernel), self.read(self.bias), [self.read(self.recurrent_kernel)], []
        )


class MakesAProductTwice(OneStep):
    def step(self, projected, states, weights, product):
        h = tf.tanh(product(0, states[0], plus=projected) + product(0, states[0] ** 2))
        return h, [h]


class MakesAProductByItself(OneStep):
    def step(self, projected, states, weights, product):
        h = tf.tanh(projected + tf.matmul(states[0], self.read(self.recurrent_kernel)))
        return h, [h]


class ReadsItsBias(OneStep):
    def step(self, projected, states, weights, product):
        h = tf.tanh(product(0, states[0], plus=projected)) * self.read(self.bias)
        return h, [h]


class MixesRows(OneStep):
    def step(self, projected, states, weights, product):
        h = tf.tanh(product(0, states[0], plus=projected - tf.reduce_mean(projected, 0, keepdims=True)))
        return h, [h]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (MakesAProductTwice, r"MakesAProductTwice\.step makes product 0 twice"),
        (MakesAProductByItself, r"MakesAProductByItself\.step never makes product 0"),
        (ReadsItsBias, r"ReadsItsBias\.step reads a variable by itself"),
        (MixesRows, "across the batch axis"),
    ],
)
def test_a_step_that_is_not_one_is_told_why(kind, message):
    with pytest.raises(CellError, match=message):
        check_cell(registered(kind)(4, dtype="float64"), rnns={"packed": EVERYWHERE["packed"]})


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (NotRegistered, {"custom_objects": {"NotRegistered": NotRegistered}}),
        (StopsItsInputs, {"without_gradient": ["inputs"]}),
        (StopsItsState, {"without_gradient": ["states"]}),
        (StartsAnewEachStep, {"skip": ["memory"], "without_gradient": ["states", "recurrent"]}),
        (HasASpareWeight, {"without_gradient": ["spare"]}),
        (HasAnotherGradient, {"skip": ["derivative"]}),
    ],
)
def test_what_is_meant_can_be_told(kind, options):
    kind = kind if kind is NotRegistered else registered(kind)
    check_cell(kind(4, dtype="float64"), rnns={}, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"without_gradient": ["kernel"]}, CellError, "names 'kernel', but good.*/kernel has a gradient"),
        ({"without_gradient": ["bias"]}, CellError, "names 'bias'; there are inputs, states, good.*/kernel"),
        ({"skip": ["speed"]}, ValueError, r"skip=\['speed'\]: the checks are contract, repeat, "),
    ],
)
def test_what_is_told_must_be_so(options, error, message):
    with pytest.raises(error, match=message):
        check_cell(Good(4, dtype="float64"), rnns={}, **options)


def test_what_is_no_cell():
    with pytest.raises(CellError, match="made and not yet run; this is the class Good"):
        check_cell(Good)
