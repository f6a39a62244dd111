import json
import os
import sys
import textwrap

import pytest

from benchmarks.shared.turns import (
    ANSWER,
    Contender,
    ContenderError,
    answer_in,
    in_turns,
    one_thread,
)

COUNTING = """
    from benchmarks.shared.turns import take_turns
    import time
    count = 0
    def train():
        global count
        time.sleep(0.3 if not count else 0.005)
        count += 1
        return 10
    print("a library's word", flush=True)
    take_turns(train, lambda: 4 * count, lambda cpu, steps: {"own": steps})
"""


def contender(code):
    return Contender("it", [sys.executable, "-c", textwrap.dedent(code)])


def test_the_first_answer_is_found_among_other_lines():
    lines = ["a warning\n", f"{ANSWER}{json.dumps({'steps': 3})}\n", f"{ANSWER}{{}}\n"]
    assert answer_in(lines) == {"steps": 3}
    assert answer_in(lines[:1]) is None
    assert answer_in([]) is None


def test_a_turn_counts_what_was_done_in_it_and_never_the_first_iteration():
    working = contender(COUNTING)
    first, second = working.work(0.1), working.work(0.05)
    working.stop()
    for answer, seconds in ((first, 0.1), (second, 0.05)):
        assert answer["wall"] >= seconds
        assert answer["own"] == answer["steps"] >= 10
        # An iteration is 10 steps and 4 of Adam.
        assert answer["adam_steps"] * 10 == answer["steps"] * 4
        assert answer["first"] >= 0.3
        assert answer["cpu"] < answer["wall"] < 0.3
    assert first["first"] == second["first"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("raise SystemExit('gymnax has no Kart-v0')", "gymnax has no Kart-v0"),
        ("import os; os._exit(3)", "it ended with status 3"),
    ],
)
def test_a_process_that_ends_says_why(code, reason):
    ending = contender(code)
    with pytest.raises(ContenderError, match="it: ended with status") as caught:
        ending.work(0.1)
    ending.stop()
    assert caught.value.reason == reason


def test_all_take_as_many_turns_and_others_may_be_left_out():
    working, ending = ([sys.executable, "-c", textwrap.dedent(c)] for c in (COUNTING, "1 / 0"))
    turns, left_out = in_turns({"needed": working}, {"other": working, "broken": ending}, 3, 0.01)
    assert {name: len(answers) for name, answers in turns.items()} == {"needed": 3, "other": 3}
    assert left_out == {"broken": "ZeroDivisionError: division by zero"}
    with pytest.raises(ContenderError, match="broken"):
        in_turns({"broken": ending}, {"other": working}, 3, 0.01)


def test_more_errors_than_a_pipe_holds_do_not_stop_a_process():
    telling = contender(
        "import sys; sys.stderr.write('x' * 300_000 + chr(10))" + COUNTING.replace("\n    ", "\n")
    )
    assert telling.work(0.01)["steps"] >= 10
    telling.stop()


def test_libraries_are_kept_to_one_thread_beside_what_is_set(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_own=1")
    assert one_thread()["XLA_FLAGS"].split()[0] == "--xla_own=1"
    assert "--xla_cpu_multi_thread_eigen=false" in one_thread()["XLA_FLAGS"]
    assert one_thread()["OMP_NUM_THREADS"] == "1"
    assert one_thread()["PATH"] == os.environ["PATH"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_threads_that_run_already_are_kept_to_the_same_core():
    bound = contender("""
        import os, threading
        from benchmarks.shared.turns import stay_on_one_core, take_turns
        over = threading.Event()
        thread = threading.Thread(target=over.wait, daemon=True)
        thread.start()
        stay_on_one_core()
        def cores(*_):
            return {"cores": [list(os.sched_getaffinity(t)) for t in (0, thread.native_id)]}
        take_turns(lambda: 1, lambda: 1, cores)
    """)
    assert bound.work(0.01)["cores"] == [[min(os.sched_getaffinity(0))]] * 2
    bound.stop()
