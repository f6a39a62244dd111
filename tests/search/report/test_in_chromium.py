"""The page as a person has it: in a real browser, at the widths of a desk, a tablet and a phone."""

import json

import pytest
from browser import CHROMIUM, Browser

import search
from rllib_ext.export.wiring import MOST_EDGES, Unit, Wiring
from search.report import write_report

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine"),
]
WIDTHS = (1400, 900, 390)


@pytest.fixture(scope="module")
def folder(simulate, tmp_path_factory):
    """A report of a front with several points, one of which can be drawn."""
    place = simulate(tmp_path_factory.mktemp("browsed") / "cartpole", members=8, segments=5).folder
    front = search.load(place).front
    small = front[front["nonzero_params"] <= MOST_EDGES].iloc[-1]
    ends = [Unit(f"observation[{i}]", 0, "input") for i in range(4)] + [
        Unit("logits[0]", 1, "output")
    ]
    path = place / small["policy"] / "metadata.json"
    wiring = Wiring(tuple(ends), ((0, 4, 1.0), (2, 4, -2.0)))
    path.write_text(json.dumps({**json.loads(path.read_text()), "wiring": wiring.as_json()}))
    write_report(place)
    return place


@pytest.fixture(scope="module")
def browser():
    found = Browser()
    yield found
    found.close()


@pytest.fixture
def page(browser, folder):
    browser.resize(1400)
    browser.open(folder / "report.html")
    return browser


def shown(page):
    """The policies whose cards are to be seen."""
    cards = "[...document.querySelectorAll('[data-card]')]"
    return page.value(f"{cards}.filter(c => c.offsetParent).map(c => c.dataset.card)")


FRONT = "allViews.then(views => {{ const view = views.find(v => knows(v, 'picked')); {} }})"


def ringed(page):
    """The policy with the halo in the chart."""
    return page.value(FRONT.format("return view.signal('picked');"))


def place_of(page, row):
    """Where a front point lies in the window."""
    where = (
        "const box = view.container().querySelector('svg').getBoundingClientRect();"
        "const [left, top] = view.origin(), room = view.padding();"
        "return [box.x + room.left + left + view.scale('x')({x}),"
        "box.y + room.top + top + view.scale('y')({y})];"
    )
    return page.value(FRONT.format(where.format(x=row["nonzero_params"], y=row["return_mean"])))


# What of the main table can be seen, and which of it is cut off at an edge or by its own cell.
CELLS = (
    "[...document.querySelectorAll('#front-table th, #front-table td')].filter(c => c.offsetParent)"
)
CLIPPED = """(() => {
  const frame = document.querySelector('#front-table').parentElement.getBoundingClientRect();
  return CELLS.filter((cell) => {
    const box = cell.getBoundingClientRect();
    const over = box.right > frame.right + 1 || box.left < frame.left - 1;
    return over || cell.scrollWidth > cell.clientWidth + 1;
  }).map((cell) => cell.textContent);
})()""".replace("CELLS", CELLS)
HEADINGS = "[...document.querySelectorAll('#front-table thead th')]"


def test_the_slider_moves_the_pick_by_keyboard_and_card_table_and_chart_follow(page, folder):
    front = search.load(folder).front
    names = list(front["snapshot_id"])
    pick = search.load(folder).confirmed.pick("keeps_95")
    assert shown(page) == [pick]
    assert ringed(page) == pick
    page.value("document.getElementById('weights-range').focus()")
    for step in (1, 2):
        page.press("ArrowLeft")
        assert shown(page) == [names[names.index(pick) + step]]
    page.press("ArrowRight")
    now = shown(page)[0]
    assert ringed(page) == now
    assert page.value("document.querySelector('tr[aria-current]').dataset.policy") == now
    assert now in page.value("document.getElementById('said').textContent")
    page.press("Home")
    assert shown(page) == [names[-1]]
    page.value("document.getElementById('loss-range').focus()")
    page.press("Home")
    assert shown(page) == [names[0]]


def test_typed_limits_are_kept_to(page, folder):
    front = search.load(folder).front
    for limit in (front["nonzero_params"].iloc[1], front["nonzero_params"].iloc[1] + 1):
        page.value("document.getElementById('weights').select()")
        for digit in str(limit):
            page.press(digit)
        assert shown(page) == [front["snapshot_id"].iloc[1]]
        assert page.value("document.getElementById('weights').value") == str(limit)
    page.value("document.getElementById('loss').select()")
    page.press("5")
    assert shown(page) == [search.load(folder).confirmed.pick("keeps_95")]


def test_the_pick_hovers_like_its_neighbours_and_a_click_on_a_point_picks_it(page, folder):
    front = search.load(folder).front.set_index("snapshot_id")
    page.value("document.getElementById('front').scrollIntoView({behavior: 'instant'})")
    for name in (shown(page)[0], front.index[0]):
        x, y = place_of(page, front.loc[name])
        page.move(x - 60, y + 60)
        page.move(x, y)
        page.until(f"document.getElementById('vg-tooltip-element').textContent.includes('{name}')")
    page.click(x, y)
    assert shown(page) == [front.index[0]]


def test_the_command_is_copied_by_a_click(page, folder):
    page.value(
        "navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }"
    )  # fmt: skip
    page.value("document.querySelector('[data-card]:not([hidden]) [data-copy]').click()")
    page.until("window.copied")
    assert page.value("copied") == f"prunefront export cartpole --point {shown(page)[0]} --format c"


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_clipped_and_nothing_runs_over_the_edge(page, width):
    page.resize(width)
    page.open_again()
    assert page.value("document.documentElement.scrollWidth") == width
    assert page.value(CLIPPED) == []
    assert 4 <= page.value(f"{HEADINGS}.filter(c => c.offsetParent).length") <= 7


@pytest.mark.parametrize("width", [1400, 390])
def test_all_columns_come_on_demand_and_the_first_one_stays(page, width):
    page.resize(width)
    page.open_again()
    page.value("document.getElementById('all-columns').click()")
    before, after = page.value(
        "(() => { const cell = document.querySelector('#front-table tbody th');"
        "const frame = cell.closest('.scroll'); const first = cell.getBoundingClientRect().x;"
        "frame.scrollLeft = 10000; return [first, cell.getBoundingClientRect().x]; })()"
    )
    assert before == pytest.approx(after, abs=1)
    assert page.value(f"{HEADINGS}.every(c => c.offsetParent)")
    assert page.value(f"{HEADINGS}.length") > 7
