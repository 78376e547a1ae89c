# Updates of whole models, with the norm of every matrix along the way; asked for only where the study names any.


rule intervene:
    input:
        model="resources/models/{model}/manifest.json",
        data=lambda w: intervention_data(w)[1],
    output:
        norms="results/{study}/interventions/{model}/{intervention}.parquet",
    log:
        "logs/{study}/intervene/{model}/{intervention}.log",
    benchmark:
        "logs/{study}/intervene/{model}/{intervention}.benchmark.jsonl"
    wildcard_constraints:
        intervention=any_of(STUDY.interventions),
    priority: 58
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=lambda w, attempt: 4 * memory(w, attempt),
        runtime=growing(MINUTES["intervene"]),
    params:
        *closure("normgrowth.commands.intervene"),
        *numerics(),
        *versions("peft"),
        model=subpath(input.model, parent=True),
        kind=intervention_kind,
        data=intervention_option,
        settings=lambda w: compact(getattr(intervention_of(w), "training", {})),
        seed=STUDY.seed,
        device=DEVICE,
    message:
        "{wildcards.intervention}: norms of {wildcards.model}"
    shell:
        "normgrowth intervene --study {wildcards.study} --model-name {wildcards.model} "
        "--editor-name {wildcards.intervention} --order 0 --model {params.model} --kind {params.kind} {params.data} "
        "--settings {params.settings:q} --seed {params.seed} {params.device} --threads {threads} "
        "--out {output.norms} > {log} 2>&1"
