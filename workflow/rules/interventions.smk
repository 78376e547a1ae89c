# Updates of whole models, with the norm of every matrix along the way; asked for only where the study names any.


rule intervene:
    input:
        model=layout.MANIFEST,
        data=lambda w: FILES.data_of_intervention(w.model, w.intervention)[1],
    output:
        norms=layout.INTERVENTION.replace("{editor}", "{intervention}"),
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
        **INTERVENTION_SETTINGS,
        **DEVICE_SETTINGS,
        job=lambda w, output: words(
            Intervene(
                study=w.study,
                model_name=w.model,
                editor_name=w.intervention,
                order=0,
                model=model_folder(w),
                kind=intervention_kind(w),
                settings=getattr(STUDY.interventions[w.intervention], "training", {}),
                seed=STUDY.seed,
                out=output.norms,
                **FILES.option_of_intervention(w.model, w.intervention),
                **DEVICE,
            )
        ),
        kind=lambda w: said("kind", intervention_kind(w)),
        seed=said("seed", STUDY.seed),
    message:
        "{wildcards.intervention}: norms of {wildcards.model}"
    shell:
        "normgrowth intervene {params.job} --threads {threads} > {log} 2>&1"
