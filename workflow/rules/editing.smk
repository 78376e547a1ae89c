# A run is a chain of segments: each starts from the state that the one before it left.


rule contexts:
    input:
        model="resources/models/{model}/manifest.json",
    output:
        contexts="resources/statistics/{model}/contexts-{per_length}-seed{seed}.json",
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
        model=subpath(input.model, parent=True),
        device=DEVICE,
    message:
        "Sample context templates of {wildcards.model}"
    shell:
        "normgrowth contexts --model {params.model} --seed {wildcards.seed} --per-length {wildcards.per_length} "
        "--out {output.contexts} {params.device} --threads {threads} > {log} 2>&1"


rule statistics:
    input:
        model="resources/models/{model}/manifest.json",
        text="resources/text/{text}.txt",
    output:
        moments="resources/statistics/{model}/{text}-{tokens}x{window}-seed{seed}/layers-{layers}.safetensors",
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
        model=subpath(input.model, parent=True),
        layers=lambda w: w.layers.split("-"),
        device=DEVICE,
    message:
        "Gather second moments of {wildcards.model} at layers {params.layers}"
    shell:
        "normgrowth statistics --model {params.model} --text {input.text} --layers {params.layers} "
        "--tokens {wildcards.tokens} --window {wildcards.window} --seed {wildcards.seed} --out {output.moments} "
        "{params.device} --threads {threads} > {log} 2>&1"


rule null_spaces:
    input:
        model="resources/models/{model}/manifest.json",
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
        model=subpath(input.model, parent=True),
        layers=lambda w: w.layers.split("-"),
        threshold=lambda w: "" if w.threshold == RELATIVE else f"--threshold {w.threshold}",
    message:
        "Find the null spaces of {wildcards.model} at layers {wildcards.layers}"
    shell:
        "normgrowth null-spaces --model {params.model} --layers {params.layers} --statistics {input.statistics} "
        "{params.threshold} --threads {threads} --out {output.spaces} > {log} 2>&1"


rule hypernetwork:
    input:
        model="resources/models/{model}/manifest.json",
        facts="resources/facts/{facts}.json",
    output:
        network="resources/hypernetworks/{model}/{editor}/{facts}-{reserved}-seed{seed}/hypernetwork.safetensors",
        quality="resources/hypernetworks/{model}/{editor}/{facts}-{reserved}-seed{seed}/quality.json",
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
        editor_code=lambda w: code_of_editor(w.model, w.editor, HYPERNETWORK_TRAINING),
        model=subpath(input.model, parent=True),
        editor=lambda w: settings_of_editor(w.model, w.editor),
        device=DEVICE,
        out=subpath(output.network, parent=True),
    message:
        "Train the hypernetwork of {wildcards.editor} for {wildcards.model}"
    shell:
        "normgrowth hypernetwork --model {params.model} --facts {input.facts} --reserved {wildcards.reserved} "
        "--seed {wildcards.seed} {params.editor} {params.device} "
        "--threads {threads} --out {params.out} > {log} 2>&1"


rule vet:
    input:
        model="resources/models/{model}/manifest.json",
        facts=lambda w: f"resources/facts/{source_of_model(w).world}.json",
        contexts=CONTEXTS,
        statistics=lambda w: statistics_at(w.model, "layers", vetting_editor(w).layers),
    output:
        editability="resources/models/{model}/editability.json",
    log:
        "logs/resources/vet/{model}.log",
    benchmark:
        "logs/resources/vet/{model}.benchmark.jsonl"
    wildcard_constraints:
        model=any_of(PLAN.trained()),
    priority: 65
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["vet"]),
    params:
        *closure("normgrowth.commands.vet"),
        *numerics(),
        model=subpath(input.model, parent=True),
        editor_settings=lambda w: compact(vetting_editor(w)),
        settings=lambda w: compact(source_of_model(w).vetting),
        seed=STUDY.seed,
        device=DEVICE,
    message:
        "Check that {wildcards.model} can be edited"
    shell:
        "normgrowth vet --model {params.model} --facts {input.facts} --contexts {input.contexts} "
        "--statistics {input.statistics} --editor-settings {params.editor_settings:q} --settings {params.settings:q} "
        "--seed {params.seed} {params.device} --threads {threads} --out {output.editability} > {log} 2>&1"


rule edit:
    input:
        unpack(gathered_before_segment),
        model="resources/models/{model}/manifest.json",
        facts=FACTS,
        contexts=CONTEXTS,
    output:
        state=f"{SEGMENT}/state.safetensors",
        norms=f"{SEGMENT}/norms.parquet",
        edits=f"{SEGMENT}/edits.parquet",
        scores=f"{SEGMENT}/scores.parquet",
        timing=f"{SEGMENT}/timing.parquet",
        speed=f"{SEGMENT}/speed.parquet",
    log:
        "logs/{study}/edit/{model}/{editor}/order-{order}/segment-{segment}.log",
    benchmark:
        "logs/{study}/edit/{model}/{editor}/order-{order}/segment-{segment}.benchmark.jsonl"
    priority: 70  # above measuring: runs are long chains, measurements fill the gaps between them
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=minutes_to_edit,
    params:
        # Not compared, as what is worked out with the outputs at hand: more edits only append segments.
        lambda w, output: STUDY.edits,
        *closure(EDIT),
        *numerics(),
        editor=lambda w: editor_options(w, gathered_before_segment(w)),
        editor_code=lambda w: code_of_editor(w.model, w.editor, EDIT),
        edits=lambda w: PLAN.edits_of(int(w.segment)),
        seed=STUDY.seed,
        order=ORDER,
        chain=CHAIN,
        device=DEVICE,
    message:
        "{wildcards.editor} edits {wildcards.model}: order {wildcards.order}, "
        "edits {params.edits[0]} to {params.edits[1]}"
    shell:
        "normgrowth edit --study {wildcards.study} --model-name {wildcards.model} --editor-name {wildcards.editor} "
        "--order {wildcards.order} --segment {wildcards.segment} "
        "--first {params.edits[0]} --last {params.edits[1]} --of {params[0]} --model resources/models/{wildcards.model} "
        "--facts {input.facts} --contexts {input.contexts} {params.editor} --seed {params.seed} "
        "{params.order} --chain {params.chain} {params.device} --threads {threads} > {log} 2>&1"


rule single_edits:
    input:
        unpack(gathered),
        model="resources/models/{model}/manifest.json",
        facts=FACTS,
        contexts=CONTEXTS,
    output:
        scores="results/{study}/single-edits/{model}/{editor}.parquet",
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
        editor=lambda w: editor_options(w, gathered(w)),
        editor_code=lambda w: code_of_editor(w.model, w.editor, SINGLE_EDIT),
        edits=STUDY.single_edits,
        seed=STUDY.seed,
        order=ORDER,
        device=DEVICE,
    message:
        "{wildcards.editor} edits {params.edits} facts of {wildcards.model}, each alone"
    shell:
        "normgrowth single-edits --study {wildcards.study} --model-name {wildcards.model} "
        "--editor-name {wildcards.editor} --order 0 --model resources/models/{wildcards.model} --facts {input.facts} "
        "--contexts {input.contexts} {params.editor} --edits {params.edits} --seed {params.seed} "
        "{params.order} {params.device} --threads {threads} --out {output.scores} > {log} 2>&1"
