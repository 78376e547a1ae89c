# A run is a chain of segments: each starts from the state that the one before it left.


rule contexts:
    input:
        model=layout.MANIFEST,
    output:
        contexts=layout.CONTEXTS,
    log:
        "logs/resources/contexts/{model}-{per_length}-seed{seed}.log",
    benchmark:
        "logs/resources/contexts/{model}-{per_length}-seed{seed}.benchmark.jsonl"
    wildcard_constraints:
        per_length=r"\d+",
        seed=r"\d+",
    priority: 80
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["contexts"]),
    params:
        *closure("normgrowth.commands.contexts"),
        *numerics(),
        **DEVICE_SETTINGS,
        job=lambda w, output: words(
            Contexts(model=model_folder(w), seed=w.seed, per_length=w.per_length, out=output.contexts, **DEVICE)
        ),
    message:
        "Sample context templates of {wildcards.model}"
    shell:
        "normgrowth contexts {params.job} --threads {threads} > {log} 2>&1"


rule statistics:
    input:
        model=layout.MANIFEST,
        text=layout.TEXT,
    output:
        moments=layout.SECOND_MOMENTS,
    log:
        "logs/resources/statistics/{model}/{text}-{tokens}x{window}-seed{seed}/layers-{layers}.log",
    benchmark:
        "logs/resources/statistics/{model}/{text}-{tokens}x{window}-seed{seed}/layers-{layers}.benchmark.jsonl"
    wildcard_constraints:
        text=any_of({*STUDY.text_sources, *STUDY.world_texts}),
        tokens=r"\d+",
        window=r"\d+",
        seed=r"\d+",
        layers=r"\d+(-\d+)*",
    priority: 80
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["statistics"]),
    params:
        *closure("normgrowth.commands.statistics"),
        *numerics(),
        **DEVICE_SETTINGS,
        layers=lambda w: w.layers.split("-"),
        job=lambda w, input, output: words(
            Statistics(
                model=model_folder(w),
                text=input.text,
                layers=w.layers.split("-"),
                tokens=w.tokens,
                window=w.window,
                seed=w.seed,
                out=output.moments,
                **DEVICE,
            )
        ),
    message:
        "Gather second moments of {wildcards.model} at layers {params.layers}"
    shell:
        "normgrowth statistics {params.job} --threads {threads} > {log} 2>&1"


use rule statistics as gradient_moments with:
    output:
        moments=layout.GRADIENT_MOMENTS,
    log:
        "logs/resources/statistics/{model}/{text}-{tokens}x{window}-seed{seed}/gradients-{layers}.log",
    benchmark:
        "logs/resources/statistics/{model}/{text}-{tokens}x{window}-seed{seed}/gradients-{layers}.benchmark.jsonl"
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["gradient_moments"]),
    params:
        *closure("normgrowth.commands.statistics"),
        *numerics(),
        **DEVICE_SETTINGS,
        layers=lambda w: w.layers.split("-"),
        job=lambda w, input, output: words(
            Statistics(
                model=model_folder(w),
                text=input.text,
                layers=w.layers.split("-"),
                tokens=w.tokens,
                window=w.window,
                seed=w.seed,
                of="gradients",
                out=output.moments,
                **DEVICE,
            )
        ),
    message:
        "Gather moments of gradients of {wildcards.model} at layers {params.layers}"


rule null_spaces:
    input:
        model=layout.MANIFEST,
        statistics="resources/statistics/{model}/{gathered}/layers-{layers}.safetensors",
    output:
        spaces="resources/statistics/{model}/{gathered}/null-spaces-{threshold}-{layers}.safetensors",
    log:
        "logs/resources/null-spaces/{model}/{gathered}/{threshold}-{layers}.log",
    benchmark:
        "logs/resources/null-spaces/{model}/{gathered}/{threshold}-{layers}.benchmark.jsonl"
    wildcard_constraints:
        gathered="[^/]+",
        threshold=r"[^/-]+(e-\d+)?",
        layers=r"\d+(-\d+)*",
    priority: 75
    threads: STUDY.threads
    resources:
        **ON_CPU,
        mem_mb=memory,
        runtime=growing(MINUTES["null_spaces"]),
    params:
        *closure("normgrowth.commands.null_spaces"),
        *numerics(),
        job=lambda w, input, output: words(
            NullSpaces(
                model=model_folder(w),
                layers=w.layers.split("-"),
                statistics=input.statistics,
                threshold=threshold_of(w.threshold),
                out=output.spaces,
            )
        ),
    message:
        "Find the null spaces of {wildcards.model} at layers {wildcards.layers}"
    shell:
        "normgrowth null-spaces {params.job} --threads {threads} > {log} 2>&1"


rule hypernetwork:
    input:
        model=layout.MANIFEST,
        facts=lambda w: FILES.facts_of(w.model, w.facts),
    output:
        network=layout.HYPERNETWORK,
        quality=layout.HYPERNETWORK_QUALITY,
    log:
        "logs/resources/hypernetwork/{model}/{editor}/{facts}-{reserved}-seed{seed}.log",
    benchmark:
        "logs/resources/hypernetwork/{model}/{editor}/{facts}-{reserved}-seed{seed}.benchmark.jsonl"
    wildcard_constraints:
        editor=any_of({*STUDY.editors, *PLAN.wrapped}),
        facts=any_of(STUDY.fact_sources),
        reserved=r"\d+",
        seed=r"\d+",
    priority: 85  # long, and chains wait for it
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["hypernetwork"]),
    params:
        *closure(HYPERNETWORK_TRAINING),
        *numerics(),
        *EDITOR_SETTINGS,
        **DEVICE_SETTINGS,
        job=lambda w, input, output: words(
            Hypernetwork(
                model=model_folder(w),
                facts=input.facts,
                reserved=w.reserved,
                seed=w.seed,
                out=Path(output.network).parent,
                **editor_of(w),
                **DEVICE,
            )
        ),
        editor_code=lambda w: code_of_editor(w.model, w.editor, HYPERNETWORK_TRAINING),
    message:
        "Train the hypernetwork of {wildcards.editor} for {wildcards.model}"
    shell:
        "normgrowth hypernetwork {params.job} --threads {threads} > {log} 2>&1"


rule check_editable:
    input:
        model=layout.MANIFEST,
        facts=lambda w: layout.FACTS.format(facts=source_of_model(w).world),
        contexts=CONTEXTS,
        statistics=lambda w: FILES.second_moments(w.model, PLAN.vetting_editor(w.model).layers),
    output:
        editability="resources/models/{model}/editability.json",
    log:
        "logs/resources/check-editable/{model}.log",
    benchmark:
        "logs/resources/check-editable/{model}.benchmark.jsonl"
    wildcard_constraints:
        model=any_of(PLAN.trained()),
    priority: 65
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["check_editable"]),
    params:
        *closure("normgrowth.commands.check_editable"),
        *numerics(),
        **prefixed("vetting_", VETTING_SETTINGS),
        **VETTING_EDITOR_SETTINGS,
        **DEVICE_SETTINGS,
        job=lambda w, input, output: words(
            CheckEditable(
                model=model_folder(w),
                facts=input.facts,
                contexts=input.contexts,
                statistics=input.statistics,
                editor_settings=PLAN.vetting_editor(w.model),
                settings=source_of_model(w).vetting,
                seed=STUDY.seed,
                out=output.editability,
                **DEVICE,
            )
        ),
        seed=said("seed", STUDY.seed),
    message:
        "Check that {wildcards.model} can be edited"
    shell:
        "normgrowth check-editable {params.job} --threads {threads} > {log} 2>&1"


rule edit:
    input:
        unpack(before_segment),
        model=layout.MANIFEST,
        facts=facts_of,
        contexts=CONTEXTS,
    output:
        **NOTED,
        state=f"{layout.SEGMENT}/{layout.STATE_FILE}",
        norms=f"{layout.SEGMENT}/norms.parquet",
        edits=f"{layout.SEGMENT}/edits.parquet",
        scores=f"{layout.SEGMENT}/scores.parquet",
        timing=f"{layout.SEGMENT}/{layout.TIMING_FILE}",
        speed=f"{layout.SEGMENT}/speed.parquet",
    log:
        layout.EDIT_LOG,
    benchmark:
        "logs/{study}/edit/{model}/{editor}/order-{order}/segment-{segment}.benchmark.jsonl"
    priority: 70  # above measuring: runs are long chains, measurements fill the gaps between them
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=minutes_to_edit,
    params:
        *closure(EDIT),
        *numerics(),
        *EDITOR_SETTINGS,
        # The run's number of edits stands in the job alone, so it is not compared: more edits only append segments.
        **ORDER_SETTINGS,
        **DEVICE_SETTINGS,
        job=lambda w, input, output: words(
            Edit(
                segment=w.segment,
                first=PLAN.edits_of(int(w.segment))[0],
                last=PLAN.edits_of(int(w.segment))[1],
                of=STUDY.edits,
                facts=input.facts,
                contexts=input.contexts,
                chain=layout.RUN.format(**w),
                **run_of(w),
                **ORDER,
                **editor_of(w),
                **{option: file for option, file in before_segment(w).items() if option != BEFORE},
                **DEVICE,
            )
        ),
        edits=lambda w: "edits {} to {}".format(*PLAN.edits_of(int(w.segment))),
        editor_code=lambda w: code_of_editor(w.model, w.editor, EDIT),
    message:
        "{wildcards.editor} edits {wildcards.model}: order {wildcards.order}, {params.edits}"
    shell:
        "normgrowth edit {params.job} --threads {threads} > {log} 2>&1"


rule single_edits:
    input:
        unpack(gathered),
        model=layout.MANIFEST,
        facts=facts_of,
        contexts=CONTEXTS,
    output:
        scores=layout.SINGLE_EDITS_FILE,
    log:
        "logs/{study}/single-edits/{model}/{editor}.log",
    benchmark:
        "logs/{study}/single-edits/{model}/{editor}.benchmark.jsonl"
    priority: 55
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["single_edits"]),
    params:
        *closure(SINGLE_EDIT),
        *numerics(),
        *EDITOR_SETTINGS,
        **ORDER_SETTINGS,
        **DEVICE_SETTINGS,
        job=lambda w, input, output: words(
            SingleEdits(
                facts=input.facts,
                contexts=input.contexts,
                edits=STUDY.single_edits,
                out=output.scores,
                **run_of(w, order=0),
                **ORDER,
                **editor_of(w),
                **gathered(w),
                **DEVICE,
            )
        ),
        edits=said("edits", STUDY.single_edits),
        editor_code=lambda w: code_of_editor(w.model, w.editor, SINGLE_EDIT),
    message:
        "{wildcards.editor} edits facts of {wildcards.model}, each alone ({params.edits})"
    shell:
        "normgrowth single-edits {params.job} --threads {threads} > {log} 2>&1"
