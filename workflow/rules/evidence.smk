# From the small files of all jobs to tables, and from tables to figures, claims and the report. What is marked
# with `report()` stands in Snakemake's own report too, under a caption of workflow/report.


localrules:
    collect,
    draw,
    card,
    claims,
    provenance,
    report,


rule collect:
    input:
        rows_of_table,
    output:
        table="results/{study}/tables/{table}.parquet",
    log:
        "logs/{study}/collect/{table}.log",
    benchmark:
        "logs/{study}/collect/{table}.benchmark.jsonl"
    priority: 50
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        *closure("normgrowth.commands.collect"),
        chains=lambda w: chains_of_table(w.table),
        segments=PLAN.segments,
        checkpoints=[0, *PLAN.checkpoints],
        evaluated=lambda w: ["--evaluated", *PLAN.evaluated] if w.table == TABLE_OF_ABILITY and PLAN.evaluated else [],
    message:
        "Put together the table {wildcards.table}"
    shell:
        "normgrowth collect --table {wildcards.table} --study {wildcards.study} --results results/{wildcards.study} "
        "--chains {params.chains} --segments {params.segments} "
        "--checkpoints {params.checkpoints} {params.evaluated} --out {output.table} > {log} 2>&1"


rule draw:
    input:
        tables=lambda w: [f"results/{w.study}/tables/{table}.parquet" for table in FIGURES[w.figure].tables],
    output:
        pdf="results/{study}/figures/{figure}.pdf",
        svg=report(
            "results/{study}/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=lambda w: FIGURES[w.figure].subject,
            labels=lambda w: {"figure": FIGURES[w.figure].title},
        ),
        png="results/{study}/figures/{figure}.png",
    log:
        "logs/{study}/draw/{figure}.log",
    benchmark:
        "logs/{study}/draw/{figure}.benchmark.jsonl"
    priority: 40
    threads: 1
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        # The caption, for the report. What is worked out with the outputs at hand is no reason to run again, so that
        # other words draw no figure anew; what has no name is not listed beside the figure.
        lambda w, output: FIGURES[w.figure].caption,
        *DRAW_CODE,
        *versions("matplotlib"),
        figure_code=lambda w: beyond(DRAW_CODE, f"normgrowth.figures.{w.figure}"),
        style=lambda w: compact(STUDY.figures),
        out=subpath(output.pdf, strip_suffix=".pdf"),
    message:
        "Draw {wildcards.figure}"
    shell:
        "normgrowth draw --figure {wildcards.figure} --study {wildcards.study} --tables results/{wildcards.study}/tables "
        "--style {params.style:q} --out {params.out} > {log} 2>&1"


rule card:
    input:
        tables=expand("results/{{study}}/tables/{table}.parquet", table=TABLES_OF_CARDS),
    output:
        pdf="results/{study}/cards/{model}/{editor}.pdf",
        svg=report(
            "results/{study}/cards/{model}/{editor}.svg",
            caption="../report/card.rst",
            category="Runs",
            subcategory=lambda w: models_of(w.editor),
            labels={"editor": "{editor}", "model": "{model}"},
        ),
        png="results/{study}/cards/{model}/{editor}.png",
    log:
        "logs/{study}/card/{model}/{editor}.log",
    benchmark:
        "logs/{study}/card/{model}/{editor}.benchmark.jsonl"
    priority: 30
    threads: 1
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        *closure("normgrowth.commands.card", "normgrowth.figures.card"),
        *versions("matplotlib"),
        style=lambda w: compact(STUDY.figures),
        out=subpath(output.pdf, strip_suffix=".pdf"),
    message:
        "Draw the run of {wildcards.editor} on {wildcards.model}"
    shell:
        "normgrowth card --study {wildcards.study} --model-name {wildcards.model} --editor-name {wildcards.editor} "
        "--tables results/{wildcards.study}/tables --style {params.style:q} --out {params.out} > {log} 2>&1"


rule claims:
    input:
        tables=expand(
            "results/{{study}}/tables/{table}.parquet",
            table=[*TABLES_OF_CLAIMS, *[INTERVENTIONS] * bool(PLAN.interventions)],
        ),
    output:
        json="results/{study}/claims.json",
        markdown=report(
            "results/{study}/claims.md",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "Verdicts, as Markdown"},
        ),
    log:
        "logs/{study}/claims.log",
    benchmark:
        "logs/{study}/claims.benchmark.jsonl"
    priority: 40
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        *closure("normgrowth.commands.claims"),
        *versions("numpy", "scipy"),
        seed=STUDY.seed,
        conditions=lambda w: compact(PLAN.conditions),
    message:
        "Judge the claims"
    shell:
        "normgrowth claims --study {wildcards.study} --tables results/{wildcards.study}/tables --seed {params.seed} "
        "--conditions {params.conditions:q} --out-json {output.json} --out-md {output.markdown} > {log} 2>&1"


rule provenance:
    input:
        models=expand("resources/models/{model}/manifest.json", model=models_read()),
        facts=FACTS,
        text=TEXT,
        heldout=HELDOUT,
        contexts=expand(CONTEXTS, model=STUDY.models),
        gathered=[file for files in gathered_for_runs().values() for file in files],
        data=data_of_interventions(),
        lock=of_repository("envs/lock.txt"),
        figures=vetted_models(),
        tables=expand("results/{{study}}/tables/{table}.parquet", table=TABLES),
    output:
        json=report(
            "results/{study}/provenance.json",
            caption="../report/provenance.rst",
            category="Provenance",
            labels={"result": "Inputs, settings and software"},
        ),
    log:
        "logs/{study}/provenance.log",
    benchmark:
        "logs/{study}/provenance.benchmark.jsonl"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        *closure("normgrowth.commands.provenance"),
        *numerics(),
        study=lambda w: PLAN.as_json,  # as a function, so that braces in it are no wildcards
        models=lambda w, input: [os.path.dirname(manifest) for manifest in input.models],
        gathered=lambda w: options_of_gathered(),
    message:
        "Write down what the results were made from"
    shell:
        "normgrowth provenance --study {params.study:q} --models {params.models} --facts {input.facts} "
        "--text {input.text} --heldout {input.heldout} --contexts {input.contexts} {params.gathered} "
        "--data {input.data} --lock {input.lock:q} --figures {input.figures} --tables {input.tables} "
        "--out {output.json} > {log} 2>&1"


rule report:
    input:
        figures=expand("results/{{study}}/figures/{figure}.{format}", figure=DRAWN, format=["svg", "pdf", "png"]),
        claims="results/{study}/claims.json",
        tables=expand("results/{{study}}/tables/{table}.parquet", table=TABLES),
        provenance="results/{study}/provenance.json",
    output:
        html=report(
            "results/{study}/report.html",
            caption="../report/page.rst",
            category="Claims",
            labels={"result": "Page of verdicts, figures and tables"},
        ),
    log:
        "logs/{study}/report.log",
    benchmark:
        "logs/{study}/report.benchmark.jsonl"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        *closure("normgrowth.commands.report", "normgrowth.figures.catalogue"),
        *versions("jinja2"),
        figures=DRAWN,
    message:
        "Write the report"
    shell:
        "normgrowth report --study {wildcards.study} --results results/{wildcards.study} --figures {params.figures} "
        "--logs logs --out {output.html} > {log} 2>&1"
