"""Fuzzes one parser for a bounded time.

    python -m tests.faults.fuzz <parser> <seconds>

With atheris (`pip install atheris`) it is guided by coverage; without, it changes known good bytes at random. An error
that is none of the parser's refusals ends it with a traceback and the bytes. Prints the number of inputs tried.
"""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

_RUNS = re.compile(r"Done (\d+) runs|stat::number_of_executed_units: (\d+)")


def fuzz_at_random(name: str, *, seconds: float) -> int:
    """Change seeds at random; half of the mutants are made consistent again."""
    from tests.faults.parsers import PARSERS, mutant

    parser = PARSERS[name]
    dice = random.Random(name)  # noqa: S311 - not a secret
    tried = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutant(dice.choice(parser.seeds), dice)
        for candidate in (data, parser.mend(data)):
            try:
                parser.survives(candidate)
            except BaseException:
                sys.stderr.write(f"{candidate!r}\n")
                raise
            tried += 1
    return tried


def fuzz_by_coverage(name: str, *, seconds: int) -> int:
    """Let atheris look for inputs that reach new code, in a process of its own, which libFuzzer ends."""
    command = [sys.executable, "-m", "tests.faults.fuzz", "--atheris", name, str(seconds)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SystemExit(finished.stderr[-5000:])
    found = _RUNS.findall(finished.stderr)
    return max((int(number) for pair in found for number in pair if number), default=0)


def _run_atheris(name: str, seconds: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["keras_probckpt"]):
        from tests.faults.parsers import PARSERS
    parser = PARSERS[name]

    def try_one(data: bytes) -> None:
        parser.survives(data)
        parser.survives(parser.mend(data))

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(parser.seeds):
            (pathlib.Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], corpus, f"-max_total_time={seconds}", "-print_final_stats=1"], try_one)
        with contextlib.suppress(SystemExit):
            atheris.Fuzz()


def main(name: str, seconds: str) -> None:
    """Fuzz, and say how."""
    has_atheris = importlib.util.find_spec("atheris") is not None
    tried = fuzz_by_coverage(name, seconds=int(seconds)) if has_atheris else fuzz_at_random(name, seconds=int(seconds))
    sys.stdout.write(f"{tried} {'by coverage' if has_atheris else 'at random'}\n")


if __name__ == "__main__":
    if sys.argv[1] == "--atheris":
        _run_atheris(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
