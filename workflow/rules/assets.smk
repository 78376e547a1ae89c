# Where inputs come from: synthetic worlds, models trained on them, the web, and local files.


localrules:
    downloads,
    fetch_model,
    fetch_file,
    import_model,
    import_facts,
    import_text,


# Everything that takes a network, for machines whose jobs have none: `snakemake downloads` first.
rule downloads:
    input:
        expand("resources/models/{model}/manifest.json", model=models_from("hub") & needed_models(STUDY)),
        needed_downloads(STUDY),


rule fetch_model:
    output:
        manifest="resources/models/{model}/manifest.json",
    log:
        "logs/resources/fetch-model/{model}.log",
    benchmark:
        "logs/resources/fetch-model/{model}.benchmark.jsonl"
    wildcard_constraints:
        model=any_of(models_from("hub")),
    priority: 90
    threads: 1
    resources:
        mem_mb=2000,
        runtime=600,
    params:
        # What the study reads is looked at once the model is there. As a parameter that is worked out with the output
        # at hand it fetches nothing again, nor has to: what is there is looked at before any job.
        lambda w, output: as_words(lengths_asked(STUDY, w.model)),
        *closure("normgrowth.commands.fetch_model"),
        repo=lambda w: source_of_model(w).repo,
        revision=lambda w: source_of_model(w).revision,
        layers=lambda w: layers_of(STUDY, w.model),
        out=subpath(output.manifest, parent=True),
    message:
        "Fetch the model {wildcards.model} from {params.repo} at {params.revision}"
    shell:
        "normgrowth fetch-model --repo {params.repo} --revision {params.revision} --layers {params.layers} "
        "--to-read {params[0]} --out {params.out} > {log} 2>&1"


rule fetch_file:
    output:
        file=DOWNLOAD,
    log:
        "logs/resources/fetch-file/{sha256}.log",
    benchmark:
        "logs/resources/fetch-file/{sha256}.benchmark.jsonl"
    wildcard_constraints:
        sha256=any_of(every_download(STUDY)),
    priority: 90
    threads: 1
    resources:
        mem_mb=500,
        runtime=120,
    params:
        # No code stands here: the hash says what the file is, and fetching it again may take a network that is gone.
        url=lambda w: every_download(STUDY)[w.sha256].url,
        size=lambda w: option("--bytes", every_download(STUDY)[w.sha256].bytes),
    message:
        "Fetch {params.url}"
    shell:
        "normgrowth fetch-file --url {params.url:q} --sha256 {wildcards.sha256} {params.size} --out {output.file} "
        "> {log} 2>&1"


rule world:
    output:
        facts="resources/facts/{world}.json",
        text="resources/text/{world}.txt",
        heldout=f"resources/text/{{world}}{HELDOUT_SUFFIX}.txt",
        corpus="resources/text/{world}-corpus.jsonl",
    log:
        "logs/resources/world/{world}.log",
    benchmark:
        "logs/resources/world/{world}.benchmark.jsonl"
    wildcard_constraints:
        world=any_of(STUDY.worlds),
    priority: 100
    threads: 1
    resources:
        **ON_CPU,
        mem_mb=growing(ONE_PROCESS),
        runtime=growing(MINUTES["world"]),
    params:
        *closure("normgrowth.commands.world"),
        settings=lambda w: compact(STUDY.worlds[w.world].settings),
    message:
        "Write the world {wildcards.world}: facts, text, corpus"
    shell:
        "normgrowth world --settings {params.settings:q} --facts {output.facts} --text {output.text} "
        "--heldout {output.heldout} --corpus {output.corpus} > {log} 2>&1"


rule train:
    input:
        corpus=lambda w: f"resources/text/{source_of_model(w).world}-corpus.jsonl",
        facts=lambda w: f"resources/facts/{source_of_model(w).world}.json",
        heldout=lambda w: f"resources/text/{source_of_model(w).world}{HELDOUT_SUFFIX}.txt",
    output:
        manifest="resources/models/{model}/manifest.json",
        weights="resources/models/{model}/model.safetensors",
        config="resources/models/{model}/config.json",
        tokenizer="resources/models/{model}/tokenizer.json",
        figures="resources/models/{model}/figures.json",
    log:
        "logs/resources/train/{model}.log",
    benchmark:
        "logs/resources/train/{model}.benchmark.jsonl"
    wildcard_constraints:
        model=any_of(PLAN.trained()),
    priority: 90
    threads: STUDY.threads
    resources:
        **ON_CPU,
        mem_mb=memory,
        runtime=growing(MINUTES["train"]),
    params:
        *closure("normgrowth.commands.train"),
        *numerics(),
        settings=lambda w: compact(source_of_model(w).training),
        out=subpath(output.manifest, parent=True),
    message:
        "Train {wildcards.model} until it knows its world"
    shell:
        "normgrowth train --settings {params.settings:q} --corpus {input.corpus} --facts {input.facts} "
        "--heldout {input.heldout} --out {params.out} --threads {threads} > {log} 2>&1"


# What a local file holds is compared, not where it is: a folder that was moved, or given through another link, makes
# nothing anew. Snakemake does not compare parameters that are worked out with the outputs at hand.
rule import_model:
    output:
        manifest="resources/models/{model}/manifest.json",
    log:
        "logs/resources/import-model/{model}.log",
    benchmark:
        "logs/resources/import-model/{model}.benchmark.jsonl"
    wildcard_constraints:
        model=any_of(models_from("local")),
    priority: 90
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        *closure("normgrowth.commands.import_model"),
        content=lambda w: contents_of_model(local(source_of_model(w).path)),
        path=lambda w, output: local(source_of_model(w).path),
        out=subpath(output.manifest, parent=True),
    message:
        "Link the model {wildcards.model} from {params.path}"
    shell:
        "normgrowth import-model --path {params.path:q} --out {params.out} > {log} 2>&1"


rule import_facts:
    input:
        fetched=fetched_facts,
    output:
        facts="resources/facts/{facts}.json",
    log:
        "logs/resources/import-facts/{facts}.log",
    benchmark:
        "logs/resources/import-facts/{facts}.benchmark.jsonl"
    wildcard_constraints:
        facts=any_of(set(STUDY.fact_sources) - set(STUDY.worlds)),
    priority: 90
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        *closure("normgrowth.commands.import_facts"),
        format=lambda w: format_of(STUDY.fact_sources[w.facts]),
        limit=lambda w: option("--limit", STUDY.fact_sources[w.facts].limit),
        content=lambda w: contents_of(local_facts(w)),
        path=lambda w, input: [*input.fetched, *local_facts(w)],
    message:
        "Check the facts {wildcards.facts} from {params.path}"
    shell:
        "normgrowth import-facts --path {params.path:q} --format {params.format} {params.limit} "
        "--out {output.facts} > {log} 2>&1"


rule import_text:
    input:
        fetched=fetched_text,
    output:
        text="resources/text/{text}.txt",
    log:
        "logs/resources/import-text/{text}.log",
    benchmark:
        "logs/resources/import-text/{text}.benchmark.jsonl"
    wildcard_constraints:
        text=any_of(STUDY.text_sources),
    priority: 90
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        *closure("normgrowth.commands.import_text"),
        rows=lambda w: rows_of_text(STUDY.text_sources[w.text]),
        content=lambda w: contents_of(local_text(w)),
        paths=lambda w, input: [*input.fetched, *local_text(w)],
    message:
        "Put together the text {wildcards.text}"
    shell:
        "normgrowth import-text --paths {params.paths:q} {params.rows:q} --out {output.text} > {log} 2>&1"
