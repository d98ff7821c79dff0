from __future__ import annotations

import importlib.util
import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from keras_probckpt.recipe.importing import is_importable
from tests.recipe.journeys import written

TEXT = """
FACTOR = 3

def helper(x):
    return x * FACTOR

class Scale:
    def apply(self, x):
        return helper(x)
"""


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what takes a module away, as it is in another process; it is put away at the end in any case."""

    def forget(name: str) -> None:
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.delitem(sys.modules, name)

    return forget


def loaded_by_path(path: pathlib.Path) -> types.ModuleType:
    """Load a file as scripts do whose folder is not on the path."""
    path.write_text(TEXT)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def made_in_memory(path: pathlib.Path) -> types.ModuleType:
    """Make a module of no file at all."""
    module = types.ModuleType(path.stem)
    exec(TEXT, vars(module))  # noqa: S102 - the text above
    sys.modules[path.stem] = module
    return module


@pytest.mark.parametrize("make", [loaded_by_path, made_in_memory])
@pytest.mark.parametrize("name", ["Scale", "helper"])
def test_what_only_this_process_can_import_travels_by_value(
    tmp_path: pathlib.Path, forget: Callable[[str], None], make: Callable[[pathlib.Path], Any], name: str
) -> None:
    """With what it uses of its module: another process has no such module."""
    value = getattr(make(tmp_path / "nowhere.py"), name)

    stored = written(value)
    forget("nowhere")

    found = stored.read()
    assert stored.node["$"] == "pickle"
    assert "nowhere" not in sys.modules
    assert (found().apply(2) if name == "Scale" else found(2)) == 6


def test_a_lambda_takes_what_only_this_process_can_import_along(
    tmp_path: pathlib.Path, forget: Callable[[str], None]
) -> None:
    """By whatever way it names it: the module or what is in it."""
    module = loaded_by_path(tmp_path / "nowhere.py")
    scale = module.Scale()

    stored = written({"a": lambda x: module.helper(x + 0), "b": lambda x: scale.apply(x + 0)})
    forget("nowhere")

    assert [stored.read()[key](2) for key in ("a", "b")] == [6, 6]


def test_a_module_whose_name_stands_for_another_file_is_not_importable(
    tmp_path: pathlib.Path, forget: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh process would take the other for it."""
    (tmp_path / "on_path").mkdir()
    (tmp_path / "on_path" / "nowhere.py").write_text("class Scale: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path / "on_path"))
    loaded_by_path(tmp_path / "nowhere.py")

    is_found = is_importable("nowhere")
    forget("nowhere")

    assert not is_found


@pytest.mark.parametrize("name", ["numpy", "numpy.linalg", "os.path", "sys", "tests.recipe.test_importing", "xml"])
def test_what_is_found_on_the_path_is_importable(name: str) -> None:
    """Whatever finds it: a file, a package, the interpreter itself."""
    __import__(name)

    assert is_importable(name)


class OfAWorker:
    """Stand for a class of the main script, which a spawned worker has under a name of its own."""


def test_a_class_of_a_spawned_workers_script_travels_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """`__mp_main__` is in every worker, and in each it is that worker's own script."""
    worker = types.ModuleType("__mp_main__")
    worker.OfAWorker = OfAWorker  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__mp_main__", worker)
    monkeypatch.setattr(OfAWorker, "__module__", "__mp_main__")

    stored = written(OfAWorker)
    monkeypatch.delitem(sys.modules, "__mp_main__")

    assert stored.node["$"] == "pickle"
    assert stored.read().__doc__ == OfAWorker.__doc__
