# General ability by tasks of the lm-evaluation-harness, at checkpoints; asked for only where the study names tasks.


rule evaluate:
    input:
        model="resources/models/{model}/manifest.json",
        facts=FACTS,
        state=lambda w: state(w, PLAN.segment_at(int(w.step))),
        tasks=lambda w: task_files(task_folder()) if task_folder() else [],
    output:
        ability=f"{CHECKPOINT}/ability.parquet",
    log:
        "logs/{study}/evaluate/{model}/{editor}/order-{order}/after-{step}.log",
    benchmark:
        "logs/{study}/evaluate/{model}/{editor}/order-{order}/after-{step}.benchmark.jsonl"
    priority: 55
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["evaluate"]),
    params:
        *closure("normgrowth.commands.evaluate"),
        *numerics(),
        *versions("lm_eval"),
        chain=chain_options,
        tasks=lambda w: list(STUDY.ability.tasks),
        few_shot=STUDY.ability.few_shot,
        limit=option("--limit", STUDY.ability.limit),
        task_folder=lambda w: ["--task-folder", task_folder()] if task_folder() else [],
        seed=STUDY.seed,
        order=ORDER,
        device=DEVICE,
    message:
        "Evaluate {wildcards.model} on tasks after {wildcards.step} edits by {wildcards.editor}, "
        "order {wildcards.order}"
    shell:
        "normgrowth evaluate --study {wildcards.study} --model-name {wildcards.model} "
        "--editor-name {wildcards.editor} --order {wildcards.order} --step {wildcards.step} "
        "--model resources/models/{wildcards.model} --facts {input.facts} --seed {params.seed} {params.order} "
        "{params.chain} --tasks {params.tasks:q} --few-shot {params.few_shot} {params.limit} {params.task_folder:q} "
        "{params.device} --threads {threads} --out {output.ability} > {log} 2>&1"
