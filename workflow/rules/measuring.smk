# What a model still does after some of its edits; step 0 is measured once for all editors of a model and order.


rule measure:
    input:
        model="resources/models/{model}/manifest.json",
        facts=FACTS,
        text=TEXT,
        heldout=HELDOUT,
        state=lambda w: state(w, PLAN.segment_at(int(w.step))),
    output:
        **{table: f"{CHECKPOINT}/{table}.parquet" for table in TABLES_OF_CHECKPOINTS},
    log:
        "logs/{study}/measure/{model}/{editor}/order-{order}/after-{step}.log",
    benchmark:
        "logs/{study}/measure/{model}/{editor}/order-{order}/after-{step}.benchmark.jsonl"
    priority: 60
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=minutes_to_measure,
    params:
        *closure("normgrowth.commands.measure"),
        *numerics(),
        checkpoint=checkpoint_options,
        seed=STUDY.seed,
        order=ORDER,
        device=DEVICE,
        out=CHECKPOINT,
    message:
        "Measure {wildcards.model} after {wildcards.step} edits by {wildcards.editor}, order {wildcards.order}"
    shell:
        "normgrowth measure --study {wildcards.study} --model-name {wildcards.model} "
        "--editor-name {wildcards.editor} --order {wildcards.order} --step {wildcards.step} "
        "--model resources/models/{wildcards.model} --facts {input.facts} --text {input.text} "
        "--heldout {input.heldout} --seed {params.seed} {params.order} {params.checkpoint} {params.device} "
        "--threads {threads} --out {params.out} > {log} 2>&1"


rule extract:
    input:
        model="resources/models/{model}/manifest.json",
        facts=FACTS,
        text=TEXT,
        state=lambda w: state(w, PLAN.segment_at(int(w.step))),
    output:
        vectors=expand(f"{VECTORS}/{{site}}.parquet", site=STUDY.vectors.sites, allow_missing=True),
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
        chain=chain_options,
        settings=compact(PLAN.probe_settings),
        layers=STUDY.vectors.layers,
        sites=STUDY.vectors.sites,
        seed=STUDY.seed,
        order=ORDER,
        device=DEVICE,
        out=VECTORS,
    message:
        "Keep activations of {wildcards.model} after {wildcards.step} edits by {wildcards.editor}"
    shell:
        "normgrowth extract --study {wildcards.study} --model-name {wildcards.model} "
        "--editor-name {wildcards.editor} --order {wildcards.order} --step {wildcards.step} "
        "--model resources/models/{wildcards.model} --facts {input.facts} --text {input.text} --seed {params.seed} "
        "{params.order} {params.chain} --settings {params.settings:q} --layers {params.layers} "
        "--sites {params.sites} {params.device} --threads {threads} --out {params.out} > {log} 2>&1"
