"""Measure what `import keras_probckpt` costs: the median of fresh processes, less what a bare interpreter costs.

python -m tests.benchmarks.import_time
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

PROCESSES = 15
BUDGET_SECONDS = 0.1


def seconds_of(program: str) -> float:
    """Run a program in fresh processes and return the median time, after one run that warms the disk cache."""
    times = []
    for _ in range(PROCESSES + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> int:
    """Print the figures; return 1 where the budget is exceeded."""
    bare = seconds_of("")
    costs = {
        "import keras_probckpt": seconds_of("import keras_probckpt") - bare,
        "keras_probckpt.list_checkpoints": seconds_of("import keras_probckpt; keras_probckpt.list_checkpoints") - bare,
    }
    print(f"bare interpreter: {bare * 1000:.0f} ms")
    for title, seconds in costs.items():
        print(f"{title}: {seconds * 1000:.0f} ms more")
    return int(costs["import keras_probckpt"] > BUDGET_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
