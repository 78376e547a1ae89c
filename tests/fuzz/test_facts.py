"""Facts files: mutated records and encodings."""

import json

from hypothesis import given
from hypothesis import strategies as st

from normgrowth.errors import NormgrowthError
from normgrowth.facts.records import read_facts
from normgrowth.lm.tokens import encode_with_target
from tests.fuzz.oracle import change_somewhere, encoded, fuzz, outcome
from tests.support import small_models

ZSRE = [
    {
        "subject": name,
        "src": f"Where was {name} born?",
        "rephrase": f"In which place was {name} born?",
        "alt": small_models.PLACES[i % 4],
        "answers": [small_models.PLACES[(i + 1) % 4]],
        "loc": "nq question: who?",
        "loc_ans": "nobody",
    }
    for i, name in enumerate(small_models.SUBJECTS)
]
EXAMPLES = {"counterfact": small_models.records(), "zsre": ZSRE}


@fuzz(700)
@given(st.data())
def test_a_facts_file_is_read_rightly_or_refused_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("facts")
    schema = data.draw(st.sampled_from(sorted(EXAMPLES)))
    records = json.loads(json.dumps(EXAMPLES[schema]))
    document = {"records": records} if data.draw(st.integers(0, 9)) == 0 else records
    for _ in range(data.draw(st.integers(0, 3))):
        change_somewhere(data.draw, document)
    text = json.dumps(document, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    given_file, made = folder / "given.json", folder / "facts.json"
    given_file.write_bytes(encoded(data.draw, text))
    asked = data.draw(st.sampled_from([schema, schema, schema, *EXAMPLES]))
    if outcome("import-facts", "--path", given_file, "--format", asked, "--out", made).refused:
        assert not made.exists()
        return
    facts = read_facts(made)
    assert len({fact.case_id for fact in facts}) == len(facts) > 0
    tokenizer = small_models.tokenizer("gpt2")
    for fact in facts:
        start, end = fact.subject_span
        assert fact.question[start:end] == fact.subject == fact.subject.strip() != ""
        assert fact.target_new != fact.target_true and fact.target_new == fact.target_new.strip() != ""
        try:
            ids, first = encode_with_target(tokenizer, fact.question, fact.target_new)
        except NormgrowthError:
            continue
        assert 0 < first < len(ids) and tokenizer.decode(ids[first:]).strip() == fact.target_new
