"""Times side by side, as medians, and the machine that they were taken on."""

import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch


def seconds(work: Callable[[], object]) -> float:
    """Wall time of some work; on a GPU, until it has done it."""
    _wait()
    began = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - began


def interleaved(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Median seconds of each of some works, taken in turns so that a noisy machine is noisy to all."""
    times = [[seconds(work) for work in works] for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """b of times ~ sizes ** b, by least squares in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def ceiling(device: str = "cpu", width: int = 2048) -> float:
    """FLOP/s of a product of float32 matrices here."""
    a = torch.randn(width, width, device=device)
    a @ a
    return 2 * width**3 / min(seconds(lambda: a @ a) for _ in range(5))


def peak_memory(device: str) -> float:
    """Megabytes: of the GPU, or of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def forget_peak_memory(device: str) -> None:
    """Let a GPU's peak begin anew; a process's own cannot."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()


def machine(device: str) -> str:
    """In words: processor or GPU, threads and versions."""
    import transformers

    name = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown; numbers to three digits, the first column to the left."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return str(value)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
