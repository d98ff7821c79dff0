"""Bugs that would lose or betray a checkpoint, each planted in a copy of the tree: some test must notice it.

    python -m tests.faults.planted_bugs [words of some of their names]

Prints each bug and the test that caught it. The exit code is 0 when none got through.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import tempfile

from tests.conftest import CHECKOUT

WORKERS = 2
TIMEOUT_SECONDS = 600
_IGNORED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
_FAILED = re.compile(r"^FAILED (.+?)(?: - |$)", re.MULTILINE)

STORAGE = "keras_probckpt/storage"
FORMAT = "keras_probckpt/format"
RECIPE = "keras_probckpt/recipe"
POLICY = "keras_probckpt/policy"

POWER_CUT = "tests/faults/test_power_cut.py"
SYSTEM_CALLS = "tests/faults/test_system_calls.py"
BIT_ROT = "tests/faults/test_bit_rot.py"
FOREIGN = "tests/faults/test_foreign_files.py"


@dataclasses.dataclass(frozen=True)
class Bug:
    """A patch of one file.

    Attributes:
        name: What is wrong with it.
        file: The file.
        old: Text that is there exactly once.
        new: What is there instead.
        tests: What must fail, as arguments of pytest.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def patched(self, source: str) -> str:
        """Plant it.

        Raises:
            ValueError: If the text is not there exactly once.
        """
        if source.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} holds {source.count(self.old)} times {self.old!r}")
        return source.replace(self.old, self.new)


BUGS = (
    Bug(
        "a file of a checkpoint is not synced",
        f"{STORAGE}/committing.py",
        '            filesystem.sync(f"{staged}/{file}")\n',
        "            pass\n",
        (f"{POWER_CUT}", "-k", "power_cut_at_any_operation"),
    ),
    Bug(
        "the directory of a checkpoint is not synced before its rename",
        f"{STORAGE}/committing.py",
        "    filesystem.sync(staged)\n",
        "",
        (POWER_CUT, "-k", "power_cut_at_any_operation"),
    ),
    Bug(
        "the run directory is not synced after a commit",
        f"{STORAGE}/committing.py",
        '    _move(filesystem, staged, name, undo=undo)\n    filesystem.sync("")\n',
        "    _move(filesystem, staged, name, undo=undo)\n",
        (SYSTEM_CALLS,),
    ),
    Bug(
        "a removal deletes before its rename is durable",
        f"{STORAGE}/removal.py",
        '    filesystem.sync("")\n    return hidden\n',
        "    return hidden\n",
        (POWER_CUT, "-k", "power_cut_at_any_operation"),
    ),
    Bug(
        "an undone commit deletes before the undoing is durable",
        f"{STORAGE}/committing.py",
        '        filesystem.sync("")\n        filesystem.remove(staged)\n',
        "        filesystem.remove(staged)\n",
        (POWER_CUT, "-k", "power_cut_at_any_operation"),
    ),
    Bug(
        "sync of a file or directory opens it and does no more",
        f"{STORAGE}/filesystem.py",
        "        _flush(descriptor)\n",
        "        pass\n",
        (SYSTEM_CALLS,),
    ),
    Bug(
        "the directories above a new run are not synced",
        f"{STORAGE}/filesystem.py",
        "        _sync(directory.parent)\n",
        "        pass\n",
        ("tests/storage/test_filesystem.py",),
    ),
    Bug(
        "the directory of a new key is not synced",
        f"{STORAGE}/keys.py",
        '        LocalFileSystem(directory).sync("")\n',
        "        pass\n",
        (SYSTEM_CALLS,),
    ),
    Bug(
        "a checkpoint is removed before its replacement is committed",
        f"{STORAGE}/committing.py",
        "        _move(filesystem, name, displaced, undo=undo)\n",
        "        filesystem.remove(name)\n",
        (POWER_CUT, "-k", "killed_at_any_operation"),
    ),
    Bug(
        "a checkpoint is deleted where it is listed",
        f"{STORAGE}/removal.py",
        "            filesystem.rename(name, removed)\n            hidden.append(removed)\n",
        "            filesystem.remove(name)\n",
        (POWER_CUT, "-k", "killed_at_any_operation"),
    ),
    Bug(
        "a checkpoint is written where it is listed",
        f"{STORAGE}/store.py",
        '        staged = str(make_hidden_name(name, role="partial"))\n',
        '        staged = f"{name}-new"\n',
        (POWER_CUT, "-k", "killed_at_any_operation"),
    ),
    Bug(
        "a commit that failed does not put the old one back",
        f"{STORAGE}/committing.py",
        "        filesystem.rename(target, source)\n",
        "        pass\n",
        ("tests/storage/test_crashes.py",),
    ),
    Bug(
        "what was moved aside is never found again",
        f"{STORAGE}/listing.py",
        "    return {**displaced_names(names), **visible}\n",
        "    return visible\n",
        (POWER_CUT, "-k", "killed_at_any_operation"),
    ),
    Bug(
        "a checkpoint that is replaced during a listing is left out",
        f"{STORAGE}/listing.py",
        "        if directories == before and not _appeared(filesystem, directories, outcomes, keys=keys):\n",
        "        if directories == before:\n",
        ("tests/storage/test_reading.py",),
    ),
    Bug(
        "a digest is not compared",
        f"{STORAGE}/checked_file.py",
        "        if found != recorded:\n",
        "        if False:\n",
        (BIT_ROT,),
    ),
    Bug(
        "a size is not compared",
        f"{STORAGE}/filesystem.py",
        "            if found_bytes != size_bytes:\n",
        "            if found_bytes < size_bytes:\n",
        (BIT_ROT,),
    ),
    Bug(
        "the seal of a manifest is not compared",
        f"{FORMAT}/manifest.py",
        "    if seal != expected:\n",
        "    if False:\n",
        (BIT_ROT,),
    ),
    Bug(
        "a damaged manifest is left out in silence",
        f"{STORAGE}/listing.py",
        "    damaged = tuple(outcome for outcome in outcomes.values() if isinstance(outcome, UNREADABLE))\n",
        "    damaged: tuple[Unreadable, ...] = ()\n",
        (BIT_ROT, "-k", "no_longer_the_file"),
    ),
    Bug(
        "a reader waits for a FIFO",
        f"{STORAGE}/filesystem.py",
        ' | getattr(os, "O_NONBLOCK", 0)',
        "",
        (BIT_ROT, "-k", "fifo"),
    ),
    Bug(
        "a write that the kernel took in part is taken for done",
        f"{STORAGE}/filesystem.py",
        "        view = view[file.write(view) :]\n",
        "        file.write(view)\n        return\n",
        ("tests/storage/test_filesystem.py",),
    ),
    Bug(
        "a name may leave the run directory",
        f"{STORAGE}/filesystem.py",
        '            if part in {"", ".", ".."} or',
        "            if",
        ("tests/storage/test_filesystem.py",),
    ),
    Bug(
        "a directory may be a link to elsewhere",
        f"{STORAGE}/filesystem.py",
        "            path /= part\n            if path.is_symlink():\n",
        "            path /= part\n            if False:\n",
        ("tests/storage/test_filesystem.py",),
    ),
    Bug(
        "a manifest may name a file elsewhere",
        f"{FORMAT}/manifest_body.py",
        "        if not _is_plain(name):\n",
        "        if False:\n",
        ("tests/format/test_manifest_body.py",),
    ),
    Bug(
        "a manifest may name two files that some file systems take for one",
        f"{FORMAT}/manifest_body.py",
        "        if other != name or name == MANIFEST_NAME:\n",
        "        if False:\n",
        ("tests/format/test_manifest_body.py",),
    ),
    Bug(
        "a key may stand twice in a document",
        f"{FORMAT}/strict_json.py",
        "        if key in unique:\n",
        "        if False:\n",
        ("tests/format/test_strict_json.py",),
    ),
    Bug(
        "a document may be nested without end",
        f"{FORMAT}/strict_json.py",
        "    if max(depths, default=0) > LIMIT_DEPTH:\n",
        "    if False:\n",
        ("tests/format/test_strict_json.py",),
    ),
    Bug(
        "a header may be as long as it says",
        f"{FORMAT}/tensor_header.py",
        "    if length > LIMIT_HEADER_BYTES:\n",
        "    if False:\n",
        ("tests/format/test_tensor_header.py",),
    ),
    Bug(
        "arrays of a file may overlap",
        f"{FORMAT}/tensor_header.py",
        "    _require_full_cover(entries, data_start=data_start, size_bytes=size_bytes)\n",
        "",
        ("tests/format/test_tensor_header.py",),
    ),
    Bug(
        "a newer format is read as if it were this one",
        f"{FORMAT}/manifest.py",
        "    if found > FORMAT_VERSION:\n",
        "    if False:\n",
        ("tests/format/test_manifest.py",),
    ),
    Bug(
        "a signature is not compared",
        f"{FORMAT}/manifest.py",
        "    if not key.verify(envelope.body, signature=signature):\n",
        "    if False:\n",
        ("tests/format/test_manifest.py",),
    ),
    Bug(
        "a signature of the file's own key counts as one's own",
        f"{FORMAT}/manifest.py",
        '        return "foreign"\n',
        '        return "own"\n',
        ("tests/format/test_manifest.py",),
    ),
    Bug(
        "others may read a new key",
        f"{STORAGE}/keys.py",
        "os.O_EXCL, 0o600)",
        "os.O_EXCL, 0o644)",
        ("tests/storage/test_keys.py",),
    ),
    Bug(
        "a sweep takes what a living writer is at",
        f"{STORAGE}/removal.py",
        "    if not is_alone and hidden.has_live_writer():\n",
        "    if False:\n",
        ("tests/storage/test_sweep.py",),
    ),
    Bug(
        "a sweep deletes a directory with a user's file in it",
        f"{STORAGE}/removal.py",
        " or not holds_only_files_of_ours(filesystem, name):\n",
        ":\n",
        ("tests/storage/test_sweep.py",),
    ),
    Bug(
        "a removal deletes a user's file with the checkpoint",
        f"{STORAGE}/removal.py",
        "    if not foreign:\n",
        "    if True:\n",
        (FOREIGN,),
    ),
    Bug(
        "a user's directory is replaced like a checkpoint",
        f"{STORAGE}/committing.py",
        "    if problem:\n        raise FileExistsError(",
        "    if False:\n        raise FileExistsError(",
        ("tests/storage/test_store.py",),
    ),
    Bug(
        "a checkpoint of an older run makes room for a new one",
        f"{STORAGE}/committing.py",
        '    return "" if info.run == run and counts(info, keys=keys) else "not a checkpoint of this run"\n',
        '    return ""\n',
        ("tests/storage/test_store.py",),
    ),
    Bug(
        "what has another name than was signed counts",
        f"{STORAGE}/listing.py",
        "    return is_own and not is_renamed(info)\n",
        "    return is_own\n",
        ("tests/storage/test_strangers.py",),
    ),
    Bug(
        "what a stranger wrote counts",
        f"{STORAGE}/listing.py",
        '    is_own = info.signature == "own" or (',
        "    is_own = True or (",
        ("tests/storage/test_strangers.py",),
    ),
    Bug(
        "what is gone from the disk is never noticed",
        f"{STORAGE}/run.py",
        "        self._gone = tuple(info for name, info in known.items() if name not in names)\n",
        "        self._gone = ()\n",
        ("tests/storage/test_run_saves.py",),
    ),
    Bug(
        "a running writer of another thread gives way",
        f"{STORAGE}/run.py",
        "            if self._thread is not threading.current_thread() and self._thread.is_alive():\n",
        "            if False:\n",
        ("tests/storage/test_run.py",),
    ),
    Bug(
        "an interrupt leaves a lock that nobody knows of",
        f"{STORAGE}/lock.py",
        "                self._finish_release()\n            _close(file)\n            raise\n",
        "                self._finish_release()\n            raise\n",
        ("tests/storage/test_interrupts.py",),
    ),
    Bug(
        "another user's key is taken",
        f"{STORAGE}/keys.py",
        "    if status.st_uid not in {mine, 0}:",
        "    if False:",
        ("tests/storage/test_keys.py",),
    ),
    Bug(
        "control characters of a file reach the terminal",
        "keras_probckpt/shown.py",
        "    return character if is_plain and character.isprintable() else _escaped(character)\n",
        "    return character\n",
        ("tests/test_shown.py",),
    ),
    Bug(
        "the lock keeps nobody out",
        f"{STORAGE}/lock.py",
        "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "        pass\n",
        ("tests/storage/test_lock.py",),
    ),
    Bug(
        "a forked child frees its parent's lock",
        f"{STORAGE}/lock.py",
        "    os.register_at_fork(after_in_child=_forget_all)\n",
        "    pass\n",
        ("tests/storage/test_lock.py",),
    ),
    Bug(
        "a checkpoint that was replaced meanwhile is called damaged",
        f"{STORAGE}/store.py",
        "            if now is None or _identity(now) != _identity(info):\n",
        "            if False:\n",
        ("tests/storage/test_reading.py",),
    ),
    Bug(
        "a NaN is a score",
        f"{POLICY}/objective.py",
        "    if score is None or not math.isfinite(score):\n",
        "    if score is None:\n",
        ("tests/policy/test_objective.py",),
    ),
    Bug(
        "one less than the best k stay",
        f"{POLICY}/retention.py",
        "    wanted = [*rank(infos, objective)[: retention.save_top_k], *newest, *milestones]\n",
        "    wanted = [*rank(infos, objective)[: (retention.save_top_k or 0) - 1], *newest, *milestones]\n",
        ("tests/policy/test_retention.py",),
    ),
    Bug(
        "the newest does not stay",
        f"{POLICY}/retention.py",
        "    newest = _newest(infos, retention.save_last)\n",
        "    newest: list[AnyCheckpoint] = []\n",
        ("tests/policy/test_retention.py",),
    ),
    Bug(
        "training goes on from where it diverged",
        f"{POLICY}/resume_point.py",
        "    return sorted(newest_first, key=lambda info: not has_finite_loss(info))\n",
        "    return newest_first\n",
        ("tests/policy/test_resume_point.py",),
    ),
    Bug(
        "the last point before training diverged does not stay",
        f"{POLICY}/retention.py",
        "    if newest and not any(map(has_finite_loss, newest)):\n",
        "    if False:\n",
        ("tests/policy/test_retention.py",),
    ),
    Bug(
        "what is saved for a signal is dropped by the rules",
        f"{STORAGE}/run.py",
        "        if save.is_exempt:\n            return\n",
        "",
        ("tests/storage/test_run_saves.py",),
    ),
    Bug(
        "the best moves before the commit",
        f"{STORAGE}/run.py",
        "        info = self._store.commit(name, manifest=manifest, files=files)\n",
        "        from keras_probckpt.storage.listing import as_info\n"
        "        self._infos.append(as_info(manifest, path=str(self.directory / name), signature='own'))\n"
        "        info = self._store.commit(name, manifest=manifest, files=files)\n",
        ("tests/integration/test_failed_saves.py", "-k", "best_moves"),
    ),
    Bug(
        "a name is trusted because its module is imported",
        f"{RECIPE}/trust.py",
        '        found = find_registered(str(node.get("registered")), f"{module}>{name}")\n',
        '        found = find_registered(str(node.get("registered")), f"{module}>{name}")\n'
        "        found = found or _attribute(sys.modules.get(module), name)\n",
        ("tests/recipe/test_trust.py",),
    ),
    Bug(
        "an unsigned checkpoint is trusted",
        f"{RECIPE}/trust.py",
        '        self.trusts_all = trusted is True or info.signature == "own"\n',
        '        self.trusts_all = trusted is True or info.signature != "foreign"\n',
        ("tests/recipe/test_hostile.py",),
    ),
    Bug(
        "what a trusted module imports is trusted too",
        f"{RECIPE}/trust.py",
        "if found is None or not is_referable(found) or not is_its_own:\n",
        "if found is None or not is_referable(found):\n",
        ("tests/recipe/test_trust.py",),
    ),
    Bug(
        "Keras's instructions to import reach Keras",
        f"{RECIPE}/codec.py",
        "        if KERAS_INSTRUCTION in node:\n",
        "        if False:\n",
        ("tests/recipe/test_hostile.py",),
    ),
    Bug(
        "an object of a stranger's file is called",
        f"{RECIPE}/named.py",
        "        check_reference(node, where)\n",
        "",
        ("tests/recipe/test_strangers.py", "-k", "called_by_nobody"),
    ),
    Bug(
        "a stranger asks a value for any member",
        f"{RECIPE}/tf_operations.py",
        "(decoder.is_trusted and attribute.isidentifier())",
        "attribute.isidentifier()",
        ("tests/recipe/test_strangers.py", "-k", "called_by_nobody"),
    ),
    Bug(
        "a layer is called on what is no tensor",
        f"{RECIPE}/graphs.py",
        "    require_symbolic(positional, keywords, where, first=isinstance(layer, tf_op_layer.InstanceProperty))\n",
        "",
        ("tests/recipe/test_strangers.py", "-k", "symbolic_tensors_alone"),
    ),
    Bug(
        "any name of the tables stands as a value",
        f"{RECIPE}/strangers.py",
        "        return found if id(found) in _values() else None\n",
        "        return found\n",
        ("tests/recipe/test_strangers.py",),
    ),
    Bug(
        "a recorded call of a stranger's has any arguments",
        f"{RECIPE}/calls.py",
        "        check_signature([args, kwargs], where)\n",
        "        pass\n",
        ("tests/recipe/test_strangers.py", "-k", "placeholders_and_settings"),
    ),
    Bug(
        "a layer of a stranger's is a loss",
        f"{RECIPE}/losses.py",
        '                check_argument(None, "loss", function, where)\n',
        "                pass\n",
        ("tests/recipe/test_strangers.py", "-k", "no_loss_of_a_layer"),
    ),
    Bug(
        "a layer of a stranger's is the regularizer of a weight",
        "keras_probckpt/recipe/penalties.py",
        '            check_argument(None, "penalty", item, where)\n',
        "            pass\n",
        ("tests/recipe/test_strangers.py", "-k", "penalty"),
    ),
    Bug(
        "a stranger puts text into an object",
        f"{RECIPE}/strangers.py",
        "isinstance(present, _NUMBERS) and is_listed",
        "is_listed",
        ("tests/recipe/test_strangers.py", "-k", "puts_numbers"),
    ),
    Bug(
        "a class that a library registered needs no trust",
        f"{RECIPE}/trust.py",
        "(_is_lambda(found) or is_of_library(found))",
        "_is_lambda(found)",
        ("tests/recipe/test_strangers.py", "-k", "registered_class_of_a_library"),
    ),
    Bug(
        "a layer that is made of a function is made anew",
        f"{RECIPE}/keras_objects.py",
        '        require_no_lambda([arguments.get("layer"), backward], where)',
        "        pass",
        ("tests/recipe/test_strangers.py", "-k", "called_by_nobody"),
    ),
    Bug(
        "what is shared in a recipe is counted once",
        f"{RECIPE}/document.py",
        "            check_size(document)\n",
        "            pass\n",
        ("tests/recipe/test_bounds.py",),
    ),
    Bug(
        "a layer goes through a long input in Python",
        f"{RECIPE}/bounds.py",
        "    if turns > _MOST_TURNS:\n",
        "    if False:\n",
        ("tests/recipe/test_bounds.py",),
    ),
    Bug(
        "one array of a stranger's is copied for each node",
        f"{RECIPE}/codec.py",
        ' and not self.is_trusted:\n            raise MalformedRecipeError(where=where, problem=f"the tensor',
        ' and False:\n            raise MalformedRecipeError(where=where, problem=f"the tensor',
        ("tests/recipe/test_bounds.py",),
    ),
    Bug(
        "a variable has a value before it is counted",
        f"{RECIPE}/tfp_objects.py",
        "tf.Variable(lambda: tf.zeros(shape, dtype), shape=shape, dtype=dtype, **arguments)",
        "tf.Variable(tf.zeros(shape, dtype), **arguments)",
        ("tests/recipe/test_bounds.py",),
    ),
    Bug(
        "a stranger's model is run however much it takes",
        f"{RECIPE}/affordable.py",
        "        if numbers > _MOST_NUMBERS or operations > _MOST_OPERATIONS:\n            return False\n",
        "",
        ("tests/recipe/test_affordable.py",),
    ),
    Bug(
        "a stranger's model is run although it loops",
        f"{RECIPE}/affordable.py",
        "    if any(word in node.op for node in definition.node for word in _UNBOUNDED):\n        return False\n",
        "",
        ("tests/recipe/test_affordable.py",),
    ),
    Bug(
        "source text of a file breaks the parser",
        f"{RECIPE}/sources.py",
        "    except (SyntaxError, ValueError, RecursionError, MemoryError):  # A file may hold any",
        "    except SyntaxError:  # A file may hold any",
        ("tests/recipe/test_sources.py", "-k", "breaks_the_parser"),
    ),
    Bug(
        "numpy's generator is put anywhere",
        "keras_probckpt/training/checked_state.py",
        "_is_count(position) and position <= _WORDS",
        "_is_count(position)",
        ("tests/training/test_checked_state.py",),
    ),
    Bug(
        "a training state is put back unchecked",
        "keras_probckpt/manager/resumption.py",
        "    check_training(training)\n",
        "",
        ("tests/faults/test_fuzzed_resumes.py", "-k", "gone_on_with_or_refused"),
    ),
    Bug(
        "a step without room after it is gone on from",
        "keras_probckpt/manager/resumption.py",
        "        _require_room(info)\n",
        "",
        ("tests/faults/test_fuzzed_resumes.py", "-k", "nothing_could_be_counted"),
    ),
    Bug(
        "a document of a million empty lists is read",
        f"{FORMAT}/strict_json.py",
        "    if containers > limit_containers:\n",
        "    if False:\n",
        ("tests/format/test_strict_json.py",),
    ),
    Bug(
        "a stranger's state goes to a callback's own set_state as it is",
        "keras_probckpt/training/callback_state.py",
        "            if is_own or _is_like(callback.get_state(), state):\n",
        "            if True:\n",
        ("tests/training/test_callback_state.py", "-k", "stranger"),
    ),
    Bug(
        "a stranger's nothing takes the place of a path",
        "keras_probckpt/training/callback_state.py",
        "    return value is not None or isinstance(place.value, (numbers.Number, type(None)))\n",
        "    return True\n",
        ("tests/training/test_callback_state.py", "-k", "stranger"),
    ),
    Bug(
        "rows of the reader's log go for a stranger's training",
        "keras_probckpt/manager/fit_resume.py",
        '        if self._point.info.signature == "own":  # What others did',
        "        if True:  # What others did",
        ("tests/faults/test_fuzzed_resumes.py", "-k", "rows"),
    ),
    Bug(
        "a second process does not trust what the first one wrote",
        "keras_probckpt/manager/second_process.py",
        "trusted=True if question.written == found else None",
        "trusted=None",
        ("tests/integration/test_rehearsal.py", "-k", "imports_what"),
    ),
    Bug(
        "a registered layer makes a function of a stranger's text",
        f"{RECIPE}/trust.py",
        "    return isinstance(found, type) and issubclass(found, tfk.layers.Lambda)\n",
        "    return False\n",
        ("tests/recipe/test_trust.py", "-k", "registered_lambda"),
    ),
    Bug(
        "a stranger's recipe may ask for variables of any size",
        "keras_probckpt/training/allowance.py",
        "        if used_bytes > limit_bytes:\n",
        "        if False:\n",
        ("tests/training/test_allowance.py", "-k", "refused"),
    ),
    Bug(
        "a file above the limit is read",
        f"{STORAGE}/filesystem.py",
        "            if size_bytes > limit_bytes:\n",
        "            if False:\n",
        ("tests/storage/test_filesystem.py", "-k", "limit"),
    ),
    Bug(
        "half of a damaged checkpoint reaches a live model",
        "keras_probckpt/manager/live_state.py",
        "        optimizer = None if is_weights_only else _of_present_optimizers(",
        "        put_back(find_variables(model).model, saved, path=path)\n"
        "        optimizer = None if is_weights_only else _of_present_optimizers(",
        ("tests/faults/test_damaged_restores.py",),
    ),
    Bug(
        "a damaged checkpoint is passed over unasked",
        "keras_probckpt/restore.py",
        "    if not others or not skip_damaged:\n",
        "    if not others:\n",
        ("tests/faults/test_damaged_restores.py", "-k", "next_best"),
    ),
    Bug(
        "a rebuilt model with other variables is taken",
        "keras_probckpt/training/assignment.py",
        "        if not skip_mismatch:\n            raise mismatch\n",
        "",
        ("tests/integration/test_restore.py", "-k", "changed_architecture"),
    ),
    Bug(
        "callbacks keep what they changed as a cut epoch began again",
        "keras_probckpt/manager/fit_state.py",
        "            self.call_after_others(resume.put_back_callbacks)\n",
        "",
        ("tests/resume/test_state.py",),
    ),
    Bug(
        "callbacks see the last batch of an epoch twice",
        "keras_probckpt/manager/fit_state.py",
        "        self.call_after_others(resume.put_back_callbacks)\n        return True\n",
        "        return True\n",
        ("tests/resume/test_state.py", "-k", "every_callback"),
    ),
    Bug(
        "a Sequence is put in another order than it would have had",
        "keras_probckpt/training/data_position.py",
        "            seed_order(seed)\n",
        "            pass\n",
        ("tests/resume/test_data.py", "-k", "sequence"),
    ),
    Bug(
        "the threads of a Sequence put it in order too",
        "keras_probckpt/training/data_position.py",
        "        if threading.get_ident() == self._thread:\n",
        "        if True:\n",
        ("tests/resume/test_data.py", "-k", "workers"),
    ),
    Bug(
        "the rest of a file is written and not digested",
        f"{STORAGE}/committing.py",
        "            if not chunks or taken_bytes >= _SMALLEST_FOR_A_THREAD_BYTES:\n",
        "            if taken_bytes >= _SMALLEST_FOR_A_THREAD_BYTES:\n",
        ("tests/storage/test_store.py",),
    ),
    Bug(
        "what is written stays in memory until it is durable",
        f"{STORAGE}/committing.py",
        "            taken.append(chunks.pop())\n",
        "            taken.append(chunks.pop())\n            self.__dict__.setdefault('kept', []).extend(taken)\n",
        ("tests/storage/test_store.py",),
    ),
    Bug(
        "a history is saved with the epochs after it",
        "keras_probckpt/training/callback_state.py",
        "        return lambda: value[:length]\n",
        "        return lambda: value\n",
        ("tests/integration/test_pending_saves.py", "-k", "callbacks"),
    ),
    Bug(
        "what a callback gives of its own is not copied",
        "keras_probckpt/manager/fit_state.py",
        "callback_states(fit.callbacks, copy=_copy, baseline",
        "callback_states(fit.callbacks, baseline",
        ("tests/integration/test_pending_saves.py", "-k", "callbacks"),
    ),
    Bug(
        "a failed save is not heard of before the epoch ends",
        "keras_probckpt/training/fit_call.py",
        "            callbacks._should_call_train_batch_hooks = True\n",
        "            callbacks._should_call_train_batch_hooks = False\n",
        ("tests/integration/test_save_errors.py", "-k", "hooks"),
    ),
    Bug(
        "a cut epoch forgets in what order it began",
        "keras_probckpt/manager/fit_state.py",
        "            self._python_at_epoch = resume.python_at_epoch\n",
        "            self._python_at_epoch = python_state()\n",
        ("tests/resume/test_data.py", "-k", "cut_twice and sequence"),
    ),
    Bug(
        "the length of the data is learned by an update that is none",
        "keras_probckpt/training/data_position.py",
        '        data_handler._inferred_steps = position["steps"]\n',
        "        pass\n",
        ("tests/resume/test_data.py",),
    ),
    Bug(
        "old noise is drawn once more",
        "keras_probckpt/manager/resumption.py",
        "            leave_old_noise(model, seed=global_seed(), step=self.info.step)\n",
        "            pass\n",
        ("tests/resume/test_randomness.py", "-k", "second_time"),
    ),
    Bug(
        "a log file tells of an epoch twice",
        "keras_probckpt/manager/fit_resume.py",
        "            drop_repeated_rows(fit.callbacks, first_epoch=done)\n",
        "            pass\n",
        ("tests/resume/test_state.py",),
    ),
    Bug(
        "a stranger's position in the data is read",
        "keras_probckpt/manager/resumption.py",
        '        if position is None or self.info.signature == "own":\n',
        "        if True:\n",
        ("tests/resume/test_loops.py",),
    ),
    Bug(
        "the untracked variables of an eager step are lost",
        "keras_probckpt/manager/fit_state.py",
        "            watch_eager_step(model)\n",
        "            pass\n",
        ("tests/training/test_hidden.py",),
    ),
    Bug(
        "an error in a validation leaves the directory taken",
        "keras_probckpt/training/fit_call.py",
        '        vars(model)["evaluate"] = guarded()(model.evaluate)  # What may follow before the end of the epoch.\n',
        "",
        ("tests/integration/test_preemption.py", "-k", "outside"),
    ),
    Bug(
        "the slots of an optimizer that another wraps are not seen to come",
        "keras_probckpt/training/inventory.py",
        '    owner = getattr(parent, "inner_optimizer", parent) if is_optimizer else parent\n',
        "    owner = parent\n",
        ("tests/training/test_inventory.py", "-k", "slots"),
    ),
    Bug(
        "a layer that is frozen between two saves is saved as trained",
        "keras_probckpt/training/inventory.py",
        "        sources.append(parent._trainable)  # Of this the recipe follows.\n",
        "",
        ("tests/integration/test_manager.py", "-k", "frozen"),
    ),
    Bug(
        "a layer without variables that comes later is left out of the recipe",
        "keras_probckpt/model/watch.py",
        "            others += [place.item] if is_graph_network(place.item) else []\n",
        "",
        ("tests/integration/test_manager.py", "-k", "added"),
    ),
    Bug(
        "a rehearsal lends the saved values to variables that take no memory",
        "keras_probckpt/manager/rehearsal.py",
        "    with recipe.policy():\n        require_output(",
        "    with unbacked_variables(), recipe.policy():\n        require_output(",
        ("tests/integration/test_rehearsal.py", "-k", "large_layers"),
    ),
    Bug(
        "a built model is not tried before it is trained",
        "keras_probckpt/callback.py",
        "        if self.model.built:\n            manager.rehearse()\n",
        "",
        ("tests/integration/test_rehearsal.py", "-k", "cannot_be_written_down"),
    ),
    Bug(
        "the second process imports from the working directory first",
        "keras_probckpt/manager/second_process.py",
        """"__import__('sys').path[:] = {path!r}; \"""",
        """"assert {path!r}; \"""",
        ("tests/integration/test_rehearsal.py", "-k", "imports_what"),
    ),
    Bug(
        "a normal deviate that numpy keeps is overlooked",
        "keras_probckpt/training/randomness.py",
        "    deviate = ctypes.string_at(id(owner.__self__) + place_of_deviate, ctypes.sizeof(ctypes.c_double))\n",
        "    deviate = bytes(8)\n",
        ("tests/training/test_randomness.py", "-k", "deviate"),
    ),
    Bug(
        "a job that was done in the midst of a submit is done once more",
        f"{STORAGE}/writer.py",
        "            if self._waiting is not waiting:",
        "            if False:",
        ("tests/storage/test_writer.py", "-k", "midst"),
    ),
    Bug(
        "the writer rests though no other job could wait",
        f"{STORAGE}/writer.py",
        "not self._hurries and self._has_room_for_one_more()\n",
        "not self._hurries\n",
        ("tests/storage/test_writer.py", "-k", "end_the_rest"),
    ),
    Bug(
        "a failure keeps the state that was to be written",
        f"{STORAGE}/writer.py",
        "            _let_go(error, until=handled)\n",
        "",
        ("tests/storage/test_writer.py", "-k", "failure_keeps"),
    ),
    Bug(
        "the callbacks of a fit are kept after it",
        "keras_probckpt/callback.py",
        """            stack.callback(manager.call_on_failure, None)
            stack.push(manager)
""",
        """            stack.push(manager)
""",
        ("tests/integration/test_released_memory.py",),
    ),
    Bug(
        "what was resumed from is kept while the training goes on",
        "keras_probckpt/manager/fit_state.py",
        "        if resume is not None and resume.is_finished:\n",
        "        if False:\n",
        ("tests/integration/test_released_memory.py",),
    ),
    Bug(
        "a change of an attribute is not noticed",
        "keras_probckpt/model/watch.py",
        "            dicts.append((vars(place.item), _names_that_count(place.item)))\n",
        "            pass\n",
        ("tests/model/test_watch.py",),
    ),
    Bug(
        "what a training set on a model is not put back",
        "keras_probckpt/recipe/attributes.py",
        "        return put_attribute(item, name, value)\n",
        "        return False\n",
        ("tests/integration/test_live_object.py",),
    ),
    Bug(
        "another function passes for the saved one",
        f"{RECIPE}/probe.py",
        "    return [] if is_same else [",
        "    return [] if True else [",
        ("tests/integration/test_live_object.py", "-k", "another_function"),
    ),
    Bug(
        "what is frozen after compile comes back trained",
        "keras_probckpt/manager/rebuilding.py",
        "        recipe.put_trainable(find_layers(model), at_compile=False)\n",
        "        pass\n",
        ("tests/integration/test_live_object.py", "-k", "trained"),
    ),
    Bug(
        "a look at a model changes it",
        "keras_probckpt/model/unchanged.py",
        "        for put_back in kept:\n            put_back()\n",
        "",
        ("tests/model/test_unchanged.py",),
    ),
)


def main(words: list[str]) -> int:
    """Plant each bug whose name holds one of the words, and run its tests; give the exit code."""
    chosen = [bug for bug in BUGS if not words or any(word in bug.name for word in words)]
    with tempfile.TemporaryDirectory() as directory:
        copies: queue.Queue[pathlib.Path] = queue.Queue()
        for number in range(WORKERS):
            copies.put(shutil.copytree(CHECKOUT, pathlib.Path(directory) / str(number), ignore=_IGNORED))
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            outcomes = list(pool.map(lambda bug: _outcome(bug, copies), chosen))
    missed = outcomes.count("")
    sys.stdout.write(f"{len(chosen)} bugs planted, {len(chosen) - missed} caught, {missed} missed\n")
    return 1 if missed else 0


def _outcome(bug: Bug, copies: queue.Queue[pathlib.Path]) -> str:
    """Plant a bug in a free copy; give the test that caught it."""
    copy = copies.get()
    source = (copy / bug.file).read_text(encoding="utf-8")
    (copy / bug.file).write_text(bug.patched(source), encoding="utf-8")
    try:
        caught = _catch(bug, copy)
    finally:
        (copy / bug.file).write_text(source, encoding="utf-8")
        copies.put(copy)
    sys.stdout.write(f"{'caught' if caught else 'MISSED'}  {bug.name}\n            {caught or ' '.join(bug.tests)}\n")
    sys.stdout.flush()
    return caught


def _catch(bug: Bug, copy: pathlib.Path) -> str:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *bug.tests]
    try:
        finished = subprocess.run(
            command, cwd=copy, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"{' '.join(bug.tests)}, which hung"
    if finished.returncode < 0:  # As by a lack of memory.
        return f"{' '.join(bug.tests)}, whose process a signal ended"
    # Exit code 1: tests ran, and some failed. A tree that cannot even be collected has caught nothing.
    found = _FAILED.search(finished.stdout) if finished.returncode == 1 else None
    return found[1] if found else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
