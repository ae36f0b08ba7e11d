"""The page's controls in a real browser."""

import shutil

import pytest
from headless_browser import find_chromium, use_page

from autoassign.analysis.report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium is installed"),
]

SCRIPT = """
const byId = (id) => document.getElementById(id);
const pressed = (id) => byId(id).querySelector("[aria-pressed=true]")?.textContent;
const see = () => ({
  object: byId("object-name").textContent,
  map: pressed("maps"),
  level: pressed("levels"),
  heat: byId("stage").querySelector(".heat")?.getAttribute("href") ?? null,
  box: byId("stage").querySelector("rect").getAttribute("width"),
  view: byId("stage").getAttribute("viewBox"),
});
const press = (key, element = byId("next")) =>
  element.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const after = (act) => { act(); return see(); };
const steps = {};
steps.start = see();
steps.next = after(() => byId("next").click());
steps.key = after(() => press("ArrowRight"));
steps.end = after(() => press("ArrowRight"));
steps.back = after(() => { byId("previous").click(); byId("previous").click(); });
steps.finest = after(() => byId("levels").children[0].click());
steps.map = after(() => byId("maps").children[1].click());
steps.map_key = after(() => press("m"));
steps.map_kept = after(() => byId("next").click());
steps.first = after(() => byId("previous").click());
steps.level = after(() => byId("levels").children[0].click());
steps.level_key = after(() => press("ArrowDown"));
steps.no_location = after(() => byId("levels").children[3].click());
steps.unzoomed = after(() => byId("zoom").click());
const viewer = byId("viewer");
viewer.focus();
const focus = {
  viewer: document.activeElement === viewer,
  ring: getComputedStyle(viewer).outlineStyle,
  before: see(),
  after: after(() => press("ArrowRight", document.activeElement)),
};
viewer.blur();
focus.blurred = document.activeElement === viewer;
byId("stage").dispatchEvent(new MouseEvent("click", {bubbles: true}));
focus.clicked = document.activeElement === viewer;
byId("previous").click();
byId("levels").children[0].click();
byId("stage").scrollIntoView();
const area = byId("stage").getBoundingClientRect();
byId("stage").dispatchEvent(new PointerEvent("pointermove", {
  clientX: area.left + area.width / 2, clientY: area.top + area.height / 2,
}));
const cells = (table) => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
const classes = document.querySelectorAll("#ap table")[1];
const heading = classes.tHead.rows[0].cells[1];
const sorted = () => {
  heading.firstElementChild.click();
  return [heading.getAttribute("aria-sort"), cells(classes)];
};
return {
  steps, focus, readout: byId("readout").textContent, sorted: [sorted(), sorted()],
  hidden: byId("viewer").hidden,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
};
"""

# The steps that show stride 64.
LEVEL_4 = ("no_location", "unzoomed")


@pytest.fixture(scope="module")
def seen(report_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    write_report(report_run, folder / "report.html", num_images=2)
    result, console = use_page((folder / "report.html").read_text("utf-8"), SCRIPT, folder)
    return {**result, "console": console}


def test_the_console_is_empty_and_nothing_overflows(seen):
    assert seen["console"] == []
    assert seen["hidden"] is False
    assert seen["overflow"] == 0


def test_a_broken_script_would_be_seen(tmp_path):
    page = "<html><body><script>noSuchName()</script></body></html>"
    result, console = use_page(page, "return {fine: true};", tmp_path)
    assert result == {"fine": True}
    assert any("noSuchName is not defined" in line for line in console)


def test_buttons_and_keys_step_through_the_objects_of_all_images(seen):
    steps = seen["steps"]
    assert steps["start"]["object"] == "1 of 3: cat (object 0 of plain.png)"
    assert steps["next"]["object"] == "2 of 3: <b>dog</b> (object 1 of plain.png)"
    assert steps["key"]["object"] == "3 of 3: <b>dog</b> (object 0 of a<i>b.png)"
    assert steps["end"] == steps["key"]
    assert steps["back"]["object"] == steps["start"]["object"]
    # 96 and 128 are the sizes of the images and of the network's input.
    assert [float(steps[x]["box"]) for x in ("start", "next", "key")] == [60, 30, 80]
    assert all(step["heat"] for name, step in steps.items() if name not in LEVEL_4)


def test_the_keys_work_in_the_viewer_itself_and_after_a_click_on_the_picture(seen):
    focus = seen["focus"]
    assert focus["viewer"]
    assert focus["ring"] == "solid"
    assert focus["before"]["object"].startswith("1 of 3")
    assert focus["after"]["object"].startswith("2 of 3")
    assert (focus["blurred"], focus["clicked"]) == (False, True)


def test_another_map_is_shown_and_kept_for_the_next_object(seen):
    steps = seen["steps"]
    shown = [steps[name] for name in ("finest", "map", "map_key")]
    assert shown[0]["map"] == "positive weight"
    assert len({x["map"] for x in shown}) == len({x["heat"] for x in shown}) == 3
    assert steps["map_kept"]["map"] == steps["map_key"]["map"]


def test_levels_are_chosen_by_buttons_and_keys(seen):
    steps = seen["steps"]
    assert steps["level"]["level"].startswith("stride 8: ")
    assert steps["level_key"]["level"].startswith("stride 16: ")
    assert steps["level_key"]["heat"] != steps["level"]["heat"]
    # The cat's box, from (10, 10) to (70, 60), has no multiple of 64 in both directions.
    assert steps["no_location"]["level"] == "stride 64: no location"
    assert steps["no_location"]["heat"] is None


def test_the_whole_image_or_the_region_of_the_object(seen):
    assert seen["steps"]["unzoomed"]["view"] == "0 0 128 96"
    assert seen["steps"]["no_location"]["view"] != "0 0 128 96"


def test_the_value_under_the_pointer_is_read_out(seen):
    # The middle of 128 x 96 px belongs to the location at (64, 48).
    place, value = seen["readout"].split(": ")
    assert place == "Location (64, 48) px"
    assert float(value) > 0


def test_headings_sort_in_both_directions(seen):
    # AP 20 and 40.
    assert seen["sorted"] == [
        ["ascending", ["cat", "<b>dog</b>"]],
        ["descending", ["<b>dog</b>", "cat"]],
    ]


def test_labels_stay_within_their_picture_and_keep_their_score(report_run, report_data, tmp_path):
    root = shutil.copytree(report_data, tmp_path / "data")
    annotations = (root / "all.json").read_text()
    (root / "all.json").write_text(
        annotations.replace('"cat"', '"' + 5 * "a very long name " + '"')
    )
    options = ["DATASETS.CUSTOM.ROOT", str(root), "DATASETS.CUSTOM.TRAIN", ""]
    write_report(report_run, tmp_path / "report.html", num_images=2, opts=options)
    script = """
    return [...document.querySelectorAll(".picture .label")].map((label) => {
      const [inner, outer] = [label, label.parentElement].map((x) => x.getBoundingClientRect());
      const score = label.lastElementChild.getBoundingClientRect();
      return [
        inner.left >= outer.left - 1 && inner.right <= outer.right + 1,
        inner.top >= outer.top - 1 && inner.bottom <= outer.bottom + 1,
        score.right <= inner.right,
        label.textContent,
      ];
    });
    """
    labels, _ = use_page((tmp_path / "report.html").read_text("utf-8"), script, tmp_path)
    assert len(labels) > 4
    assert any("very long" in text and text.endswith("0.90") for *_, text in labels)
    assert all(all(fits) for *fits, _ in labels)
