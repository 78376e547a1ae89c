# General ability by tasks of the lm-evaluation-harness, at checkpoints; asked for only where the study names tasks.


rule evaluate:
    input:
        model=layout.MANIFEST,
        facts=facts_of,
        state=state_before,
        tasks=lambda w: task_files(FILES.task_folder()) if FILES.task_folder() else [],
    output:
        ability=f"{layout.CHECKPOINT}/{layout.ABILITY_FILE}",
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
        **ORDER_SETTINGS,
        **DEVICE_SETTINGS,
        job=lambda w, input, output: words(
            Evaluate(
                facts=input.facts,
                tasks=STUDY.ability.tasks,
                few_shot=STUDY.ability.few_shot,
                limit=STUDY.ability.limit,
                task_folder=FILES.task_folder(),
                out=output.ability,
                **checkpoint_of(w),
            )
        ),
        segments=lambda w: said("segments", PLAN.segment_at(int(w.step))),
        tasks=lambda w: said("tasks", list(STUDY.ability.tasks)),
        few_shot=said("few_shot", STUDY.ability.few_shot),
        limit=said("limit", STUDY.ability.limit),
        task_folder=lambda w: said("task_folder", FILES.task_folder()),
    message:
        "Evaluate {wildcards.model} on tasks after {wildcards.step} edits by {wildcards.editor}, "
        "order {wildcards.order}"
    shell:
        "normgrowth evaluate {params.job} --threads {threads} > {log} 2>&1"
