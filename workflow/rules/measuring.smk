# Measurements of a model after some of its edits. Step 0 is measured once for all editors of a model and order; what does not
# depend on the order, in the first order alone. Edited models are compared with what its tables say.


rule measure:
    input:
        model=layout.MANIFEST,
        facts=facts_of,
        text=TEXT,
        heldout=HELDOUT,
        state=state_before,
        first_order=first_order_of,
        unedited=unedited_of,
    output:
        **{table: f"{layout.CHECKPOINT}/{table}.parquet" for table in CHECKPOINT_TABLES},
    log:
        "logs/{study}/measure/{model}/{editor}/order-{order}/after-{step}.log",
    benchmark:
        layout.MEASURE_BENCHMARK
    priority: 60
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=minutes_to_measure,
    params:
        *MEASURING_CODE,
        *numerics(),
        **MEASURE_SETTINGS,
        **ORDER_SETTINGS,
        **DEVICE_SETTINGS,
        job=lambda w, input, output: words(
            Measure(
                facts=input.facts,
                text=input.text,
                heldout=input.heldout,
                settings=PLAN.checkpoint_settings(int(w.step)),
                out=layout.CHECKPOINT.format(**w),
                first_order=folder_of(input.first_order),
                unedited=folder_of(input.unedited),
                **checkpoint_of(w),
            )
        ),
        segments=lambda w: said("segments", PLAN.segment_at(int(w.step))),
    message:
        "Measure {wildcards.model} after {wildcards.step} edits by {wildcards.editor}, order {wildcards.order}"
    shell:
        "normgrowth measure {params.job} --threads {threads} > {log} 2>&1"


rule extract:
    input:
        model=layout.MANIFEST,
        facts=facts_of,
        text=TEXT,
        state=state_before,
    output:
        vectors=expand(f"{layout.VECTORS}/{{site}}.parquet", site=STUDY.vectors.sites, allow_missing=True),
    log:
        "logs/{study}/extract/{model}/{editor}/order-{order}/after-{step}.log",
    benchmark:
        "logs/{study}/extract/{model}/{editor}/order-{order}/after-{step}.benchmark.jsonl"
    priority: 60
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=minutes_to_measure,
    params:
        *closure("normgrowth.commands.extract"),
        *numerics(),
        **flat(PLAN.probe_settings),
        **ORDER_SETTINGS,
        **DEVICE_SETTINGS,
        job=lambda w, input, output: words(
            Extract(
                facts=input.facts,
                text=input.text,
                settings=PLAN.probe_settings,
                layers=STUDY.vectors.layers,
                sites=STUDY.vectors.sites,
                out=layout.VECTORS.format(**w),
                **checkpoint_of(w),
            )
        ),
        segments=lambda w: said("segments", PLAN.segment_at(int(w.step))),
        layers=said("layers", list(STUDY.vectors.layers)),
        sites=said("sites", list(STUDY.vectors.sites)),
    message:
        "Keep activations of {wildcards.model} after {wildcards.step} edits by {wildcards.editor}"
    shell:
        "normgrowth extract {params.job} --threads {threads} > {log} 2>&1"
