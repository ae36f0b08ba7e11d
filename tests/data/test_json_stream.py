import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoassign.data import json_stream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def read(path, keys=("a", "b")):
    found = {key: [] for key in keys}
    present = json_stream.read_lists(
        path, {key: lambda index, x, key=key: found[key].append((index, x)) for key in keys}
    )
    return present, {key: [x for _, x in rows] for key, rows in found.items()}


@given(
    content=st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4),
    chunk=st.integers(1, 7),
    indent=st.sampled_from([None, 2]),
)
def test_it_gives_what_the_json_module_gives_however_the_text_is_cut(
    tmp_path_factory, content, chunk, indent
):
    path = tmp_path_factory.mktemp("json") / "file.json"
    path.write_text(json.dumps(content, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        present, found = read(path)

    lists = {key: value for key, value in content.items() if isinstance(value, list)}
    assert present == lists.keys() & {"a", "b"}
    assert found == {key: lists.get(key, []) for key in ("a", "b")}


@given(cut=st.integers(0, 60), chunk=st.integers(1, 9))
def test_text_that_is_cut_off_is_never_taken_for_whole(tmp_path_factory, cut, chunk):
    text = json.dumps({"a": [{"x": 1.5}, 12, "y"], "c": [[], {}], "b": [True]})
    path = tmp_path_factory.mktemp("json") / "file.json"
    path.write_text(text[: min(cut, len(text) - 1)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_CHUNK", chunk)
        with pytest.raises(ValueError, match=r"file\.json is not JSON"):
            read(path)


def test_entries_come_before_the_rest_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", 64)
    path = tmp_path / "file.json"
    path.write_text('{"a": [' + "1, " * 1000 + "oops]}")
    seen = []
    with pytest.raises(ValueError, match="is not JSON"):
        json_stream.read_lists(path, {"a": lambda index, value: seen.append(index)})
    assert seen == list(range(1000))
