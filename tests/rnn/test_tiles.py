"""The packed kernel for a GPU, as far as a CPU can tell: what XLA is given, how often, and that numbers are right.

Nothing here is measured, and no GPU is needed. XLA for a CPU makes no fusion of several results, so the kernels of
a step are counted by what one for a GPU merges: what needs the same products, apart from what writes to a buffer.
"""

import re
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from workbench.cells import CELLS, xla
from workbench.cells.base import state_sizes
from workbench.rnn import dynamic_rnn, kernels_of, packed_rnn
from workbench.rnn.packing import kernel, tiles
from workbench.rnn.packing.compiled import capacity_for
from workbench.rnn.packing.tile import Before, Tile
from workbench.rnn.packing.tiles import UNROLLS, cut

FEATURES, UNITS, ROWS, STEPS = 3, 5, 16, 8
BESIDE_PRODUCTS = {
    *("fusion", "concatenate", "copy", "bitcast", "slice", "broadcast", "select", "compare", "convert"),
    *("transpose", "add", "subtract", "multiply", "divide", "negate", "tanh", "logistic", "exponential", "iota"),
}  # fmt: skip
OF_A_TURN = {"parameter", "get-tuple-element", "tuple", "constant"}


class Instruction:
    """A line of HLO: its name, operation, operands, and whether it is more than a number or an answer."""

    def __init__(self, line):
        self.name, kind, self.operation, rest = re.match(
            r"\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)", line
        ).groups()
        self.operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        self.calls = re.findall(r"calls=%([\w.\-]+)", rest)
        self.is_tensor = not re.match(r"\w+\[\]", kind)


class Computations(dict):
    """Optimised HLO by its computations' names."""

    def __init__(self, text):
        found = re.findall(r"^(?:ENTRY )?%?([\w.\-]+) \(.*?\{\n(.*?)^\}", text, re.S | re.M)
        super().__init__({name: [*map(Instruction, body.splitlines())] for name, body in found})
        self.bodies = re.findall(r" while\(.*body=%?([\w.\-]+)", text)
        self.known = re.findall(r' while\(.*"known_trip_count":\{"n":"(\d+)"', text)

    def operations(self, name):
        """All that a computation does, in what it calls too."""
        for one in self[name]:
            yield from self.operations(one.calls[0]) if one.calls else [one.operation]

    def kernels(self, name):
        """(products, fusions) of a loop's body: results that need the same products are one, writes another."""
        after, fusions = {}, set()
        for one in self[name]:
            before = frozenset().union(*(after.get(operand, ()) for operand in one.operands))
            after[one.name] = before | {one.name} if one.operation == "dot" else before
            if one.operation in OF_A_TURN | {"copy", "dot"} or not one.is_tensor:
                continue
            assert one.operation in BESIDE_PRODUCTS, f"{one.operation} is no elementwise work"
            inside = set(self.operations(one.calls[0])) if one.calls else set()
            writes = "dynamic-update-slice" in inside
            assert inside <= BESIDE_PRODUCTS | OF_A_TURN | {"dynamic-slice", "dynamic-update-slice"}
            if one.operation != "concatenate":  # of what is written: part of the fusion that writes it
                fusions.add((before, writes))
        return sum(one.operation == "dot" for one in self[name]), len(fusions)


def operands(cell, dtype=tf.float32):
    """What a tile of ROWS and STEPS takes, forward."""
    cell.build((None, FEATURES))
    weights = tf.nest.map_structure(tf.convert_to_tensor, cell.step_weights())
    draw = np.random.default_rng(0)
    inputs = tf.constant(draw.normal(size=(STEPS * ROWS, FEATURES)), dtype)
    left = tf.constant(draw.integers(0, STEPS + 1, ROWS), tf.int32)
    return inputs, left, [tf.zeros([ROWS, n]) for n in state_sizes(cell)], weights


def optimised(function, *given):
    traced = tf.function(function, jit_compile=True, autograph=False)
    return Computations(traced.experimental_get_compiler_ir(*given)(stage="optimized_hlo"))


def both_ways(cell, together):
    """The HLO of a tile forward and backward."""
    given = operands(cell)
    tile = Tile(cell, given[3], FEATURES, together)
    inputs, left, states, weights = given
    kept = [tf.zeros([STEPS * ROWS, width]) for width in tile.kept_widths]
    d_outputs = tf.zeros([STEPS * ROWS, cell.output_size])
    sums = tf.nest.map_structure(tf.zeros_like, weights)
    return (
        optimised(tile._forward, *given),
        optimised(tile._backward, d_outputs, inputs, left, states, kept, weights, sums),
    )


@pytest.mark.parametrize("together", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_xla_knows_how_often_a_loop_turns_and_a_step_is_one_product_and_two_fusions(together):
    """Backwards too, and once more in a turn: the gradient of the state that the next turn begins with."""
    for hlo, more in zip(both_ways(CELLS["lstm"](UNITS), together), (0, 1), strict=True):
        assert hlo.known == [str(STEPS // together)]
        (body,) = hlo.bodies
        products, fusions = hlo.kernels(body)
        assert products == together
        assert fusions <= 2 * together + more


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gru", "layer_norm_lstm"])
def test_xla_knows_how_often_the_loop_of_other_cells_turns(name):
    """Of two products in a row; of sums over units in a step."""
    for hlo in both_ways(CELLS[name](UNITS), 1):
        assert len(hlo.bodies) == 1
        assert hlo.known == [str(STEPS)]


def draw_lengths(draw, most_examples, longest):
    examples = draw.integers(1, most_examples + 1)
    return np.minimum(draw.geometric(1 / draw.integers(1, longest), examples), longest).astype("int32")


class Recorder:
    """A tile that only tells what XLA would have to compile."""

    dtype, output_size, kept_widths = tf.float32, UNITS, (UNITS,)

    def __init__(self):
        self.shapes = set()

    def forward(self, inputs, left, states, weights):
        self.shapes.add(("forward", *inputs.shape, *left.shape))
        outputs = tf.zeros([tf.shape(inputs)[0], UNITS])
        return outputs, states, [outputs]

    def backward(self, d_outputs, inputs, left, d_states, kept, weights, sums):
        self.shapes.add(("backward", *inputs.shape, *left.shape))
        return Before(tf.zeros_like(inputs), d_states, sums)


@pytest.mark.parametrize(
    ("most", "sizes"), [(16, 1), (100, 3), pytest.param(1000, 4, marks=pytest.mark.slow)]
)
def test_what_is_compiled_is_bounded_whatever_the_lengths(monkeypatch, most, sizes):
    """Two tiles for each size of rows, in each direction."""
    recorder, draw = Recorder(), np.random.default_rng(0)
    monkeypatch.setattr(tiles, "tile_of", lambda *_: recorder)
    cell = CELLS["basic_rnn"](UNITS)
    for _ in range(8):
        lengths = draw_lengths(draw, most, 150)
        inputs = tf.zeros([len(lengths), lengths.max() + draw.integers(0, 9), FEATURES])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(packed_rnn(cell, inputs, lengths, kernel="tiles", batch_size=most)[0])
        tape.gradient(total, inputs)
    assert len(recorder.shapes) <= 2 * 2 * sizes
    assert {rows for rows, _ in shapes_of(recorder)} == {*[16, 64, 256][: sizes - 1], most}
    assert {steps for _, steps in shapes_of(recorder)} <= {32, 8}


def shapes_of(recorder):
    return {(rows, packed // rows) for _, packed, _, rows in recorder.shapes}


def test_where_the_batch_is_not_known_its_sizes_are_powers_of_two():
    """So for batches of up to 512 examples at most 7 sizes of rows and 14 tiles in each direction."""
    draw, found = np.random.default_rng(0), set()
    for _ in range(60):
        lengths = draw_lengths(draw, 512, 200)
        running = np.sum(np.arange(lengths.max())[:, None] < lengths, 1).astype("int32")
        made = cut(tf.constant(running), capacity_for(tf.constant(len(lengths)), None, 1))
        found |= set(zip(made.steps.numpy().tolist(), made.rows.numpy().tolist(), strict=True))
        ends = made.begin + made.steps
        assert made.begin[0] == 0
        assert ends[-1] >= len(running) > made.begin[-1]
        np.testing.assert_array_equal(ends[:-1], made.begin[1:])
        assert np.all(made.rows >= running[made.begin.numpy()])
    assert {rows for _, rows in found} <= {2**k for k in range(3, 10)}
    assert {steps for steps, _ in found} <= {tiles.LONG, tiles.SHORT}


@pytest.mark.parametrize("together", UNROLLS)
def test_a_turn_of_the_loop_never_passes_a_tile_s_end(together):
    for steps in (1, 9, 40, 41):
        assert not np.any(cut(tf.fill([steps], 3), 8, together).steps % together)


def results(cell, inputs, lengths, **options):
    """Outputs, final states, gradients of inputs and weights, in a graph."""

    @tf.function(autograph=False)
    def run(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, states = packed_rnn(cell, inputs, lengths, **options)
            total = sum(tf.reduce_sum(tf.sin(tf.cast(x, tf.float32))) for x in (outputs, *states))
        weights = [v.value for v in cell.trainable_variables]
        return [outputs, *states, *tape.gradient(total, [inputs, *weights])]

    return [np.asarray(tf.cast(x, tf.float32)) for x in run(inputs)]


@pytest.mark.parametrize(
    ("name", "dtype", "near"),
    [
        ("coupled_lstm", "float32", 1e-6),
        pytest.param("gru", "mixed_float16", 2e-3, marks=pytest.mark.slow),
        pytest.param("basic_rnn", "mixed_bfloat16", 2e-2, marks=pytest.mark.slow),
    ],
)
def test_the_numbers_are_those_of_the_kernel_for_a_cpu(name, dtype, near):
    """In halves the products' operands are rounded, sums and states are not; a CPU's kernel rounds none of them."""
    keras.utils.set_random_seed(0)
    cell = CELLS[name](UNITS, dtype=dtype)
    cell.build((None, FEATURES))
    inputs = tf.constant(np.random.default_rng(0).normal(size=(4, 12, FEATURES)), cell.compute_dtype)
    lengths = [12, 0, 5, 1]
    tiled = results(cell, inputs, lengths, kernel="tiles", unroll_steps=1)
    for ours, theirs in zip(tiled, results(cell, inputs, lengths, kernel="xla"), strict=True):
        assert np.linalg.norm(ours - theirs) <= near * np.linalg.norm(theirs)
        assert dtype == "float32" or not np.array_equal(ours, theirs)


def test_states_in_halves_are_carried_in_float32():
    """A state that grows by less than a half can tell apart still grows."""

    class Adds(type(CELLS["basic_rnn"](1))):
        def step(self, projected, states, weights, product):
            h = states[0] + 1 / 1024 + 0 * (projected + product(0, states[0]))
            return h, [h]

    cell = Adds(1, dtype="bfloat16")
    inputs = tf.zeros([2, 64, 1], tf.bfloat16)
    start = [tf.ones([2, 1], tf.bfloat16)]
    state = packed_rnn(cell, inputs, [64, 32], initial_state=start, kernel="tiles", unroll_steps=1)[1][0]
    np.testing.assert_array_equal(tf.cast(state, tf.float32), [[1 + 64 / 1024], [1 + 32 / 1024]])


class TestTheChoiceByDevice:
    def choice(self, *, gpus=1, place=None, around="GPU"):
        """What is taken inside a tf.function, under tf.device(place), where there seem to be so many GPUs."""
        found, told = [], xla._place

        def placed():
            return around if tf.executing_eagerly() else told()

        @tf.function(autograph=False)
        def trace():
            with tf.device(place):
                found.append(kernel.choose_kernel(CELLS["gru"](3), "auto", False))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tf.config, "list_logical_devices", lambda kind: ["a GPU, so to say"] * gpus)
            patch.setattr(xla, "_place", placed)
            trace.get_concrete_function()
        return found[0].kernel

    def test_is_by_whether_there_is_a_gpu(self):
        assert self.choice(gpus=0) == "xla"
        assert self.choice() == "tiles"

    def test_a_call_that_is_placed_on_the_cpu_stays_there(self):
        assert self.choice(place="/CPU:0") == "xla"
        assert self.choice(around="CPU") == "xla"
        assert self.choice(place="/GPU:0", around="CPU") == "tiles"
        with tf.device("/CPU:0"):
            assert xla._place() == "CPU"

    def test_is_told(self, monkeypatch):
        monkeypatch.setattr(kernel, "on_gpu", lambda: True)
        monkeypatch.setattr(tiles, "tile_of", lambda *_: Recorder())
        cell = CELLS["basic_rnn"](UNITS)
        run = tf.function(partial(packed_rnn, cell), autograph=False)
        run.get_concrete_function(tf.zeros([2, 3, FEATURES]), [3, 1])
        (choice,) = kernels_of(cell)
        assert choice == ("tiles", "a cell in one-step form, inside tf.function, on a GPU")


@pytest.mark.parametrize("steps", [0, 3, 64, 2.5, "8"])
def test_unroll_steps_are_checked(steps):
    with pytest.raises(ValueError, match="unroll_steps must be one of 1, 2, 4, 8, 16, 32, not"):
        packed_rnn(CELLS["gru"](3), np.zeros([1, 2, 2]), unroll_steps=steps)


def test_nothing_to_run_over():
    cell = CELLS["basic_rnn"](UNITS)
    for shape in ((0, 4), (3, 0), (0, 0)):
        outputs, (state,) = packed_rnn(cell, tf.zeros([*shape, FEATURES]), kernel="tiles", unroll_steps=1)
        assert outputs.shape == (*shape, UNITS)
        np.testing.assert_array_equal(state, dynamic_rnn(cell, tf.zeros([*shape, FEATURES]))[1][0])
