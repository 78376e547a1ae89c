# From the small files of all jobs to tables, and from tables to figures, claims and the report.


localrules:
    collect,
    draw,
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
        "normgrowth collect --table {wildcards.table} --results results/{wildcards.study} --chains {params.chains} "
        "--segments {params.segments} "
        "--checkpoints {params.checkpoints} {params.evaluated} --out {output.table} > {log} 2>&1"


rule draw:
    input:
        tables=lambda w: [f"results/{w.study}/tables/{table}.parquet" for table in FIGURES[w.figure].tables],
    output:
        pdf="results/{study}/figures/{figure}.pdf",
        svg="results/{study}/figures/{figure}.svg",
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
        *DRAW_CODE,
        *versions("matplotlib"),
        figure_code=lambda w: beyond(DRAW_CODE, f"normgrowth.figures.{w.figure}"),
        style=lambda w: compact(STUDY.figures),
        out=subpath(output.pdf, strip_suffix=".pdf"),
    message:
        "Draw {wildcards.figure}"
    shell:
        "normgrowth draw --figure {wildcards.figure} --tables results/{wildcards.study}/tables "
        "--style {params.style:q} --out {params.out} > {log} 2>&1"


rule claims:
    input:
        tables=expand(
            "results/{{study}}/tables/{table}.parquet",
            table=[*TABLES_OF_CLAIMS, *[INTERVENTIONS] * bool(STUDY.interventions)],
        ),
    output:
        json="results/{study}/claims.json",
        markdown="results/{study}/claims.md",
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
        "normgrowth claims --tables results/{wildcards.study}/tables --seed {params.seed} "
        "--conditions {params.conditions:q} --out-json {output.json} --out-md {output.markdown} > {log} 2>&1"


rule provenance:
    input:
        models=expand("resources/models/{model}/manifest.json", model=STUDY.models),
        data=sorted({FACTS, TEXT, HELDOUT}),
        lock="envs/lock.txt",
        figures=vetted_models(),
    output:
        json="results/{study}/provenance.json",
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
    message:
        "Write down what the results were made from"
    shell:
        "normgrowth provenance --study {params.study:q} --inputs {input.models} {input.data} {input.lock} "
        "--figures {input.figures} --out {output.json} > {log} 2>&1"


rule report:
    input:
        figures=expand("results/{{study}}/figures/{figure}.{format}", figure=DRAWN, format=["svg", "pdf", "png"]),
        claims="results/{study}/claims.json",
        tables=expand("results/{{study}}/tables/{table}.parquet", table=TABLES),
        provenance="results/{study}/provenance.json",
    output:
        html="results/{study}/report.html",
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
        "normgrowth report --results results/{wildcards.study} --figures {params.figures} --out {output.html} "
        "> {log} 2>&1"
