"""One step of a cell, forward and backward, with the products made once.

Forward makes each product `operand @ recurrent[i]`; its value is saved. Backward lets the tape differentiate the
same step with the products replaced by their saved values, so that `dz @ recurrent[i]^T` is all that it
multiplies. The gradient of recurrent[i] is `operand^T @ dz` over all steps at once, which the caller makes.
"""

from __future__ import annotations

import functools
import hashlib
import types
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from workbench.cells.base import StepCell, StepWeights, state_sizes
from workbench.cells.closed_over import SETTLED, closed_over
from workbench.cells.custom_gradient import custom_gradient
from workbench.cells.pure import is_known

Tensors = list[tf.Tensor]
_DRAWS = ("Random", "Multinomial", "TruncatedNormal")
_WITH_POLES = {
    "Sqrt", "SqrtGrad", "Rsqrt", "RsqrtGrad", "RealDiv", "Div", "Xdivy", "Reciprocal", "ReciprocalGrad", "Inv",
    "InvGrad", "Pow", "Log", "Log1p", "Xlogy", "Xlog1py", "Acos", "Acosh", "Asin", "Atanh", "Erfinv", "Ndtri",
    "Digamma", "Lgamma",
}  # fmt: skip
_OF_EVERY_LAYER = frozenset(vars(keras.layers.Layer(name="any")))
"""Keras' own account of a layer."""
_SAVED: WeakKeyDictionary[StepCell, dict[Any, Saved]] = WeakKeyDictionary()
_ALIKE: dict[Any, Any] = {}
"""By what a step computes, for the whole process: XLA never lets go of what it has compiled, so the next model of
the same size has it again, in place of a second copy."""


class Forward(NamedTuple):
    """A step's results, and each product's value z (with what was added) and operand."""

    output: tf.Tensor
    states: Tensors
    products: Tensors
    operands: Tensors


class Backward(NamedTuple):
    """Gradients of a step: of its projected inputs, products, states, and small weights."""

    projected: tf.Tensor
    products: Tensors
    states: Tensors
    small: Tensors


def multiply(a: tf.Tensor, b: tf.Tensor, *, transpose_a: bool = False, of: Any = None) -> tf.Tensor:
    """a @ b in b's dtype, summed in `of`, which is a's where it is not given. A sum in another dtype needs XLA."""
    of = of or a.dtype
    if a.dtype == b.dtype == of:
        return tf.matmul(a, b, transpose_a=transpose_a)
    return tf.raw_ops.BatchMatMulV3(x=tf.cast(a, b.dtype), y=b, Tout=of, adj_x=transpose_a)


def step_forward(
    cell: StepCell, projected: tf.Tensor, states: Tensors, recurrent: Tensors, small: Tensors
) -> Forward:
    """One step. `projected` [B, K], `states` [B, n] each."""
    products: dict[int, tf.Tensor] = {}
    operands: dict[int, tf.Tensor] = {}

    def product(i: int, operand: tf.Tensor, plus: tf.Tensor | None = None) -> tf.Tensor:
        if i in products:
            raise ValueError(f"{_name(cell)}.step makes product {i} twice; it may make each of them once.")
        made = multiply(operand, recurrent[i])
        products[i], operands[i] = (made if plus is None else made + plus), operand
        return products[i]

    output, new_states = cell.step(projected, states, small, product)
    missing = set(range(len(recurrent))) - set(products)
    if missing:
        raise ValueError(f"{_name(cell)}.step never makes product {min(missing)}, but its weights have it.")
    order = range(len(recurrent))
    return Forward(output, list(new_states), [products[i] for i in order], [operands[i] for i in order])


def step_backward(
    cell: StepCell,
    projected: tf.Tensor,
    products: Tensors,
    states: Tensors,
    transposed: Tensors,
    small: Tensors,
    d_output: tf.Tensor,
    d_states: Tensors,
) -> Backward:
    """The gradient of `step_forward`, from its saved products; `transposed` are the recurrent matrices'."""
    d_products = [tf.zeros_like(z) for z in products]

    def product(i: int, operand: tf.Tensor, plus: tf.Tensor | None = None) -> tf.Tensor:
        @custom_gradient
        def saved(operand: tf.Tensor, *plus: tf.Tensor) -> Any:
            def gradient(dz: tf.Tensor) -> tuple[tf.Tensor, ...]:
                d_products[i] = dz
                return multiply(dz, transposed[i]), *(dz for _ in plus)

            return tf.identity(products[i]), gradient

        return saved(operand) if plus is None else saved(operand, plus)

    def step(given: tuple) -> Tensors:
        projected, states, small = given
        output, new_states = cell.step(projected, states, small, product)
        return [output, *new_states]

    d_projected, d_states, d_small = _gradients(step, (projected, states, small), [d_output, *d_states])
    return Backward(d_projected, d_products, d_states, d_small)


def _gradients(function: Any, given: tuple, d_results: Tensors) -> Any:
    """The gradients of what a function gives, by what it is given: in a graph with no tape.

    A step may be traced first where TensorFlow has stopped all tapes, as inside `tf.recompute_grad`, and one that
    is stopped gives zeros.
    """
    if tf.executing_eagerly():
        with tf.GradientTape() as tape:
            tape.watch(given)
            results = function(given)
        return tape.gradient(results, given, output_gradients=d_results, unconnected_gradients="zero")
    own = tf.nest.map_structure(tf.identity, given)  # else its way would go on, out of a loop's body
    found = tf.gradients(function(own), tf.nest.flatten(own), grad_ys=d_results, unconnected_gradients="zero")
    return tf.nest.pack_sequence_as(given, found)


class Saved:
    """What a loop must keep of each step for its gradient; `saved_of` finds it by tracing one step of the cell.

    Kept are, in this order: the products; those operands that are no state themselves; the states that the
    gradient reads. `projected` says whether it reads the projected inputs too. Cells of equal `fingerprint` compute
    the same; it is None where that cannot be told.
    """

    def __init__(self, traced: _Traced) -> None:
        reached = _ancestors(
            [traced.back.projected, *traced.back.products, *traced.back.states, *traced.back.small]
        )
        given = {id(state): n for n, state in enumerate(traced.states)}
        own = [given.get(id(operand)) for operand in traced.forward.operands]
        self.fingerprint, self._may_have_poles = traced.fingerprint, traced.may_have_poles
        self._compiled: dict[Any, Any] = {}
        self.projected = id(traced.projected) in reached
        self.states = [n for n, s in enumerate(traced.states) if id(s) in reached or n in own]
        self.operands = [i for i, state in enumerate(own) if state is None]
        self.product_widths = [z.shape[1] for z in traced.forward.products]
        count = len(own)
        self.operand_at = [
            count + self.operands.index(i)
            if state is None
            else count + len(self.operands) + self.states.index(state)
            for i, state in enumerate(own)
        ]
        self.state_widths = [state.shape[1] for state in traced.states]
        self.widths = [
            *self.product_widths,
            *(traced.forward.operands[i].shape[1] for i in self.operands),
            *(self.state_widths[n] for n in self.states),
        ]
        same = [i for i, dz in enumerate(traced.back.products) if dz is traced.back.projected]
        self.same = same[0] if same else None  # the product whose gradient is the projected inputs', too
        self.gradient_widths = self.product_widths + ([] if same else [traced.projected.shape[1]])

    def keep(self, step: Forward, states: Tensors) -> Tensors:
        """A step's tensors to keep, [B, width] each, in the order of `widths`."""
        return [*step.products, *(step.operands[i] for i in self.operands), *(states[n] for n in self.states)]

    def of_running(self, kept: Tensors, running: tf.Tensor) -> Tensors:
        """What was kept, with the first row's in those that do not run [R, 1]; the first does.

        Where no example is, a step may have been made of zeros, where an activation may have no finite slope: no
        gradient comes in, but 0 times infinity is no number. It costs 5 to 22% of a forward and backward pass, so
        only steps that may have poles are treated so.
        """
        return [tf.where(running, value, value[:1]) for value in kept] if self._may_have_poles else kept

    def compiled(self, kind: Any, make: Callable[[], Any]) -> Any:
        """What is compiled of such steps, made once for all cells that compute the same, and each `kind`."""
        # XLA fixes a product's precision as it compiles
        kind = (kind, tf.config.experimental.tensor_float_32_execution_enabled())
        if kind not in self._compiled:
            self._compiled[kind] = _ALIKE.get((self.fingerprint, kind)) or make()
            if self.fingerprint is not None:
                _ALIKE[self.fingerprint, kind] = self._compiled[kind]
        return self._compiled[kind]

    def restore(self, kept: Tensors) -> tuple[Tensors, Tensors]:
        """(products, states) of a step from what was kept; a state that nothing reads is zeros."""
        rows = tf.shape(kept[0])[0]
        first = len(self.product_widths) + len(self.operands)
        found = dict(zip(self.states, kept[first:], strict=True))
        states = [
            found[n] if n in found else tf.zeros([rows, width], kept[0].dtype)
            for n, width in enumerate(self.state_widths)
        ]
        return kept[: len(self.product_widths)], states

    def gradients(self, step: Backward) -> Tensors:
        """A step's gradients to keep, in the order of `gradient_widths`."""
        return step.products + ([step.projected] if self.same is None else [])

    def d_projected(self, gradients: Tensors) -> tf.Tensor:
        """The projected inputs' gradient among what `gradients` kept."""
        return gradients[-1 if self.same is None else self.same]


def saved_of(cell: StepCell, weights: StepWeights) -> Saved:
    """What to keep of this cell's steps; traced once for each cell, its settings, and dtype."""
    known = _SAVED.setdefault(cell, {})
    dtype = weights.kernel.dtype
    key = (dtype.name, settings_of(cell))
    if key not in known:
        known[key] = Saved(_trace(cell, weights.recurrent, weights.small, dtype))
    return known[key]


def settings_of(cell: StepCell) -> tuple[Any, ...]:
    """What a step of the cell depends on beside its weights, as far as it is plain: its clip, its activation.

    They may be set at any time, and what is traced holds them.
    """
    found: list[tuple[Any, ...]] = []
    for name, value in sorted(vars(cell).items()):
        if name in _OF_EVERY_LAYER:
            continue
        if isinstance(value, SETTLED):
            found.append((name, value))
        elif isinstance(value, StepCell):
            found.append((name, settings_of(value)))
        elif isinstance(value, types.FunctionType | types.BuiltinFunctionType | functools.partial):
            found.append((name, weakref.ref(value), closed_over(value)))
    return tuple(found)


class _Traced(NamedTuple):
    """Symbolic tensors of one step and its gradient."""

    projected: tf.Tensor
    states: Tensors
    forward: Forward
    back: Backward
    fingerprint: str | None
    may_have_poles: bool


def _trace(cell: StepCell, recurrent: Tensors, small: Tensors, dtype: tf.DType) -> _Traced:
    """One step and its gradient as symbolic tensors.

    The rows are a known number, so that a gradient that asks for a tensor's shape alone does not seem to read it.
    """
    sizes, rows, found = state_sizes(cell), 4, []

    def forward(projected: Any, states: Any, recurrent: Any, small: Any) -> Forward:
        return step_forward(cell, projected, states, recurrent, small)

    def both(projected: Any, states: Any, recurrent: Any, small: Any, products: Any, d_output: Any) -> None:
        step = forward(projected, states, recurrent, small)
        transposed = [tf.transpose(matrix) for matrix in recurrent]
        d_output, *d_states = d_output
        back = step_backward(cell, projected, products, states, transposed, small, d_output, d_states)
        poles = _may_have_poles(cell, tf.compat.v1.get_default_graph())
        found.append(_Traced(projected, states, step, back, _fingerprint(alone), poles))

    given = (
        tf.TensorSpec([rows, cell.projection_width], dtype),
        [tf.TensorSpec([rows, n], dtype) for n in sizes],
        [tf.TensorSpec(matrix.shape, dtype) for matrix in recurrent],
        [tf.TensorSpec(vector.shape, dtype) for vector in small],
    )
    alone = tf.function(forward, autograph=False).get_concrete_function(*given)
    made = alone.structured_outputs
    products = [tf.TensorSpec(z.shape, dtype) for z in made.products]
    results = [tf.TensorSpec(r.shape, dtype) for r in (made.output, *made.states)]
    traced = tf.function(both, autograph=False).get_concrete_function(*given, products, results)
    if any(tensor.dtype == tf.resource for tensor in traced.captured_inputs):
        raise ValueError(
            f"{_name(cell)}.step reads a variable by itself, so that its gradient would be lost: "
            "step_weights() must hand it in."
        )
    for op in traced.graph.get_operations():
        if op.op_def.is_stateful and any(word in op.type for word in _DRAWS):
            raise ValueError(
                f"{_name(cell)}.step draws at random ({op.type}), and backwards it would draw other numbers: "
                "has_step() must give False where it does."
            )
    return found[0]


def _may_have_poles(cell: StepCell, graph: Any) -> bool:
    """Whether a step, or its slope, may be infinite somewhere; the cells here with Keras' activations are not."""
    functions = [cell.activation, *([cell.gate] if "gate" in vars(cell) else [])]
    if type(cell).__module__.startswith("workbench.") and all(map(is_known, functions)):
        return False
    ops = {op.type for op in graph.get_operations()} | {
        node.op for function in graph.as_graph_def().library.function for node in function.node_def
    }
    return not ops.isdisjoint(_WITH_POLES)


def _fingerprint(step: Any) -> str | None:
    """A hash of a traced step's graph, constants and shapes included.

    None where it reads tensors from outside, or has functions (tf.cond's) or a gradient of its own (silu's), whose
    names are never the same.
    """
    definition = step.graph.as_graph_def()
    graph = definition.SerializeToString(deterministic=True)
    if step.captured_inputs or definition.library.function or b"CustomGradient-" in graph:
        return None
    return hashlib.sha256(graph + " ".join(tensor.name for tensor in step.outputs).encode()).hexdigest()


def _ancestors(tensors: Tensors) -> set[int]:
    """Ids of all tensors from which these are computed."""
    reached, todo = set(), list(tensors)
    while todo:
        tensor = todo.pop()
        if id(tensor) in reached:
            continue
        reached.add(id(tensor))
        op = tensor.op  # an IdentityN, made by custom_gradient, passes each input on by itself
        todo += [op.inputs[tensor.value_index]] if op.type == "IdentityN" else op.inputs
    return reached


def _name(cell: Any) -> str:
    return type(cell).__name__
