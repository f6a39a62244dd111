import pytest

from search.evaluation.groups import MOST, grouped, named


@pytest.mark.parametrize(("count", "cpus"), [(17, 2), (17, 1), (3, 8), (1, 1), (200, 2), (0, 4)])
def test_policies_are_shared_out_in_order_and_every_cpu_has_work(count, cpus):
    groups = grouped(range(count), cpus)
    assert [item for group in groups for item in group] == list(range(count))
    sizes = list(map(len, groups))
    assert max(sizes, default=0) <= MOST
    assert len(groups) >= min(count, cpus)
    # But for the last, they are equal.
    assert len(set(sizes[:-1])) <= 1


def test_a_message_names_the_policies():
    assert named(["a"]) == "the policy 'a'"
    assert named(["a", "b"]) == "the policies 'a', 'b'"
