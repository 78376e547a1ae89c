# From the small files of all jobs to tables, and from tables to figures, claims and the report. What is marked
# with `report()` stands in Snakemake's own report too, under a caption of workflow/report.


localrules:
    collect,
    draw,
    card,
    claims,
    report,


rule collect:
    input:
        lambda w: FILES.rows_of_table(w.table),
    output:
        table=layout.TABLE,
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
        job=lambda w, output: words(
            Collect(
                table=w.table,
                study=w.study,
                results=layout.RESULTS.format(study=w.study),
                chains=FILES.chains_of_table(w.table),
                segments=PLAN.segments,
                checkpoints=[0, *PLAN.checkpoints],
                evaluated=evaluated_of(w),
                out=output.table,
            )
        ),
        chains=lambda w: FILES.chains_of_table(w.table),
        segments=said("segments", PLAN.segments),
        checkpoints=said("checkpoints", [0, *PLAN.checkpoints]),
        evaluated=lambda w: said("evaluated", evaluated_of(w)),
    message:
        "Put together the table {wildcards.table}"
    shell:
        "normgrowth collect {params.job} > {log} 2>&1"


rule draw:
    input:
        tables=lambda w: [layout.TABLE.format(study=w.study, table=t) for t in FIGURES[w.figure].tables],
    output:
        pdf=f"{layout.FIGURE}.pdf",
        svg=report(
            f"{layout.FIGURE}.svg",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=lambda w: FIGURES[w.figure].subject,
            labels=lambda w: {"figure": FIGURES[w.figure].title},
        ),
        png=f"{layout.FIGURE}.png",
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
        # The caption, for the report. A function of the outputs is not compared, so a new caption redraws nothing; a
        # parameter without a name is not listed beside the figure.
        lambda w, output: FIGURES[w.figure].caption,
        *DRAW_CODE,
        *versions("matplotlib"),
        **STYLE_SETTINGS,
        job=lambda w, output: words(
            Draw(
                figure=w.figure,
                study=w.study,
                tables=layout.TABLES.format(study=w.study),
                style=STUDY.figures,
                out=Path(output.pdf).with_suffix(""),
            )
        ),
        figure_code=lambda w: beyond(DRAW_CODE, f"normgrowth.figures.{w.figure}"),
    message:
        "Draw {wildcards.figure}"
    shell:
        "normgrowth draw {params.job} > {log} 2>&1"


rule card:
    input:
        tables=expand(layout.TABLE, table=layout.CARD_TABLES, allow_missing=True),
    output:
        pdf=f"{layout.CARD}.pdf",
        svg=report(
            f"{layout.CARD}.svg",
            caption="../report/card.rst",
            category="Runs",
            subcategory=lambda w: models_of(w.editor),
            labels={"editor": "{editor}", "model": "{model}"},
        ),
        png=f"{layout.CARD}.png",
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
        **STYLE_SETTINGS,
        job=lambda w, output: words(
            Card(
                study=w.study,
                model_name=w.model,
                editor_name=w.editor,
                tables=layout.TABLES.format(study=w.study),
                style=STUDY.figures,
                out=layout.CARD.format(**w),
            )
        ),
    message:
        "Draw the run of {wildcards.editor} on {wildcards.model}"
    shell:
        "normgrowth card {params.job} > {log} 2>&1"


rule claims:
    input:
        tables=expand(
            layout.TABLE,
            table=[*layout.CLAIM_TABLES, *[layout.INTERVENTIONS] * bool(PLAN.interventions)],
            allow_missing=True,
        ),
    output:
        json=layout.CLAIMS_JSON,
        markdown=report(
            layout.CLAIMS_MARKDOWN,
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
        **fixed(flat(PLAN.conditions)),
        job=lambda w, output: words(
            Claims(
                study=w.study,
                tables=layout.TABLES.format(study=w.study),
                seed=STUDY.seed,
                conditions=PLAN.conditions,
                out_json=output.json,
                out_md=output.markdown,
            )
        ),
        seed=said("seed", STUDY.seed),
    message:
        "Judge the claims"
    shell:
        "normgrowth claims {params.job} > {log} 2>&1"


rule provenance:
    input:
        models=expand(layout.MANIFEST, model=FILES.models_read()),
        facts=FILES.facts_of_models(),
        text=TEXT,
        heldout=HELDOUT,
        contexts=expand(CONTEXTS, model=STUDY.models),
        gathered=[file for files in FILES.of_all_editors().values() for file in files],
        data=FILES.data_of_interventions(),
        lock=of_repository("envs/lock.txt"),
        figures=FILES.vetted(),
        tables=expand(layout.TABLE, table=TABLES, allow_missing=True),
    output:
        json=report(
            layout.PROVENANCE,
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
        **ON_CPU,
        mem_mb=growing(ONE_PROCESS),
        runtime=growing(60),  # every model is hashed
    params:
        *closure("normgrowth.commands.provenance"),
        *numerics(),
        **fixed({f"study_{name}": text for name, text in flat(json.loads(PLAN.as_json)).items()}),
        job=lambda w, input, output: words(
            Provenance(
                study=PLAN.as_json,
                models=[Path(manifest).parent for manifest in input.models],
                facts=input.facts,
                text=[input.text],
                heldout=[input.heldout],
                contexts=input.contexts,
                data=input.data,
                lock=input.lock,
                figures=input.figures,
                tables=input.tables,
                out=output.json,
                **FILES.of_all_editors(),
            )
        ),
    message:
        "Write down what the results were made from"
    shell:
        "normgrowth provenance {params.job} > {log} 2>&1"


rule report:
    input:
        figures=expand(f"{layout.FIGURE}.{{format}}", figure=DRAWN, format=["svg", "pdf", "png"], allow_missing=True),
        claims=layout.CLAIMS_JSON,
        tables=expand(layout.TABLE, table=TABLES, allow_missing=True),
        provenance=layout.PROVENANCE,
    output:
        html=report(
            layout.REPORT,
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
        job=lambda w, output: words(
            Report(
                study=w.study,
                results=layout.RESULTS.format(study=w.study),
                figures=DRAWN,
                logs="logs",
                out=output.html,
            )
        ),
        figures=DRAWN,
    message:
        "Write the report"
    shell:
        "normgrowth report {params.job} > {log} 2>&1"
