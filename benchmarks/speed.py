"""How fast the editors, the statistics and the scores are, as Markdown.

    python benchmarks/speed.py [--assets FOLDER] [--threads N]
    python benchmarks/speed.py --model FOLDER
    python benchmarks/speed.py --shape llama-3-8b --device cuda [--precision bfloat16]

The first form times everything beside a plain implementation, on the model `cf-gpt2-7m` of a folder of assets or on a
random one of its shape; the second times searches in two precisions on the model of a folder; the third projects a run
of 10,000 edits on a GPU.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.editors import every_editor
from benchmarks.growth import growth
from benchmarks.large import projected
from benchmarks.precisions import precisions
from benchmarks.ratios import MEMIT, ratios, telemetry_share
from benchmarks.subjects import SHAPES, Subject, given, of_folder, random_model
from benchmarks.timing import ceiling, machine, peak_memory, seconds
from normgrowth.editors.locate.search import Search, search_targets
from normgrowth.editors.locate.search_rows import prompts_of
from normgrowth.jobs.on_model import make_repeatable


def main() -> None:
    """Parse, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--assets", type=Path, help="folder that holds models/cf-gpt2-7m and data/text")
    parser.add_argument("--model", type=Path, help="folder of a model whose searches are timed in two precisions")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shape", choices=sorted(SHAPES), help="project 10,000 edits of a model of this shape")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    arguments = parser.parse_args()
    make_repeatable(arguments.threads)
    print(f"{machine(arguments.device)}\n", flush=True)
    if arguments.shape:
        print(projected(arguments.shape, arguments.device, arguments.precision))
        return
    if arguments.model:
        print(precisions(of_folder(arguments.model)))
        return
    subject = given(arguments.assets) if arguments.assets else random_model("gpt2-7m")
    for part in (ratios, telemetry_share, every_editor, growth, throughput):
        print(part(subject), flush=True)
    print(f"Peak memory: {peak_memory('cpu'):,.0f} MB")


def throughput(subject: Subject, steps: int = 5) -> str:
    """Tokens per second of a MEMIT search, and the share of the machine's matrix products that they come to."""
    lm, facts, contexts = subject.lm, subject.facts[:100], subject.contexts["grouped"]
    top = (MEMIT.layers[-1], "residual")

    def search(steps: int) -> float:
        chosen = MEMIT.model_copy(update={"steps": steps})
        return seconds(lambda: search_targets(lm, facts, contexts, Search((top,), chosen)))

    per_step = (search(3 * steps) - search(steps)) / (2 * steps)
    tokens = sum(prompt.tokens_to_run for fact in facts for prompt in prompts_of(lm, fact, contexts))
    above = lm.anatomy.blocks[top[0] + 1 :]
    weights = sum(p.numel() for block in above for p in block.parameters())
    # Forward, and backward to activations alone: 2 FLOP for a weight and a token each.
    share = 4 * weights * tokens / per_step / ceiling()
    return (
        f"A search step of 100 facts runs {tokens:,} tokens through {len(above)} blocks in {per_step:.2f} s: "
        f"{tokens / per_step:,.0f} tokens/s, {share:.0%} of what products of matrices reach here.\n"
    )


if __name__ == "__main__":
    main()
