"""The walk over all that a model leads to: its attributes, theirs, keys and items of containers, closures.

Each object is met once, by its shortest path. Not followed are variables, symbolic tensors, and what Keras and
TensorFlow keep for themselves, such as caches and graphs: what a rebuilt model has of these is its own.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import logging
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
import tf_keras as tfk

from keras_probckpt.model.members import member

__all__ = [
    "FOLLOWED_OF_LIBRARIES",
    "OBJECTS_OF_KERAS",
    "Place",
    "bookkeeping_of",
    "cached_by_class",
    "child_of",
    "children_of",
    "class_data_of",
    "is_atom",
    "is_graph_network",
    "is_of_library",
    "is_symbolic",
    "is_tracked",
    "walk",
]

_LIBRARIES = frozenset(
    {"tensorflow", "tf_keras", "tensorflow_probability", "keras", "numpy", "keras_probckpt", "builtins", "absl"}
)
_STANDARD = frozenset(sys.stdlib_module_names) - {"__main__"}
OBJECTS_OF_KERAS = (
    tfk.layers.Layer,
    tfk.optimizers.Optimizer,
    tfk.optimizers.legacy.Optimizer,
    tfk.optimizers.schedules.LearningRateSchedule,
    tfk.losses.Loss,
    tfk.regularizers.Regularizer,
    tfk.constraints.Constraint,
    tfk.initializers.Initializer,
)
FOLLOWED_OF_LIBRARIES = (tf.Module, *OBJECTS_OF_KERAS)
_TRACKED = (tf.Variable, tfk.layers.Layer, tfk.optimizers.Optimizer, tfk.optimizers.legacy.Optimizer)
_TracedFunction = tf.__internal__.function.Function
# What is neither followed nor of any meaning to another process.
_OPAQUE = (
    types.ModuleType,
    types.GeneratorType,
    types.CodeType,
    types.FrameType,
    logging.Logger,
    tf.Graph,
    tf.data.Dataset,
    tf.data.Iterator,
    tf.distribute.Strategy,
    tf.summary.SummaryWriter,
    tf.train.Checkpoint,
    tfk.callbacks.Callback,
    _TracedFunction,
)
_ATOMS: tuple[type, ...] = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    types.NoneType,
    type,
    np.ndarray,
    np.generic,
    np.dtype,
    tf.DType,
)
_ATOMS += (tf.TensorShape, tf.TensorSpec, tf.SparseTensor, tf.RaggedTensor, slice, range, enum.Enum, set, frozenset)
_ATOMS += (types.BuiltinFunctionType, types.EllipsisType, types.MappingProxyType, tfk.mixed_precision.Policy)

# fmt: off
# What Keras keeps on every layer and model to do its work, and what `compile` and `fit` leave on a model.
_OF_KERAS = frozenset({
    "_activity_regularizer_calls", "_already_warned", "_auto_config", "_auto_get_config", "_auto_track_sub_layers",
    "_autocast", "_autotune_steps_per_execution", "_base_model_initialized", "_build_input_shape", "_built",
    "_call_context_args", "_call_spec", "_called", "_callable_losses", "_captured_weight_regularizer", "_checkpoint",
    "_cluster_coordinator", "_compile_config", "_compiled_trainable_state", "_compute_dtype_object",
    "_compute_output_and_mask_jointly", "_distribute_reduction_method", "_distribution_strategy", "_dtype_policy",
    "_dynamic", "_enter_dunder_call", "_eval_data_handler", "_expects_mask_arg", "_expects_training_arg",
    "_feed_input_names", "_feed_input_shapes", "_feed_inputs", "_graph_initialized", "_has_explicit_input_shape",
    "_inbound_nodes_value", "_inferred_v1_shape", "_initial_weights", "_input_coordinates", "_input_layers",
    "_input_spec", "_instrumented_keras_api", "_instrumented_keras_layer_class", "_instrumented_keras_model_class",
    "_is_compiled", "_is_graph_network", "_is_model_for_instrumentation", "_jit_compile", "_layer_call_argspecs",
    "_layout_map", "_losses", "_loss_weights_list", "_mesh", "_metrics", "_metrics_lock",
    "_most_recently_built_distribution_vars", "_name", "_name_scope", "_name_scope_on_declaration", "_nested_inputs",
    "_nested_outputs", "_network_nodes", "_nodes_by_depth", "_non_trainable_weights", "_obj_reference_counts_dict",
    "_outbound_nodes_value", "_output_coordinates", "_output_layers", "_output_mask_cache", "_output_shape_cache",
    "_output_tensor_cache", "_predict_counter", "_preserve_input_structure_in_config", "_pss_evaluation_shards",
    "_random_generator", "_run_eagerly", "_saved_model_arg_spec", "_saved_model_inputs_spec", "_setattr_tracking",
    "_stateful", "_steps_per_execution", "_steps_per_execution_tuner", "_supports_masking", "_tensor_usage_count",
    "_test_counter", "_thread_local", "_train_counter", "_trainable", "_trainable_weights", "_training_state",
    "_updates", "_use_legacy_config", "built", "compiled_loss", "compiled_metrics", "history", "input_names", "inputs",
    "output_names", "outputs", "predict_function", "stop_training", "test_function", "train_function",
    "train_tf_function",
    # What a variational layer drew in its last call.
    "bias_posterior_tensor", "kernel_posterior_affine", "kernel_posterior_affine_tensor", "kernel_posterior_tensor",
})
_OF_MODULES = frozenset({
    "_cached_batch_shapes", "_constructor_name_scope", "_defer_all_assertions", "_graph_parents",
    "_initial_parameter_control_dependencies", "_name", "_name_scope", "_parameters", "_parameters_sanitized",
    "_single_sample_distributions", "_cache", "_cached_method_return", "_pinned_cache",
})
_OF_OPTIMIZERS = frozenset({
    "_built", "_deferred_slot_restorations", "_distribution_strategy", "_hypers_created", "_index_dict", "_mesh",
    "_run_with_dtensor", "_sharded_variable_builders", "_slots", "_variables", "_weights", "jit_compile",
})
_OF_INITIALIZERS = frozenset({"_random_generator", "_used"})
# fmt: on
_BOOKKEEPING = (
    (tfk.layers.Layer, _OF_KERAS),
    (tf.Module, _OF_MODULES),
    ((tfk.optimizers.Optimizer, tfk.optimizers.legacy.Optimizer), _OF_OPTIMIZERS),
    (tfk.initializers.Initializer, _OF_INITIALIZERS),
)
T = TypeVar("T")


def cached_by_class(function: Callable[[type], T]) -> Callable[[type], T]:
    """Remember what a function returns for a class."""
    return functools.lru_cache(maxsize=4096)(function)


_HIDDEN_PREFIXES = ("_self_", "_keras_probckpt", "__")
_MOST_OBJECTS = 200_000


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """One object on the walk.

    Attributes:
        path: The names that lead to it from the model.
        item: The object.
        children: What it holds, by name.
    """

    path: tuple[str, ...]
    item: Any
    children: Mapping[str, Any]


def walk(roots: Mapping[str, Any]) -> Iterator[Place]:
    """Give each object that holds others once, by its shortest path, breadth first.

    Args:
        roots: Where to begin, by the first name of the paths; the model itself is at the name `""`.
    """
    pending = collections.deque((() if not name else (name,), root) for name, root in roots.items())
    seen = {id(root) for root in roots.values()}
    while pending and len(seen) < _MOST_OBJECTS:
        path, item = pending.popleft()
        children = children_of(item)
        if children is None:
            continue
        yield Place(path, item, children)
        for name, child in children.items():
            if id(child) not in seen and not is_atom(child):
                seen.add(id(child))
                pending.append(((*path, name), child))


def children_of(item: Any) -> Mapping[str, Any] | None:
    """Give what an object holds, by name; None for what is taken whole, such as a number or a variable."""
    if is_atom(item) or isinstance(item, tf.Variable):
        return None
    found = _all_children(item)
    return None if found is None else {name: child for name, child in found.items() if not _is_opaque(child)}


def child_of(item: Any, name: str) -> Any:
    """Give what an object holds under a name.

    Raises:
        KeyError: If it holds nothing under it.
    """
    children = children_of(item)
    if children is None:
        raise KeyError(name)
    return children[name]


def _all_children(item: Any) -> Mapping[str, Any] | None:  # noqa: PLR0911 - one for each kind
    items = member(item, "__wrapped__", item) if isinstance(item, (dict, tuple, list)) else item
    if isinstance(items, Mapping):
        return {str(key): value for key, value in items.items()}
    if isinstance(items, (list, tuple, collections.deque)):
        return {str(index): value for index, value in enumerate(items)}
    if isinstance(item, types.FunctionType):
        return _held_by_function(item)
    if isinstance(item, types.MethodType):
        return {"self": item.__self__, "function": item.__func__}
    if isinstance(item, functools.partial):
        return {"func": item.func, "args": item.args, "keywords": item.keywords}
    if is_of_library(type(item)) and not isinstance(item, FOLLOWED_OF_LIBRARIES):
        attributes = _attributes(item)
        return attributes if type(item).__module__ in ("types", "argparse", "collections") else None
    return {**_attributes(item), **_class_attributes(item), **_layers_in_order(item)}


def _held_by_function(function: types.FunctionType) -> dict[str, Any]:
    names = function.__code__.co_freevars
    cells = zip(names, function.__closure__ or (), strict=True)
    return {name: content for name, cell in cells if name != "__class__" for content in _contents(cell)}


def _contents(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # Not filled yet.
        return []


def _attributes(item: Any) -> dict[str, Any]:
    left_out = bookkeeping_of(type(item))
    found = {
        name: value
        for name, value in _own_dict(item).items()
        if name not in left_out and not name.startswith(_HIDDEN_PREFIXES)
    }
    slots = {name: member(item, name, _ABSENT) for name in _slots_of(type(item))}
    return {**found, **{name: value for name, value in slots.items() if value is not _ABSENT}}


_ABSENT = object()


def _own_dict(item: Any) -> Mapping[str, Any]:
    try:
        attributes: Mapping[str, Any] = vars(item)
    except TypeError:  # It has none.
        return {}
    return attributes


@cached_by_class
def bookkeeping_of(cls: type) -> frozenset[str]:
    """Name the attributes in which objects of a class keep what is of no meaning to another process."""
    names: frozenset[str] = frozenset()
    for kind, of_kind in _BOOKKEEPING:
        if issubclass(cls, kind):
            names |= of_kind
    return names


@cached_by_class
def _slots_of(cls: type) -> tuple[str, ...]:
    if is_of_library(cls):
        return ()
    declared = [vars(base).get("__slots__", ()) for base in cls.__mro__]
    names = [name for slots in declared for name in ((slots,) if isinstance(slots, str) else slots)]
    return tuple(name for name in names if not name.startswith("__"))


def _class_attributes(item: Any) -> dict[str, Any]:
    """Give the data that the user's classes of an object hold and that it has not itself."""
    own = _own_dict(item)
    return {name: value for name, value in _class_data(type(item)) if name not in own}


def _class_data(cls: type) -> list[tuple[str, Any]]:
    return [(name, vars(base)[name]) for base, names in reversed(class_data_of(cls)) for name in names]


def class_data_of(cls: type) -> list[tuple[type, list[str]]]:
    """Name the data that the user's classes among the bases of a class hold, by base, the class itself first."""
    found = [
        (base, [name for name, value in list(vars(base).items()) if _is_class_data(name, value)])
        for base in _users_bases(cls)
    ]
    return [(base, names) for base, names in found if names]


@cached_by_class
def _users_bases(cls: type) -> tuple[type, ...]:
    return tuple(base for base in cls.__mro__ if not is_of_library(base))


def _is_class_data(name: str, value: Any) -> bool:
    if name.startswith(("__", "_abc_")) or callable(value) or hasattr(type(value), "__get__"):
        return False
    return isinstance(value, (*_ATOMS, list, tuple, dict, tf.Tensor)) and not isinstance(
        value, (type, types.MappingProxyType)
    )


def _layers_in_order(item: Any) -> dict[str, Any]:
    """Give the layers of a Sequential or Functional model, which keeps them among its bookkeeping."""
    return {f"layer-{index}": layer for index, layer in enumerate(item.layers)} if is_graph_network(item) else {}


def is_graph_network(item: Any) -> bool:
    """Whether an object is a Sequential or Functional model, or of a class that derives from one."""
    return isinstance(item, tfk.Sequential) or (isinstance(item, tfk.Model) and bool(item._is_graph_network))


def is_atom(value: Any) -> bool:
    """Whether a value is taken whole: a number, text, an array, a tensor that has a value, a class."""
    return isinstance(value, (*_ATOMS, tf.Tensor))


def is_symbolic(value: Any) -> bool:
    """Whether a value is a tensor of a graph, which has no value of its own."""
    if isinstance(value, tf.Tensor):
        return not hasattr(value, "numpy")
    return bool(tf.is_tensor(value) and tf.is_symbolic_tensor(value))


def is_tracked(value: Any) -> bool:
    """Whether a value is a variable, a layer or an optimizer: it comes back by another way."""
    return isinstance(value, _TRACKED)


def is_of_library(value: Any) -> bool:
    """Whether a class or function is one of Python's, numpy's, TensorFlow's, Keras's or TFP's, or ours."""
    module = member(value, "__module__") or type(value).__module__  # A ufunc of numpy has none.
    package = str(module).partition(".")[0]
    return package in _LIBRARIES or package in _STANDARD


def _is_opaque(value: Any) -> bool:
    if isinstance(value, _OPAQUE):
        return True
    if isinstance(value, tf.Tensor):
        return not hasattr(value, "numpy")
    return type(value).__module__ in _OPAQUE_MODULES or type(value).__name__ == "KerasTensor"


_OPAQUE_MODULES = frozenset({"_thread", "threading", "_io", "weakref", "_weakref", "multiprocessing.synchronize"})
