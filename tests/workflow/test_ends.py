"""Studies at the ends of what the schema allows run to their report: nothing where it may be, or one of each."""

import pytest

from tests.workflow.small_study import small_study

NOTHING = {
    "measure": {"untouched_facts": 0, "generation_facts": 0, "fact_probes": 8, "text_probes": 8},
    "vectors": {"editors": ["ft"], "steps": [], "orders": []},
    "more_orders": {"small": {}},
    "block": None,
    "description": "",
}
COUNTS = ("every", "fact_probes", "text_probes", "retention_facts", "baseline_facts", "perplexity_tokens")
COUNTS += ("untouched_facts", "generation_facts", "generation_tokens", "components", "singular_values")
SHORT = {"steps": 1, "batch": 1, "window": 2, "warmup_steps": 0, "norms_every": 1, "rank": 1}
ONE = {
    "edits": 1,
    "segment": 1,
    "single_edits": 1,
    "editors": ["ft", "r_rome", "scale_only-r_rome", "revive-r_rome", "norm_restored-revive-r_rome"],
    "measure": dict.fromkeys(COUNTS, 1) | {"text_window": 2},
    "second_moments": {"tokens": 4000, "window": 2},
    "vectors": {"editors": ["ft"], "steps": [0], "orders": [0]},
    "interventions": {
        "on": {"kind": "continued_pretraining", "text": "people", "training": SHORT},
        "lora": {"kind": "lora_fine_tuning", "facts": "people", "training": SHORT},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("values", [NOTHING, ONE], ids=["nothing", "one"])
def test_a_study_at_an_end_of_the_schema_has_its_report(tmp_path, values):
    tree = small_study(tmp_path / "tree", **values)
    run = tree.snakemake("--cores", "2", "all", *(["cards"] if values is ONE else []))
    assert run.returncode == 0, run.stdout
    assert "<html" in (tree.folder / "results/demo/report.html").read_text()
