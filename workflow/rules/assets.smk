# Inputs: synthetic worlds, models trained on them, facts of the package, files of the web, and local files.


localrules:
    downloads,
    fetch_model,
    fetch_file,
    import_model,
    included_facts,
    import_facts,
    import_text,


# All downloads, for machines whose jobs have no network: `snakemake downloads` first.
rule downloads:
    input:
        expand(layout.MANIFEST, model=FILES.models_from("hub") & needed_models(STUDY)),
        needed_downloads(STUDY),


rule fetch_model:
    output:
        manifest=layout.MANIFEST,
    log:
        "logs/resources/fetch-model/{model}.log",
    benchmark:
        "logs/resources/fetch-model/{model}.benchmark.jsonl"
    wildcard_constraints:
        model=any_of(FILES.models_from("hub")),
    priority: 90
    threads: 1
    resources:
        mem_mb=2000,
        runtime=600,
    params:
        *closure("normgrowth.commands.fetch_model"),
        # The study's lengths are checked once the model is there. This parameter is not compared, so a change of it fetches
        # nothing again: a model that is there is checked before any job.
        job=lambda w, output: words(
            FetchModel(
                repo=source_of_model(w).repo,
                revision=source_of_model(w).revision,
                layers=layers_of(STUDY, w.model),
                to_read=as_words(lengths_asked(STUDY, w.model)),
                out=model_folder(w),
            )
        ),
        repo=lambda w: said("repo", source_of_model(w).repo),
        revision=lambda w: said("revision", source_of_model(w).revision),
        layers=lambda w: said("layers", layers_of(STUDY, w.model)),
    message:
        "Fetch the model {wildcards.model} ({params.repo}, {params.revision})"
    shell:
        "normgrowth fetch-model {params.job} > {log} 2>&1"


rule fetch_file:
    output:
        file=layout.DOWNLOAD,
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
        # No fingerprint of code: the hash identifies the file, and the network may no longer be there to fetch it again.
        job=lambda w, output: words(
            FetchFile(
                url=every_download(STUDY)[w.sha256].url,
                sha256=w.sha256,
                bytes=every_download(STUDY)[w.sha256].bytes,
                out=output.file,
            )
        ),
        url=lambda w: said("url", every_download(STUDY)[w.sha256].url),
        size=lambda w: said("bytes", every_download(STUDY)[w.sha256].bytes),
    message:
        "Fetch a file, {params.url}"
    shell:
        "normgrowth fetch-file {params.job} > {log} 2>&1"


rule world:
    output:
        facts=layout.FACTS.format(facts="{world}"),
        text=layout.TEXT.format(text="{world}"),
        heldout=layout.TEXT.format(text=f"{{world}}{layout.HELDOUT_SUFFIX}"),
        corpus=layout.CORPUS,
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
        **WORLD_SETTINGS,
        job=lambda w, output: words(
            World(
                settings=STUDY.worlds[w.world].settings,
                facts=output.facts,
                text=output.text,
                heldout=output.heldout,
                corpus=output.corpus,
            )
        ),
    message:
        "Write the world {wildcards.world}: facts, text, corpus"
    shell:
        "normgrowth world {params.job} > {log} 2>&1"


rule train:
    input:
        corpus=lambda w: layout.CORPUS.format(world=source_of_model(w).world),
        facts=lambda w: layout.FACTS.format(facts=source_of_model(w).world),
        heldout=lambda w: layout.TEXT.format(text=f"{source_of_model(w).world}{layout.HELDOUT_SUFFIX}"),
    output:
        manifest=layout.MANIFEST,
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
        **TRAINING_SETTINGS,
        job=lambda w, input: words(
            Train(
                settings=source_of_model(w).training,
                corpus=input.corpus,
                facts=input.facts,
                heldout=input.heldout,
                out=model_folder(w),
            )
        ),
    message:
        "Train {wildcards.model} until it knows its world"
    shell:
        "normgrowth train {params.job} --threads {threads} > {log} 2>&1"


# Local files are compared by content, not by place: a folder that was moved, or is given through another link, reruns
# nothing.
rule import_model:
    output:
        manifest=layout.MANIFEST,
    log:
        "logs/resources/import-model/{model}.log",
    benchmark:
        "logs/resources/import-model/{model}.benchmark.jsonl"
    wildcard_constraints:
        model=any_of(FILES.models_from("local")),
    priority: 90
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        *closure("normgrowth.commands.import_model"),
        job=lambda w, output: words(ImportModel(path=FILES.local(source_of_model(w).path), out=model_folder(w))),
        content=lambda w: contents_of_model(FILES.local(source_of_model(w).path)),
    message:
        "Link the model {wildcards.model} from the study's local folder"
    shell:
        "normgrowth import-model {params.job} > {log} 2>&1"


# The file is compared by the hash that the study gives, and its place is a function of the job's outputs: a package that is
# installed anew or a file that was moved reruns nothing.
rule import_gguf:
    output:
        manifest=layout.MANIFEST,
    log:
        "logs/resources/import-gguf/{model}.log",
    benchmark:
        "logs/resources/import-gguf/{model}.benchmark.jsonl"
    wildcard_constraints:
        model=any_of(FILES.models_from("gguf")),
    priority: 90
    threads: 1
    resources:
        **ON_CPU,
        mem_mb=memory_to_import,
        runtime=growing(MINUTES["import_gguf"]),
    params:
        *closure("normgrowth.commands.import_gguf"),
        *numerics(),
        *versions("gguf", "safetensors"),
        job=lambda w, output: words(
            ImportGguf(
                **FILES.gguf(source_of_model(w)),
                sha256=source_of_model(w).sha256,
                layers=layers_of(STUDY, w.model),
                to_read=as_words(lengths_asked(STUDY, w.model)),
                out=model_folder(w),
            )
        ),
        sha256=lambda w: said("sha256", source_of_model(w).sha256),
    message:
        "Turn the GGUF file of {wildcards.model} into float32"
    shell:
        "normgrowth import-gguf {params.job} > {log} 2>&1"


# The tables of facts are data files of the command's modules: their content is part of its fingerprint of code.
rule included_facts:
    output:
        facts=layout.FACTS,
    log:
        "logs/resources/included-facts/{facts}.log",
    benchmark:
        "logs/resources/included-facts/{facts}.benchmark.jsonl"
    wildcard_constraints:
        facts=any_of(FILES.included_facts()),
    priority: 90
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        *closure("normgrowth.commands.included_facts"),
        job=lambda w, output: words(
            IncludedFacts(
                name=STUDY.fact_sources[w.facts].name,
                seed=STUDY.fact_sources[w.facts].seed,
                limit=STUDY.fact_sources[w.facts].limit,
                out=output.facts,
            )
        ),
        name=lambda w: said("name", STUDY.fact_sources[w.facts].name),
        seed=lambda w: said("seed", STUDY.fact_sources[w.facts].seed),
        limit=lambda w: said("limit", STUDY.fact_sources[w.facts].limit),
    message:
        "Write the facts {wildcards.facts} ({params.name})"
    shell:
        "normgrowth included-facts {params.job} > {log} 2>&1"


rule import_facts:
    input:
        fetched=lambda w: FILES.sources_of_facts(w.facts)[0],
    output:
        facts=layout.FACTS,
    log:
        "logs/resources/import-facts/{facts}.log",
    benchmark:
        "logs/resources/import-facts/{facts}.benchmark.jsonl"
    wildcard_constraints:
        facts=any_of(set(STUDY.fact_sources) - set(STUDY.worlds) - FILES.included_facts()),
    priority: 90
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        *closure("normgrowth.commands.import_facts"),
        job=lambda w, input, output: words(
            ImportFacts(
                path=[*input.fetched, *FILES.sources_of_facts(w.facts)[1]][0],
                format=format_of(STUDY.fact_sources[w.facts]),
                limit=STUDY.fact_sources[w.facts].limit,
                out=output.facts,
            )
        ),
        format=lambda w: said("format", format_of(STUDY.fact_sources[w.facts])),
        limit=lambda w: said("limit", STUDY.fact_sources[w.facts].limit),
        content=lambda w: contents_of(FILES.sources_of_facts(w.facts)[1]),
    message:
        "Check the facts {wildcards.facts}"
    shell:
        "normgrowth import-facts {params.job} > {log} 2>&1"


rule write_text:
    input:
        model=lambda w: layout.MANIFEST.format(model=STUDY.text_sources[w.text].model),
    output:
        text=layout.TEXT,
    log:
        "logs/resources/write-text/{text}.log",
    benchmark:
        "logs/resources/write-text/{text}.benchmark.jsonl"
    wildcard_constraints:
        text=any_of(texts_written(STUDY)),
    priority: 90
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=lambda w, attempt: attempt * megabytes_of(STUDY.text_sources[w.text].model),
        runtime=growing(MINUTES["write_text"]),
    params:
        *closure("normgrowth.commands.write_text"),
        *numerics(),
        **DEVICE_SETTINGS,
        job=lambda w, output: words(
            WriteText(
                model=layout.MODEL.format(model=STUDY.text_sources[w.text].model),
                name=w.text,
                seed=STUDY.seed,
                tokens=STUDY.text_sources[w.text].tokens,
                document_tokens=STUDY.text_sources[w.text].document_tokens,
                top_k=STUDY.text_sources[w.text].top_k,
                out=output.text,
                **DEVICE,
            )
        ),
        seed=said("seed", STUDY.seed),
        tokens=lambda w: said("tokens", STUDY.text_sources[w.text].tokens),
        document_tokens=lambda w: said("document_tokens", STUDY.text_sources[w.text].document_tokens),
        top_k=lambda w: said("top_k", STUDY.text_sources[w.text].top_k),
    message:
        "Let a model write the text {wildcards.text}"
    shell:
        "normgrowth write-text {params.job} --threads {threads} > {log} 2>&1"


rule import_text:
    input:
        fetched=lambda w: FILES.sources_of_text(w.text)[0],
    output:
        text=layout.TEXT,
    log:
        "logs/resources/import-text/{text}.log",
    benchmark:
        "logs/resources/import-text/{text}.benchmark.jsonl"
    wildcard_constraints:
        text=any_of(set(STUDY.text_sources) - set(texts_written(STUDY))),
    priority: 90
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        *closure("normgrowth.commands.import_text"),
        job=lambda w, input, output: words(
            ImportText(
                paths=[*input.fetched, *FILES.sources_of_text(w.text)[1]],
                column=STUDY.text_sources[w.text].column,
                documents=STUDY.text_sources[w.text].documents,
                out=output.text,
            )
        ),
        column=lambda w: said("column", STUDY.text_sources[w.text].column),
        documents=lambda w: said("documents", STUDY.text_sources[w.text].documents),
        content=lambda w: contents_of(FILES.sources_of_text(w.text)[1]),
    message:
        "Put together the text {wildcards.text}"
    shell:
        "normgrowth import-text {params.job} > {log} 2>&1"


# What a model gets right before any edit. How many facts the study needs stands in the job alone: more edits ask the
# model nothing again, and a run that needs more than there are says so at its first edit.
rule known_facts:
    input:
        model=layout.MANIFEST,
        facts=layout.FACTS,
    output:
        facts=layout.KNOWN_FACTS,
    log:
        "logs/resources/known-facts/{facts}/{model}.log",
    benchmark:
        "logs/resources/known-facts/{facts}/{model}.benchmark.jsonl"
    wildcard_constraints:
        facts=any_of(FILES.known_facts()),
    priority: 85  # all work with the model waits for it
    threads: STUDY.threads
    resources:
        **ON_DEVICE,
        mem_mb=memory,
        runtime=growing(MINUTES["known_facts"]),
    params:
        *closure("normgrowth.commands.known_facts"),
        *numerics(),
        **DEVICE_SETTINGS,
        job=lambda w, input, output: words(
            KnownFacts(model=model_folder(w), facts=input.facts, out=output.facts, **needed_of(w), **DEVICE)
        ),
    message:
        "Find the facts of {wildcards.facts} that {wildcards.model} knows"
    shell:
        "normgrowth known-facts {params.job} --threads {threads} > {log} 2>&1"
