"""What jobs asked for and used, read from their records."""

import json

from normgrowth.report.usage import usage_table


def leave(folder, name, log="", **record):
    file = folder / f"{name}.benchmark.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record) + "\n")
    (folder / f"{name}.log").write_text(log)


def test_a_row_per_rule_with_the_most_of_each(tmp_path):
    edit = tmp_path / "demo" / "edit/m/e/order-0"
    asked = {"runtime": 60, "mem_mb": 2000, "gpu": 1}
    leave(edit, "segment-1", s=90.0, max_rss=500.0, rule_name="edit", resources=asked)
    leave(edit, "segment-2", "used 900 MB of GPU memory\n", s=30.0, max_rss=700.5, rule_name="edit", resources=asked)
    leave(tmp_path / "resources/world", "world", s=0.4, max_rss="NA")  # too short to be measured, and an older record
    (edit / "segment-3.benchmark.jsonl").write_text("")
    edits, world = usage_table(tmp_path, "demo").rows
    assert [cell.text for cell in edits] == ["edit", "2", "60", "1.5", "5", "2,000", "700", "1,400", "900"]
    assert [cell.text for cell in world][:3] == ["world", "1", "–"]
    assert [cell.text for cell in world][5:] == ["–", "–", "–", "–"]


def test_no_records_make_no_rows(tmp_path):
    assert usage_table(tmp_path, "demo").rows == []
