"""Lines that grow: what a crash tears is never read, and nothing is written behind it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from search.store.lines import append_lines, read_lines

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=4), min_size=1, max_size=5)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(records=RECORDS, data=st.data())
def test_whatever_prefix_of_the_bytes_survives_the_whole_records_are_read_and_appending_goes_on(
    tmp_path_factory, records, data
):
    path = tmp_path_factory.mktemp("archive") / "records.jsonl"
    ends = [0]
    for record in records:
        append_lines(path, [record])
        ends.append(path.stat().st_size)
    written = path.read_bytes()
    cut = data.draw(st.integers(0, len(written)), label="bytes that survive")
    path.write_bytes(written[:cut])
    whole = sum(end <= cut for end in ends[1:])

    assert list(read_lines(path)) == records[:whole]

    # A torn last line is cut off before the next record is written.
    append_lines(path, [{"next": 1}])
    assert path.read_bytes()[: ends[whole]] == written[: ends[whole]]
    assert list(read_lines(path)) == [*records[:whole], {"next": 1}]
