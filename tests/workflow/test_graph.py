"""Which jobs a change brings about: no fewer, and none besides. Decided by the real scheduler, in dry runs."""

import os

import yaml

TABLES, FIGURES = 11, 18
JUDGED = {"claims": 1, "provenance": 1, "report": 1}
EVIDENCE = {"collect": TABLES, "draw": FIGURES} | JUDGED
EVIDENCE_OF_CHECKPOINTS = {"collect": 8, "draw": FIGURES - 2} | JUDGED
SETTINGS_NOTED = {"provenance": 1}
"""A change of settings is written down, whatever else it brings about."""

MODELS, EDITORS, SEGMENTS = 2, 3, 2
RUNS = MODELS * EDITORS


def test_a_finished_study_leaves_nothing_to_do(tree):
    plan = tree.plan()
    assert plan.jobs == {}
    assert "Nothing to be done" in plan.output


def test_what_changes_no_result_reruns_nothing(tree):
    for path in tree.package.rglob("*.py"):
        text = path.read_text()
        if text.startswith('"""'):
            text = text.replace('"""', '"""Said in other words. ', 1)
        path.write_text(f"{text}\n\n# A remark.\n")
    (tree.package / "unrelated.py").write_text("CHANGED = True\n")
    tree.append("cli.py", "CHANGED = True")
    tree.append("editors/registry.py", 'EDITORS["new"] = "normgrowth.editors.ft"')
    tree.change_config(orders=1)  # as it is by default
    for path in ("Snakefile", *(str(rules) for rules in (tree.folder / "workflow" / "rules").iterdir())):
        os.utime(tree.folder / path)
    assert tree.plan().jobs == {}


def test_settings_given_as_they_are_by_default_are_only_noted(tree):
    tree.change_config(editor_settings={"memit": {"batch": 10, "clamp": 0.75}})
    assert tree.plan().jobs == SETTINGS_NOTED | {"report": 1}  # that they are now the study's own


def test_another_segment_appends_to_every_run(tree):
    tree.change_config(edits=150)
    plan = tree.plan()
    assert plan.jobs == {"edit": RUNS, "measure": RUNS} | EVIDENCE | SETTINGS_NOTED
    assert len(plan.about("edits 101 to 150")) == RUNS
    assert len(plan.about("after 150 edits")) == RUNS


def test_one_editors_setting_reruns_that_editor(tree):
    tree.change_config(editor_settings={"memit": {"clamp": 0.5}})
    plan = tree.plan()
    assert plan.jobs == {"edit": MODELS * SEGMENTS, "measure": MODELS * SEGMENTS} | EVIDENCE | SETTINGS_NOTED
    assert len(plan.about("memit edits")) == MODELS * SEGMENTS
    assert len(plan.about("by memit")) == MODELS * SEGMENTS


def test_a_changed_setting_is_all_that_a_dry_run_shows_of_settings(tree):
    tree.change_config(editor_settings={"memit": {"clamp": 0.5}})
    plan = tree.plan()
    assert len(plan.about("edits world-")) == len(plan.about("memit edits world-")) == MODELS * SEGMENTS
    reasons = [line.partition(" across all output: ")[2] for line in plan.output.splitlines()]
    said = [reason.strip().replace("'", "") for reason in reasons if "clamp" in reason]
    edited = [reason for reason in said if "settings" not in reason]  # what provenance writes down is the whole study
    # Of each run the first segment; those after it follow from its state.
    assert edited == ["before: clamp: 0.75 now: clamp: 0.5"] * MODELS


def test_a_setting_for_one_model_reruns_that_model(tree):
    tree.change_config(editor_settings={"ft": {"per_model": {"world-llama": {"steps": 3}}}})
    plan = tree.plan()
    assert plan.jobs == {"edit": SEGMENTS, "measure": SEGMENTS} | EVIDENCE | SETTINGS_NOTED
    assert len(plan.about("ft edits world-llama")) == SEGMENTS


def test_other_editors_add_their_runs_and_share_second_moments(tree):
    tree.change_config(
        editors=["ft", "r_rome", "memit", "memit-weak", "memit-high"],
        editor_settings={"memit-weak": {"preservation_weight": 10}, "memit-high": {"layers": [3, 4]}},
    )
    plan = tree.plan()
    added = {"edit": 2 * MODELS * SEGMENTS, "measure": 2 * MODELS * SEGMENTS, "statistics": MODELS}
    assert plan.jobs == added | EVIDENCE | SETTINGS_NOTED
    assert len(plan.about("at layers 3 4")) == MODELS


def test_moments_of_gradients_are_gathered_beside_those_of_keys_for_an_editor_that_needs_both(tree):
    tree.change_config(editors=["ft", "r_rome", "memit", "crispedit"])
    plan = tree.plan()
    added = {"edit": MODELS * SEGMENTS, "measure": MODELS * SEGMENTS, "statistics": MODELS, "gradient_moments": MODELS}
    assert plan.jobs == added | EVIDENCE | SETTINGS_NOTED
    assert len(plan.about("Gather moments of gradients of world-gpt2")) == 1


def test_a_study_with_control_arms_draws_one_figure_more(tree):
    tree.change_config(editors=["ft", "r_rome", "memit", "norm_restored-r_rome"])
    plan = tree.plan()
    assert plan.jobs["draw"] == FIGURES + 1
    assert len(plan.about("Draw control_arms")) == 1


def test_a_remedy_adds_its_runs_alone_and_shares_what_its_editor_gathered(tree):
    tree.change_config(editors=["ft", "r_rome", "memit", "revive-memit", "simie-ft"])
    plan = tree.plan()
    added = {"edit": 2 * MODELS * SEGMENTS, "measure": 2 * MODELS * SEGMENTS}
    assert plan.jobs == added | EVIDENCE | SETTINGS_NOTED
    assert len(plan.about("revive-memit edits world-llama")) == SEGMENTS


def test_what_is_measured_reruns_measurements(tree):
    tree.change_config(measure={"retention_facts": 20})
    assert tree.plan().jobs == {"measure": RUNS * SEGMENTS} | EVIDENCE_OF_CHECKPOINTS | SETTINGS_NOTED


def test_an_intervention_adds_its_norms_its_figure_and_its_verdict(tree):
    what = {"kind": "continued_pretraining", "text": "world", "models": ["world-llama"]}
    tree.change_config(interventions={"more": what})
    assert tree.plan().jobs == {"intervene": 1, "collect": 1, "draw": 1} | JUDGED | SETTINGS_NOTED
    tree.change_config(interventions={"more": what | {"text": "wurld"}})
    refused = tree.snakemake("--dry-run", "--quiet").stdout
    assert "interventions.more.text: source 'wurld' is unknown" in refused and "world" in refused


def test_other_probes_measure_and_edit_nothing(tree):
    tree.change_config(measure={"fact_probes": 50, "text_window": 32})
    assert tree.plan().jobs == {"measure": (RUNS * SEGMENTS + MODELS)} | EVIDENCE_OF_CHECKPOINTS | SETTINGS_NOTED


def test_activations_are_kept_where_they_are_asked_for(tree):
    tree.change_config(vectors={"editors": ["ft"], "sites": ["residual", "mlp_key"], "steps": [0, 100]})
    plan = tree.plan()
    assert plan.jobs == {"extract": 2 * MODELS} | SETTINGS_NOTED | {"report": 1}
    tree.change_config(vectors={"editors": ["ft"], "steps": [10]})
    run = tree.snakemake("--dry-run", "--quiet")
    assert "vectors.steps holds 10: runs are measured every 50 edits and at their end, 100" in run.stdout


def test_more_orders_of_one_editor_add_its_runs(tree):
    tree.change_config(more_orders={"world-gpt2": {"ft": 3}})
    plan = tree.plan("--printshellcmds")
    assert plan.jobs == {"edit": 2 * SEGMENTS, "measure": 2 * SEGMENTS + 2} | EVIDENCE | SETTINGS_NOTED
    assert len(plan.about("order 2")) == 2 * SEGMENTS + 1  # its own, and the unedited model under that order
    # Which takes what depends on no order from the first one.
    assert plan.output.count("--first-order results/demo/measurements/world-gpt2/unedited/order-0/after-0") == 2
    tree.change_config(more_orders={"gpt5": {"ft": 3}})
    assert "more_orders: model 'gpt5' is unknown" in tree.snakemake("--dry-run", "--quiet").stdout


def test_a_stream_reruns_what_it_decides_and_notes_its_edits(tree):
    tree.change_config(stream={"repeats": 0.1, "put_back": 0.2})
    plan = tree.plan()
    measured = RUNS * SEGMENTS + MODELS  # the unedited models are scored on the first edits
    assert plan.jobs == {"edit": RUNS * SEGMENTS, "measure": measured} | EVIDENCE | SETTINGS_NOTED | {
        "collect": TABLES + 1
    }
    assert "Put together the table stream" in plan.output
    assert tree.snakemake("--cores", "2").returncode == 0
    assert tree.plan().jobs == {}
    tree.change_config(stream={"repeats": 0.1, "put_back": 0.2, "gap": 10})  # as it is by default
    assert tree.plan().jobs == {}
    tree.change_config(stream={"put_back": 0.2, "gap": 20})
    assert tree.plan().jobs["edit"] == RUNS * SEGMENTS
    tree.change_config(stream={"repeats": 0.1, "gap": 5})
    assert "stream.gap is 5: no batch may hold two edits" in tree.snakemake("--dry-run", "--quiet").stdout


def test_a_stream_of_nothing_reruns_nothing(tree):
    tree.change_config(stream={"gap": 7})
    assert tree.plan().jobs == {}


def test_figure_style_reruns_figures(tree):
    tree.change_config(figures={"font_size": 7})
    assert tree.plan().jobs == {"draw": FIGURES, "report": 1} | SETTINGS_NOTED


def test_code_of_the_target_search_reruns_the_editors_that_search(tree):
    tree.append("editors/locate/search.py", "CHANGED = True")
    plan = tree.plan()
    searching = 2 * MODELS * SEGMENTS
    checked = {"check_editable": MODELS} | SETTINGS_NOTED
    assert plan.jobs == {"edit": searching, "measure": searching} | checked | EVIDENCE
    assert not plan.about("ft edits")
    assert "normgrowth.editors.locate.search@" in plan.output


def test_code_of_one_editor_reruns_it_alone(tree):
    tree.append("editors/ft.py", "CHANGED = True")
    plan = tree.plan()
    assert plan.jobs == {"edit": MODELS * SEGMENTS, "measure": MODELS * SEGMENTS} | EVIDENCE
    assert len(plan.about("ft edits")) == MODELS * SEGMENTS


def test_code_of_all_editing_trains_no_model(tree):
    tree.append("editors/base.py", "CHANGED = True")
    plan = tree.plan()
    assert plan.jobs["edit"] == RUNS * SEGMENTS
    assert not {"world", "train", "contexts"} & set(plan.jobs)


def test_code_of_training_reruns_everything_but_the_world(tree):
    tree.append("sources/toy/pretraining.py", "CHANGED = True")
    plan = tree.plan()
    assert plan.jobs["train"] == MODELS
    assert plan.jobs["edit"] == RUNS * SEGMENTS
    assert "world" not in plan.jobs


def test_code_of_one_figure_draws_it_again(tree):
    tree.append("figures/norm_by_layer.py", "CHANGED = True")
    assert tree.plan().jobs == {"draw": 1, "report": 1}


def test_a_wrong_study_ends_in_one_line(tree):
    tree.change_config(edits=110)
    run = tree.snakemake("--dry-run", "--quiet")
    assert run.returncode == 1
    lines = [line for line in run.stdout.splitlines() if "workflow specific profile" not in line]
    assert lines == ["error in the study: edits is 110: it must be a multiple of segment (50), as 100 or 150"]


def test_a_fresh_clone_with_new_times_reruns_nothing(tree, tmp_path):
    """Every file is newer than it was, in an order of its own; contents are equal."""
    for file in sorted(tree.folder.rglob("*"), key=lambda path: path.name):
        if file.is_file() and ".snakemake" not in file.parts:
            os.utime(file)
    assert tree.plan().jobs == {}


def test_a_change_that_is_taken_back_reruns_nothing(tree):
    module = tree.package / "editors/locate/search.py"
    before = module.read_text()
    tree.append("editors/locate/search.py", "CHANGED = True")
    assert tree.plan().jobs
    module.write_text(before)
    assert tree.plan().jobs == {}


def test_the_order_of_keys_means_nothing(tree):
    config = yaml.safe_load((tree.folder / "config.yaml").read_text())
    turned = {key: dict(reversed(value.items())) if isinstance(value, dict) else value for key, value in config.items()}
    (tree.folder / "config.yaml").write_text(yaml.safe_dump(dict(reversed(turned.items())), sort_keys=False))
    assert tree.plan().jobs == {}


def test_another_version_of_a_library_reruns_what_computes_with_it(tree):
    """matplotlib draws and does not compute."""
    fingerprint = tree.package / "fingerprint.py"
    as_it_was = fingerprint.read_text()
    for library, rules in (("matplotlib", {"draw"}), ("scipy", {"edit", "measure", "claims", "statistics"})):
        fingerprint.write_text(as_it_was.replace("version(name)", f"'0' if name == '{library}' else version(name)"))
        jobs = set(tree.plan().jobs)
        assert rules <= jobs and (("edit" in jobs) == (library == "scipy"))


def test_a_lost_file_is_made_again_where_it_is_asked_for(tree):
    """As after damage: the file was moved aside by the job that reads it, and that job has not finished."""
    for lost in ("measurements/world-gpt2/ft/order-0/after-50/cka", "tables/cka"):
        (tree.folder / f"results/demo/{lost}.parquet").unlink()
    (tree.folder / "results/demo/report.html").unlink()
    jobs = tree.plan().jobs
    assert jobs["measure"] == 1 and "edit" not in jobs
