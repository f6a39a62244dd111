"""Of a film the page takes what is one, and says why there is none."""

import json

import pytest
from plain_charts import plain_page

import search
from search.report.episode import episode_of
from search.store.folder import MOVING, STILL

TOLD = {"seed": 7, "returned": 211.5, "steps": 300, "speed": 2.0, "width": 300, "height": 200}
WEBP = b"RIFF\x10\0\0\0WEBPVP8 "


@pytest.fixture
def folder(simulate, tmp_path):
    return simulate(tmp_path / "a", members=4, segments=3).folder


def note(folder, **values):
    place = folder / search.load(folder).front["policy"].iloc[0]
    path = place / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return place


def episode(folder):
    results = search.load(folder)
    return episode_of(results, results.front.iloc[0].to_dict())


def shown(folder):
    return plain_page(search.load(folder))


def test_a_film_lies_in_the_page_with_what_it_shows(folder):
    place = note(folder, episode=TOLD, episode_note="")
    (place / MOVING).write_bytes(WEBP)
    (place / STILL).write_bytes(WEBP)
    assert "seed 7, return 211.5 after 300 steps, shown 2.0 times as fast" in episode(folder).text
    text = shown(folder)
    assert text.count("data:image/webp;base64,UklGR") == 3
    assert 'width="300" height="200"' in text


def test_why_there_is_none_is_said(folder):
    note(folder, episode_note="MyEnv <b> does not render pictures")
    text = shown(folder)
    assert "No film of an episode: MyEnv &lt;b&gt; does not render pictures." in text


@pytest.mark.parametrize(
    ("told", "content"),
    [
        (TOLD, b"<script>"),
        (TOLD, WEBP + b"0" * 700_000),
        ({"seed": "x"}, WEBP),
        ("none", WEBP),
        (TOLD, None),
    ],
)
def test_what_is_no_film_of_ours_stays_out(folder, told, content):
    place = note(folder, episode=told)
    if content is not None:
        (place / MOVING).write_bytes(content)
        (place / STILL).write_bytes(WEBP)
    assert episode(folder).moving == episode(folder).text == ""
