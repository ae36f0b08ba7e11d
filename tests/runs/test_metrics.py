import json

import pytest
from detectron2.utils.events import EventStorage, JSONWriter

from autoassign.runs import read_metrics, repair_metrics


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.json"


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_reads_what_detectron2_writes(path):
    writer = JSONWriter(str(path))
    with EventStorage() as storage:
        storage.put_scalar("total_loss", 2.0)
        writer.write()
        storage.step()
        storage.put_scalar("total_loss", 1.0)
        storage.put_scalar("bbox/AP", 50.0, smoothing_hint=False)
        writer.write()
    writer.close()
    rows = read_metrics(path).rows
    assert [row["iteration"] for row in rows] == [0, 1]
    assert [row.get("bbox/AP") for row in rows] == [None, 50.0]


def test_iterations_repeated_after_resuming_count_once(path):
    rows = [{"iteration": i, "total_loss": loss} for i, loss in [(0, 5.0), (1, 4.0), (1, 3.0)]]
    assert read_metrics(write(path, *rows)).rows == [rows[0], rows[2]]


@pytest.mark.parametrize("line", ['{"total_loss": 1.0}', "[1]", "3", '{"iteration": "3"}'])
def test_a_line_that_is_no_row_is_named(path, line):
    write(path, {"iteration": 1})
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"metrics\.json, line 2: not a JSON object"):
        read_metrics(path)


@pytest.mark.parametrize("value", ["null", '"12"', "[1.0]", "true", "1" * 400])
def test_a_value_that_is_no_number_is_named(path, value):
    path.write_text(f'{{"iteration": 1}}\n{{"iteration": 2, "lr": {value}}}\n')
    with pytest.raises(ValueError, match=r'metrics\.json, line 2: "lr" is not a number') as error:
        read_metrics(path)
    assert value[:80] in str(error.value)


def test_the_line_that_a_killed_run_leaves_is_counted(path):
    rows = [{"iteration": 0, "total_loss": 2.0}, {"iteration": 1, "total_loss": float("inf")}]
    whole = write(path, *rows).read_text()
    path.write_text(whole[:-1])  # without its line break the last line is whole
    assert (read_metrics(path).rows, read_metrics(path).num_truncated) == (rows, 0)
    for end in range(whole.index("\n") + 2, len(whole) - 1):
        path.write_text(whole[:end])
        assert (read_metrics(path).rows, read_metrics(path).num_truncated) == (rows[:1], 1)


def test_what_a_resumed_run_appended_to_half_a_line_is_read(path):
    path.write_text('{"iteration": 0}\n{"iteration": 1, "tot{"iteration": 1, "lr": 2.0}\n')
    assert read_metrics(path).rows == [{"iteration": 0}, {"iteration": 1, "lr": 2.0}]


@pytest.mark.parametrize("content", ['{"iteration": 0, "tot', "text\n", "0, 5", "[" * 100_000])
def test_a_file_without_a_whole_line_is_an_error(path, content):
    path.write_text(content)
    with pytest.raises(ValueError, match=r"metrics\.json has no whole line"):
        read_metrics(path)


def test_evaluations_are_numbered_by_the_iterations_done(path):
    rows = [
        {"iteration": 1, "bbox/AP": 10.0, "bbox/AP-cat": 5.0, "lr": 0.1},
        {"iteration": 2, "lr": 0.1},
        {"iteration": 3, "bbox/AP": 20.0},
        {"iteration": 4, "bbox/AP": 30.0},  # after the training
    ]
    evaluations = read_metrics(write(path, *rows)).evaluations(("val",), max_iter=4)
    assert evaluations == {2: {"AP": 10.0, "AP-cat": 5.0}, 4: {"AP": 30.0}}


def test_of_several_test_datasets_the_first_one_counts(path):
    write(path, {"iteration": 1, "a/bbox/AP": 10.0, "b/bbox/AP": 20.0})
    assert read_metrics(path).evaluations(("b", "a"), max_iter=9) == {2: {"AP": 20.0}}


@pytest.mark.parametrize(
    ("truncated", "whole"),
    [
        ('{"iteration": 0}\n{"iterat', '{"iteration": 0}\n'),
        ('{"iteration": 0}', '{"iteration": 0}\n'),
        ('{"iteration": 0}\n', '{"iteration": 0}\n'),
        ("{", ""),
        ("", ""),
    ],
)
def test_a_truncated_line_is_removed_before_a_resumed_run_appends(path, truncated, whole):
    path.write_text(truncated)
    repair_metrics(path)
    assert path.read_text() == whole


def test_metrics_that_are_not_there_need_no_repair(path):
    repair_metrics(path)
    assert not path.exists()
