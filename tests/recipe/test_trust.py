from __future__ import annotations

import pathlib
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest
import tf_keras as tfk

from keras_probckpt import ProbModelMixin, builder
from keras_probckpt.errors import CheckpointError, MalformedRecipeError, UntrustedCheckpointError
from keras_probckpt.recipe.document import RecipeReader
from keras_probckpt.recipe.trust import Trust
from keras_probckpt.records import SignatureState
from tests.recipe.hostility import hostile_pickle, import_of, known
from tests.recipe.journeys import described, read, trust_of, written

NOT_OWN: list[SignatureState] = ["foreign", "unsigned"]


@pytest.fixture
def package(tmp_path: pathlib.Path, canary: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a package whose import has a side effect; its modules are forgotten afterwards."""
    home = tmp_path / "imports" / "strangepkg"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text(f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n")
    models = ["import os", "from strangepkg import other as neighbour", "def build(units=1):", "    return units"]
    (home / "models.py").write_text("\n".join(models) + "\n")
    (home / "other.py").write_text("def foreign():\n    return 1\n")
    monkeypatch.syspath_prepend(str(home.parent))
    for name in ("strangepkg", "strangepkg.models", "strangepkg.other"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "strangepkg"


@pytest.mark.parametrize("signature", NOT_OWN)
@pytest.mark.parametrize("trusted", [None, False, [], ["strange"], ["strangepkg.other"], ["strangepkg.models.build"]])
def test_a_module_that_is_not_trusted_is_not_even_imported(
    package: str, canary: pathlib.Path, *, signature: SignatureState, trusted: Any
) -> None:
    """Its import runs code too."""
    with pytest.raises(UntrustedCheckpointError) as caught:
        read(import_of("strangepkg.models", "build"), trust=trust_of(signature, trusted=trusted))

    assert caught.value.requirements == ("import strangepkg.models.build",)
    assert caught.value.allow == "trusted=['strangepkg.models']"
    assert "strangepkg" not in sys.modules
    assert not canary.exists()


@pytest.mark.parametrize(
    ("signature", "trusted"),
    [
        ("own", None),
        ("own", []),
        ("unsigned", True),
        ("foreign", True),
        ("unsigned", ["strangepkg.models"]),
        ("foreign", ["strangepkg"]),
        ("unsigned", ("numpy", "strangepkg")),
    ],
)
def test_a_module_that_is_trusted_is_imported(package: str, *, signature: SignatureState, trusted: Any) -> None:
    """By one's own signature, by `True`, by its name or by that of its package."""
    found = read(import_of("strangepkg.models", "build"), trust=trust_of(signature, trusted=trusted))

    assert found(units=3) == 3


@pytest.mark.parametrize(
    "name", ["os.system", "os.mkdir", "neighbour.foreign", "build.__globals__", "absent", "__doc__"]
)
@pytest.mark.parametrize("trusted", [["strangepkg.models"], True])
def test_what_a_trusted_module_merely_imports_is_not_its_own(package: str, name: str, *, trusted: Any) -> None:
    """Trust in a module is no trust in the `os` it uses."""
    with pytest.raises(MalformedRecipeError, match="does not define"):
        read(import_of("strangepkg.models", name), trust=trust_of("unsigned", trusted=trusted))


def test_a_function_that_moved_is_found_where_it_was(package: str) -> None:
    """In one's own checkpoint: the module that defined it then imports it now."""
    found = read(import_of("strangepkg.models", "neighbour.foreign"), trust=trust_of("own"))

    assert found() == 1


@pytest.mark.parametrize(
    ("module", "name"),
    [("os", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("tf_keras.models", "load_model"), ("", "")],
)
@pytest.mark.parametrize("signature", NOT_OWN)
def test_that_a_module_is_imported_already_is_no_reason_to_trust_it(
    module: str, name: str, *, signature: SignatureState
) -> None:
    """All of these are."""
    with pytest.raises(UntrustedCheckpointError):
        read(import_of(module, name), trust=trust_of(signature, trusted=["numpy"]))


@pytest.mark.parametrize("trusted", [None, ["__main__"], ["tests", "tests.recipe.test_trust"], False])
@pytest.mark.parametrize("signature", NOT_OWN)
def test_a_pickle_is_not_read_for_the_name_of_a_module(
    canary: pathlib.Path, *, signature: SignatureState, trusted: Any
) -> None:
    """What a pickle calls itself is its author's word: only `trusted=True` allows it."""
    node = {"$": "pickle", "index": 0, "module": "tests.recipe.test_trust", "name": "f", "source": "def f(): pass"}

    def read_code() -> bytes:
        canary.touch()
        return hostile_pickle(canary)

    with pytest.raises(UntrustedCheckpointError) as caught:
        read(node, trust=trust_of(signature, trusted=trusted, code=read_code))
    assert caught.value.allow == "trusted=True"
    assert not canary.exists()


@pytest.mark.parametrize(("signature", "trusted"), [("own", None), ("unsigned", True), ("foreign", True)])
def test_a_pickle_is_read_where_the_checkpoint_is_trusted(*, signature: SignatureState, trusted: Any) -> None:
    """One's own, or one that the caller vouches for."""
    stored = written(lambda x: x + 1)

    function = stored.read(trust_of(signature, trusted=trusted, code=stored.code or b""))

    assert function(1) == 2


@pytest.mark.parametrize(
    "node",
    [
        {"$": "pickle", "index": 7, "module": "m", "name": "f"},
        {"$": "pickle", "index": -1, "module": "m", "name": "f"},
        {"$": "pickle", "index": True, "module": "m", "name": "f"},
        {"$": "pickle", "module": "m", "name": "f"},
        {"$": "import", "name": "f"},
        {"$": "import", "module": "math"},
        {"$": "import", "module": 3, "name": "f"},
        {"$": "import", "module": "", "name": ""},
        {"$": "import", "module": "..", "name": "f"},
        {"$": "import", "module": "no_such_module", "name": "f"},
        {"$": "import", "module": "math", "name": "pi"},
        {"$": "import", "module": "math", "name": ""},
    ],
    ids=str,
)
def test_a_reference_to_nothing_is_malformed(node: dict[str, Any]) -> None:
    """Where everything is trusted, it is still an error of ours."""
    code = written(lambda: 1).code

    with pytest.raises(MalformedRecipeError):
        read(node, trust=trust_of("own", code=code or b""))


@pytest.mark.parametrize(
    "code", [b"", b"\x80", b"nonsense", pickle.dumps(3), pickle.dumps([1]), pickle.dumps([b"\x80"])]
)
def test_a_file_of_code_that_is_no_such_file_is_malformed(code: bytes) -> None:
    """Whatever is in it."""
    with pytest.raises(MalformedRecipeError):
        read({"$": "pickle", "index": 0, "module": "m", "name": "f"}, trust=trust_of("own", code=code))


def test_a_string_is_not_taken_for_a_list_of_modules() -> None:
    """`trusted="mypkg"` would be five modules of one letter."""
    with pytest.raises(TypeError, match=r"write trusted=\['mypkg'\]"):
        trust_of("unsigned", trusted="mypkg")


@pytest.mark.parametrize("key", ["strangepkg.models.build", "build"])
@pytest.mark.parametrize("kind", ["import", "pickle"])
def test_what_the_caller_gives_is_taken_instead(package: str, canary: pathlib.Path, *, key: str, kind: str) -> None:
    """By full or last name, with no trust at all, and nothing is imported or unpickled."""
    node = {"$": kind, "index": 0, "module": "strangepkg.models", "name": "build", "source": "def build(): ..."}
    given = dict

    found = read(node, trust=trust_of("unsigned", custom_objects={key: given}, code=hostile_pickle(canary)))

    assert found is given
    assert not canary.exists()


def test_what_is_refused_is_listed_whole() -> None:
    """One look shows all that a checkpoint asks for; what is allowed or given is not in it."""
    nodes = [
        import_of("mypkg.models", "Net"),
        {"deep": [import_of("mypkg.models", "Net"), import_of("mypkg.losses", "nll")]},
        import_of("numpy.linalg", "norm"),
        {"$": "pickle", "index": 0, "module": "__main__", "name": "<lambda>", "source": "lambda: 1"},
        import_of("other", "given"),
    ]

    with pytest.raises(UntrustedCheckpointError) as caught:
        trust_of("foreign", trusted=["numpy"], custom_objects={"given": dict}).check(nodes)

    assert caught.value.requirements == (
        "import mypkg.models.Net",
        "import mypkg.losses.nll",
        "unpickle __main__.<lambda>",
    )
    assert caught.value.allow == "trusted=True"
    assert "signed with a key that is not one of yours" in caught.value.reason


class Registered(ProbModelMixin, tfk.Model):
    """A model whose class is found in the registry."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.dense = tfk.layers.Dense(units)

    def call(self, inputs: Any) -> Any:
        """Apply the layer."""
        return self.dense(inputs)


@builder
def registered_builder(units: int) -> tfk.Model:
    """Build a model; found in the registry."""
    return tfk.Sequential([tfk.layers.Dense(units, input_shape=(2,))])


@pytest.mark.parametrize("make", [Registered, registered_builder])
def test_what_user_code_registered_needs_no_trust(make: Callable[[int], tfk.Model]) -> None:
    """The caller's own process defined it and said so."""
    recipe = described(make(3))
    reader = RecipeReader(recipe.document, arrays=recipe.arrays, trust=trust_of("unsigned"))

    model = reader.build(None)

    assert type(model) is type(make(3))


class RegisteredLambda(ProbModelMixin, tfk.layers.Lambda):
    """A layer whose base makes functions of text."""


@pytest.mark.parametrize("signature", NOT_OWN)
def test_a_registered_lambda_layer_needs_trust_all_the_same(signature: SignatureState) -> None:
    """Its arguments come from the file, and it may hand any of them on to where text becomes a function."""
    model = tfk.Sequential([RegisteredLambda(tfk.activations.relu)])
    recipe = described(model)
    reader = RecipeReader(recipe.document, arrays=recipe.arrays, trust=trust_of(signature))

    with pytest.raises(UntrustedCheckpointError, match=r"import tests\.recipe\.test_trust\.RegisteredLambda"):
        reader.build(None)


@pytest.mark.parametrize("source", ["class Registered: pass", ""])
def test_a_registered_name_with_other_code_is_not_the_recorded_one(canary: pathlib.Path, source: str) -> None:
    """Another script may use the same name for another thing: a source must be recorded, and agree."""
    node = {"$": "pickle", "index": 0, "module": __name__, "name": "Registered", "source": source}

    with pytest.raises(UntrustedCheckpointError):
        read(node, trust=trust_of("unsigned", code=hostile_pickle(canary)))
    assert not canary.exists()


def test_what_needs_trust_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not half a model in, with some of its layers made."""
    made: list[str] = []
    monkeypatch.setattr(tfk.layers.Dense, "__init__", lambda self, *args, **kwargs: made.append("Dense"), raising=True)
    layers = [{"$": "keras", "class": known("tf_keras.layers.Dense"), "arguments": {"units": 1}}, import_of("m", "f")]
    document = {"model": {"$": "sequential", "name": "m", "layers": layers}, "calls": [], "compile": {}}

    with pytest.raises(UntrustedCheckpointError):
        RecipeReader(document, arrays={}, trust=trust_of("unsigned")).build(None)
    assert made == []


def test_the_arguments_of_a_builder_need_trust_too(canary: pathlib.Path) -> None:
    """A builder given by the caller stands for the recorded one, not for what goes into it."""
    node = {"$": "build", "class": import_of("m", "f"), "arguments": {"units": import_of("os", "mkdir")}}
    document = {"model": node, "calls": [], "compile": {}}

    with pytest.raises(UntrustedCheckpointError) as caught:
        RecipeReader(document, arrays={}, trust=trust_of("unsigned")).build(registered_builder)
    assert caught.value.requirements == ("import os.mkdir",)


def test_a_builder_of_the_callers_needs_no_trust() -> None:
    """It replaces what the recipe would import, and gets the recorded arguments."""
    node = {"$": "build", "class": import_of("m", "f"), "arguments": {"units": 3}}
    document = {"model": node, "calls": [], "compile": {}}

    model = RecipeReader(document, arrays={}, trust=trust_of("unsigned")).build(registered_builder)

    assert model.output_shape == (None, 3)


@pytest.mark.parametrize("document", [None, [], "model", 3, {}, {"model": None}, {"model": [1]}, {"model": {"a": 1}}])
def test_a_document_that_is_no_recipe_is_an_error_of_ours(document: Any) -> None:
    """JSON of any other shape."""
    with pytest.raises(CheckpointError):
        RecipeReader(document, arrays={}, trust=trust_of("own")).build(None)


def test_trust_reads_the_code_only_when_it_is_asked_for() -> None:
    """A recipe without pickled functions never opens the file."""

    def read_code() -> bytes:
        pytest.fail("code.pickle was read")

    trust: Trust = trust_of("own", code=read_code)

    assert read([1, known("tf.math.abs")], trust=trust)[0] == 1


@pytest.mark.parametrize(
    ("compiles", "allow"), [(True, "trusted=['mypkg.losses', 'mypkg.models']"), (False, "trusted=['mypkg.models']")]
)
def test_one_refusal_names_all_that_must_be_allowed(compiles: bool, allow: str) -> None:  # noqa: FBT001 - a table's column
    """To allow what the model asks for and then be refused for its loss would be to ask twice."""
    model = {"$": "import", "module": "mypkg.models", "name": "build"}
    loss = {"$": "import", "module": "mypkg.losses", "name": "score"}
    document = {"model": model, "compile": {"arguments": {"loss": loss}}}
    reader = RecipeReader(document, arrays={}, trust=trust_of("foreign"))

    with pytest.raises(UntrustedCheckpointError) as caught:
        reader.require_trust(compiles=compiles)

    assert caught.value.allow == allow


def typed(text: str, monkeypatch: pytest.MonkeyPatch, **names: Any) -> Any:
    """Define something at the prompt of this script: its text is nowhere."""
    module = sys.modules["__main__"]
    for name in ("Typed", *names):
        monkeypatch.setattr(module, name, names.get(name), raising=False)
    exec(compile(text, "<stdin>", "exec"), vars(module))  # noqa: S102 - the texts of these tests
    return vars(module)["Typed"]


TYPED = "class Typed:\n    def apply(self, x):\n        return x * FACTOR\n"


def test_another_class_of_the_name_never_stands_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of them has a text that could be compared; the user is told that there are two."""
    stored = written(typed(TYPED, monkeypatch, FACTOR=3))
    other = typed(TYPED.replace("* FACTOR", "+ FACTOR"), monkeypatch, FACTOR=3)

    found = stored.read()

    assert found is not other
    assert found().apply(2) == 6
    assert "they differ in apply. The saved one is taken." in caplog.text
    assert "custom_objects={'Typed': Typed}" in caplog.text


def test_a_class_that_reads_another_global_does_not_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text is the same; FACTOR was set in another cell."""
    stored = written(typed(TYPED, monkeypatch, FACTOR=3))
    typed(TYPED, monkeypatch, FACTOR=100)

    assert stored.read()().apply(2) == 6


@pytest.mark.parametrize("text", [TYPED, TYPED + "    def more(self): return 1\n"])
def test_a_class_that_does_the_same_stands_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    """A cell was run again, or a method added to it: the objects are of the class that the script knows."""
    stored = written(typed(TYPED, monkeypatch, FACTOR=3))
    again = typed(text, monkeypatch, FACTOR=3)

    assert stored.read() is again
    assert caplog.text == ""


def test_a_restore_changes_nothing_of_a_class_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is the one that was saved: an attribute of it was set since."""
    live = typed("class Typed:\n    SCALE = 1\n", monkeypatch)
    stored = written(live)
    live.SCALE = 2

    found = stored.read()

    assert found.SCALE == 1
    assert live.SCALE == 2
