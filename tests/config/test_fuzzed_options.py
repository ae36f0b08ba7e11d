import pytest
from fuzz_options import DAMAGES, fuzz


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_options_are_read_or_refused(what, tmp_path):
    outcomes = fuzz(what, tmp_path / "fuzzed", range(100))
    # Both happen, so the damage is neither always fatal nor never noticed.
    assert min(outcomes.values()) > 5
