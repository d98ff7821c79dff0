"""A model's outputs on a fixed input, as a function of its variables: the proof that a rebuilt model is the saved one.

The call of a model is traced once, on placeholders, and its random operations are replaced by stateless ones with one
seed. The copy is run on any values of the variables: those that a checkpoint is written with, in the thread that writes
it, or those of a restored model. So the numbers in a checkpoint are those of its own weights, and the model that is
trained is never run.

Source: the stateless operations take the place of the stateful ones one for one, by TensorFlow's `random_ops.cc` and
`stateless_random_ops.cc`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from tensorflow.python.eager import wrap_function

from keras_probckpt.model.unchanged import set_losses, unchanged
from keras_probckpt.recipe.affordable import is_affordable
from keras_probckpt.recipe.calls import Signature, call_signature, symbolic_call
from keras_probckpt.recipe.codec import Node
from keras_probckpt.recipe.compare import describe

__all__ = ["Probe", "Trace", "is_affordable_call", "output_differences_of", "probe_of", "trace_call"]

_FuncGraph = tf.__internal__.FuncGraph

# Of a dimension that the signature leaves open: the first is the batch's, others may go through a few convolutions.
_BATCH, _LENGTH = 2, 16
_SEED = (20_261_123, 1)
_MOST_NUMBERS = 256
# How far numbers may differ between machines that add them up in another order, as a part of the largest of them.
_TOLERANCES = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}

# The stateless form of an operation: its name, where its seed goes among the inputs, and its attributes by those of the
# stateful one.
_STATELESS: dict[str, tuple[str, int, dict[str, str]]] = {
    "RandomUniform": ("StatelessRandomUniform", 1, {"T": "T", "dtype": "dtype"}),
    "RandomStandardNormal": ("StatelessRandomNormal", 1, {"T": "T", "dtype": "dtype"}),
    "TruncatedNormal": ("StatelessTruncatedNormal", 1, {"T": "T", "dtype": "dtype"}),
    "RandomUniformInt": ("StatelessRandomUniformInt", 1, {"T": "T", "dtype": "Tout"}),
    "RandomGamma": ("StatelessRandomGammaV2", 1, {"T": "S", "dtype": "T"}),
    "RandomPoissonV2": ("StatelessRandomPoisson", 1, {"T": "S", "dtype": "dtype", "Rtype": "R"}),
    "Multinomial": ("StatelessMultinomial", 2, {"T": "T", "output_dtype": "output_dtype"}),
}
_RANDOM_SEEDS = {"seed": _SEED[0], "seed2": _SEED[1]}


@dataclasses.dataclass(frozen=True)
class Trace:
    """One traced call.

    Attributes:
        graph: The graph.
        placeholders: Its inputs, flat, and what they are placeholders for.
        described: What was returned: classes, dtypes and shapes.
        tensors: What is compared, by place.
        variables: The variables that were read.
    """

    graph: Any
    placeholders: Sequence[tuple[Any, tf.TensorSpec]]
    described: Node
    tensors: Mapping[str, Any]
    variables: Sequence[tf.Variable]


def trace_call(model: tfk.layers.Layer, signature: Signature | None = None) -> Trace | None:
    """Call a model on placeholders, and leave it as it was.

    Args:
        model: A model or a part of it.
        signature: How to call it; None is how it was first called.

    Returns:
        The trace; None for a model that was never called or that cannot be traced.
    """
    signature = signature or call_signature(model)
    if signature is None:
        return None
    graph = _FuncGraph("probe")
    try:
        with unchanged(model):
            for layer in model._flatten_layers():
                set_losses(layer, [])
            output = symbolic_call(model, *signature, graph=graph)
            with graph.as_default():
                tensors = dict(_tensors(output, ""))
                tensors.update(_losses(model, graph))
            described = describe(output)
    except Exception:  # noqa: BLE001 - a model that runs eagerly may do anything; training goes on without a proof
        return None
    specs = [item for item in tf.nest.flatten(signature) if isinstance(item, tf.TensorSpec)]
    inputs = [operation.outputs[0] for operation in graph.get_operations() if operation.type == "Placeholder"]
    captured = {inside.name for _, inside in graph.captures}
    placeholders = [item for item in inputs if item.name not in captured][: len(specs)]
    variables = tuple(graph._watched_variables)
    return Trace(graph, tuple(zip(placeholders, specs, strict=True)), described, tensors, variables)


def _losses(model: tfk.layers.Layer, graph: Any) -> dict[str, Any]:
    """Sum what the layers add to the loss, in the graph of the call."""
    losses = [loss for loss in model.losses if getattr(loss, "graph", graph) is graph]
    return {".losses": tf.add_n([tf.cast(tf.reduce_sum(loss), tf.float32) for loss in losses])} if losses else {}


class Probe:
    """Runs a traced call on values of its variables.

    Args:
        traces: The calls by path: that of the model, or of its parts.
        names: Path of each variable, by its handle; the others keep the values that they have now.
    """

    def __init__(self, traces: Mapping[str, Trace], names: Mapping[int, str]) -> None:
        self._calls = {path: _SeededCall(trace, names) for path, trace in traces.items()}

    def outputs(self, values: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        """Compute what is returned, and what the layers add to the loss.

        Args:
            values: Values of the variables, by path: tensors or arrays.

        Returns:
            Arrays by place; of a large one some numbers of it, and what sums it up.
        """
        found: dict[str, np.ndarray[Any, Any]] = {}
        with tf.device("CPU"), tf.init_scope():
            for path, call in self._calls.items():
                for place, array in call(values).items():
                    found[f"{path or 'model'}(){place}"] = _condensed(array)
        return found


def probe_of(
    model: tfk.Model,
    layers: Mapping[str, tfk.layers.Layer],
    variables: Mapping[str, tf.Variable],
    *,
    signatures: Mapping[str, Signature],
    trace: Trace | None,
) -> Probe | None:
    """Make a model's probe, or that of the outermost of its parts that were called where it was not called itself.

    Args:
        model: The model; it is left as it was.
        layers: The model and its layers, by path.
        variables: Its variables, by path.
        signatures: How its parts were called, by path.
        trace: The traced call of the whole model, where there is one.
    """
    traces = {} if trace is None else {"": trace}
    if call_signature(model) is None:
        outermost = [path for path in signatures if path in layers and not _is_within(path, signatures)]
        found = {path: trace_call(layers[path], signatures[path]) for path in outermost}
        traces = {path: item for path, item in found.items() if item is not None}
    names = {id(variable.handle): path for path, variable in variables.items()}
    try:
        return Probe(traces, names) if traces else None
    except Exception:  # noqa: BLE001 - a graph that cannot be copied, as one that calls Python; there is no proof then
        return None


def _is_within(path: str, others: Mapping[str, Any]) -> bool:
    return any(path != other and (not other or path.startswith(f"{other}/")) for other in others)


class _SeededCall:
    """A copy of a traced call in which nothing is random, on values of variables that it is given."""

    def __init__(self, trace: Trace, names: Mapping[int, str]) -> None:
        self._places = list(trace.tensors)
        definition, suffix = trace.graph.as_graph_def(), f"_{secrets.token_hex(8)}"
        _make_deterministic(definition, suffix)
        self._fixed = [_fixed_input(spec) for _, spec in trace.placeholders]
        inputs = [placeholder.name for placeholder, _ in trace.placeholders]
        owners = {id(variable.handle): variable for variable in _variables_of(trace.graph)}
        self._captured: list[Callable[[Mapping[str, Any]], Any]] = []
        self._kept: list[Any] = []
        for outside, inside in trace.graph.captures:
            inputs.append(inside.name)
            self._captured.append(_value_of(outside, owners.get(id(outside)), names.get(id(outside))))
        outputs = [tensor.name for tensor in trace.tensors.values()]
        self._run = wrap_function.function_from_graph_def(definition, inputs, outputs)

    def __call__(self, values: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
        held = [take(values) for take in self._captured]
        handles = [item.handle if isinstance(item, tf.Variable) else item for item in held]
        results = self._run(*self._fixed, *handles)
        return {place: _as_array(value) for place, value in zip(self._places, results, strict=True)}


def _variables_of(graph: Any) -> Sequence[tf.Variable]:
    return tuple(graph._watched_variables)


def _value_of(outside: Any, owner: tf.Variable | None, name: str | None) -> Callable[[Mapping[str, Any]], Any]:
    """Tell how to get what a traced call takes from outside: a variable that has the value, or the thing itself."""
    if owner is None:
        return lambda _values: outside
    dtype = getattr(owner, "true_dtype", owner.dtype)
    # What is not saved is no part of the model, such as the state of a generator: it must not decide.
    kept = tf.zeros(owner.shape, dtype) if name is None and dtype.is_integer else None

    def take(values: Mapping[str, Any]) -> Any:
        value = values[name] if name is not None and name in values else (owner.read_value() if kept is None else kept)
        # It shares the memory of the value: nothing is copied until the call assigns to it.
        return tf.Variable(value, dtype=dtype, trainable=False, shape=owner.shape)

    return take


def _make_deterministic(definition: Any, suffix: str) -> None:
    """Replace random operations by stateless ones, in a graph and in the functions it calls."""
    del definition.library.gradient[:], definition.library.registered_gradients[:]
    names = {function.signature.name for function in definition.library.function}
    for function in definition.library.function:
        function.signature.name += suffix  # A function of the old name is there already, and stays as it is.
        function.attr.clear()
    bodies = [(definition.node, ""), *((function.node_def, ":output:0") for function in definition.library.function)]
    for nodes, output in bodies:
        for node in list(nodes):
            node.device = ""
            _rename(node, names, suffix)
            if node.op in _STATELESS:
                _make_stateless(node, nodes, output)
            for name in _RANDOM_SEEDS.keys() & node.attr.keys():
                node.attr[name].i = _RANDOM_SEEDS[name]


def _make_stateless(node: Any, nodes: Any, output: str) -> None:
    name, place, attributes = _STATELESS[node.op]
    seed = nodes.add()
    seed.name, seed.op = f"{node.name}/probe_seed", "Const"
    seed.attr["dtype"].type = tf.int64.as_datatype_enum
    seed.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(_SEED, tf.int64))
    values = {new: type(node.attr[old])() for new, old in attributes.items()}
    for new, old in attributes.items():
        values[new].CopyFrom(node.attr[old])
    shapes = [key for key in node.attr if key.startswith("_")]
    kept = {key: type(node.attr[key])() for key in shapes}
    for key in shapes:
        kept[key].CopyFrom(node.attr[key])
    node.attr.clear()
    for key, value in {**kept, **values}.items():
        node.attr[key].CopyFrom(value)
    node.attr["Tseed"].type = tf.int64.as_datatype_enum
    node.op = name
    inputs = list(node.input)
    inputs.insert(place, f"{seed.name}{output}")
    del node.input[:]
    node.input.extend(inputs)


def _rename(node: Any, names: set[str], suffix: str) -> None:
    if node.op in names:
        node.op += suffix
    for attribute in node.attr.values():
        for function in (attribute.func, *attribute.list.func):
            if function.name in names:
                function.name += suffix


def is_affordable_call(trace: Trace) -> bool:
    """Whether a stranger's model may be run on the fixed input; see `affordable`."""
    tensors, specs = [item for item, _ in trace.placeholders], [spec for _, spec in trace.placeholders]
    if any(spec.shape.rank is None for spec in specs):
        return False
    return is_affordable(trace.graph, tensors, [_fixed_shape(spec) for spec in specs])


def _fixed_shape(spec: tf.TensorSpec) -> list[int]:
    open_sizes = [_BATCH, *[_LENGTH] * len(spec.shape[1:])]
    return [size or open_size for size, open_size in zip(spec.shape, open_sizes, strict=True)]


def _fixed_input(spec: tf.TensorSpec) -> tf.Tensor:
    shape = _fixed_shape(spec)
    if spec.dtype == tf.string:
        return tf.fill(shape, "")
    generator = np.random.Generator(np.random.PCG64(0))
    if spec.dtype.is_integer or spec.dtype.is_bool:  # Of numbers that index something, 0 and 1 are the safest.
        return tf.cast(tf.constant(generator.integers(0, 2, shape)), spec.dtype)
    return tf.cast(tf.constant(generator.uniform(size=shape)), spec.dtype)


def _tensors(output: Any, place: str) -> Iterator[tuple[str, tf.Tensor]]:
    if isinstance(output, Mapping):
        for key, item in output.items():
            yield from _tensors(item, f"{place}[{key!r}]")
    elif isinstance(output, (list, tuple)):
        for index, item in enumerate(output):
            yield from _tensors(item, f"{place}[{index}]")
    elif isinstance(output, tfp.distributions.Distribution):
        value = output.sample() if _makes_no_tensor(output) else tf.convert_to_tensor(output)
        yield from _tensors(value, f"{place}.value")
        for name, compute in (("log_prob", lambda: output.log_prob(value)), ("mean", output.mean)):
            with contextlib.suppress(NotImplementedError, ValueError, AttributeError):
                yield from _tensors(compute(), f"{place}.{name}")
    elif isinstance(output, tf.Tensor) and output.dtype not in (tf.variant, tf.resource):
        yield place, tf.identity(output)


def _makes_no_tensor(distribution: Any) -> bool:
    return type(distribution).__name__ != "_TensorCoercible"


def _as_array(value: tf.Tensor) -> np.ndarray[Any, Any]:
    array = value.numpy()
    return array if value.dtype != tf.string else np.frombuffer(b"\0".join(array.ravel()), np.uint8)


def _condensed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Take numbers of a large array that stand for it: some from everywhere in it, and the mean of its magnitudes."""
    if array.size <= _MOST_NUMBERS:
        return array
    flat = array.ravel()
    picked = flat[:: -(-flat.size // _MOST_NUMBERS)]
    if array.dtype.kind not in "fV":
        return picked
    mean = np.abs(flat.astype(np.float64)).mean()
    return np.concatenate([picked.astype(np.float64), [mean]])


def output_differences_of(
    recorded: Mapping[str, np.ndarray[Any, Any]], rebuilt: Mapping[str, np.ndarray[Any, Any]]
) -> list[str]:
    """List by place where the numbers of a rebuilt model are not those that were recorded.

    Args:
        recorded: Outputs by place.
        rebuilt: Those of the rebuilt model.
    """
    return [
        line for place in recorded if place in rebuilt for line in _difference(place, recorded[place], rebuilt[place])
    ]


def _difference(place: str, saved: Any, rebuilt: Any) -> list[str]:
    if saved.shape != rebuilt.shape:
        return [f"{place}: saved of shape {saved.shape}, rebuilt {rebuilt.shape}"]
    if saved.dtype.kind not in "fcV":
        is_same = np.array_equal(saved, rebuilt)
    else:
        wide = np.complex128 if saved.dtype.kind == "c" else np.float64
        one, other = saved.astype(wide), rebuilt.astype(wide)
        finite = np.isfinite(one)
        largest = float(np.abs(one[finite]).max(initial=0.0))
        limit = _TOLERANCES.get(saved.dtype.name, 1e-4) * largest + 1e-6
        with np.errstate(invalid="ignore"):
            is_near = (np.abs(one - other) <= limit) | (one == other) | (np.isnan(one) & np.isnan(other))
        is_same = bool(is_near.all())
    return [] if is_same else [f"{place}: saved {_shown(saved)}, rebuilt {_shown(rebuilt)}"]


def _shown(array: np.ndarray[Any, Any]) -> str:
    return np.array2string(array.ravel()[:4], separator=", ", precision=6) + (" ..." if array.size > 4 else "")  # noqa: PLR2004
