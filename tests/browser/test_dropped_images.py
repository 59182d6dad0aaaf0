"""Images dropped onto Load Images as Concept are a concept, in both renderers."""

import shutil
from pathlib import Path

import pytest
from headless import Server
from page import settle
from PIL import Image
from playwright.sync_api import Page
from test_example import RUN
from test_nodes import PROMPT, add
from view import View, drop

PANEL = """id => {
    const { element } = app.graph.getNodeById(id).widgets.find(({ name }) => name === 'images')
    const { bottom, height } = element.getBoundingClientRect()
    const drawn = document.querySelector(`[data-node-id="${id}"]`)?.getBoundingClientRect()
    const { canvas, ds } = app.canvas
    const { pos, size } = app.graph.getNodeById(id)
    const below = ds.convertOffsetToCanvas([0, pos[1] + size[1]])[1]
    const end = drawn?.bottom ?? canvas.getBoundingClientRect().top + below
    return { text: element.innerText, high: height, inside: bottom <= end + 1,
             images: [...element.querySelectorAll('img')].map((one) => one.naturalWidth) }
}"""
FOLDER = "id => app.graph.getNodeById(id).widgets[0].value"
SAYS = f"([id, text]) => ({PANEL})(id).text.includes(text)"


@pytest.fixture
def photos(tmp_path: Path, view: View) -> Path:
    """A folder as it lies on a desktop, with another name in each renderer."""
    folder = tmp_path / f"My cat! {'nodes2' if view.vue_nodes else 'litegraph'}"
    (folder / "20_garden").mkdir(parents=True)
    for number, place in enumerate(("a.png", "b.png", "20_garden/c.png")):
        Image.effect_noise((96, 80), 40 + 9 * number).convert("RGB").save(folder / place)
    (folder / "a.txt").write_text("on grass")
    (folder / "phone.heic").write_text("")
    (folder / ".DS_Store").write_text("")
    return folder


def says(page: Page, node: str, text: str) -> None:
    page.wait_for_function(SAYS, arg=[node, text])


def test_a_dropped_folder_is_a_concept_before_and_after_a_run(
    view: View, server: Server, photos: Path
):
    page = view.page
    node = add(view, "LoadImagesAsConcept")
    says(page, node, "Drop images or a folder here.")
    drop(view, node, photos)
    chosen = f"input/{photos.name.replace('!', '-')}"
    says(page, node, f"3 images in {chosen}")
    page.wait_for_function(f"id => ({PANEL})(id).images.join() === '96,96,96'", arg=node)
    settle(page)
    found = page.evaluate(PANEL, node)
    assert "Left out: phone.heic." in found["text"]
    assert "3 images will be enlarged to 512" in found["text"]
    assert found["high"] > 60 and found["inside"]
    assert page.evaluate("() => app.graph.nodes.length") == 1
    stored = server.directory / chosen
    assert {path.name for path in stored.rglob("*.*")} == {"a.png", "a.txt", "b.png", "c.png"}
    assert page.evaluate(PROMPT)[str(node)]["inputs"]["folder"] == chosen
    page.evaluate(
        """id => {
            const audit = LiteGraph.createNode('ConceptAudit')
            app.graph.add(audit)
            app.graph.getNodeById(id).connect(0, audit, 'concept')
        }""",
        node,
    )
    page.evaluate(RUN)
    page.wait_for_function("() => window.ended !== null")
    assert page.evaluate("() => window.ended.kind") == "execution_success"


def test_a_second_folder_of_the_name_goes_beside_and_single_images_are_added(
    view: View, server: Server, photos: Path, tmp_path: Path
):
    page = view.page
    first, second = add(view, "LoadImagesAsConcept"), add(view, "LoadImagesAsConcept")
    page.evaluate(
        "id => { const node = app.graph.getNodeById(id);"
        " node.pos = [700, 120]; node.updateArea() }",
        second,
    )
    settle(page)
    folders = []
    for node in (first, second):
        drop(view, node, photos)
        says(page, node, "3 images in")
        folders.append(page.evaluate(FOLDER, node))
    assert folders[0] != folders[1]
    other = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(other)
    drop(view, second, other)
    says(page, second, f"4 images in {folders[1]}")
    stored = server.directory / folders[1]
    assert (stored / "a.png").read_bytes() == (photos / "a.png").read_bytes()
    assert (stored / "a (1).png").read_bytes() == other.read_bytes()


def test_the_choice_shows_its_images_and_the_list_their_number(view: View, server: Server):
    page = view.page
    copied = server.directory / "datasets" / "copied"
    shutil.copytree(server.directory / "input" / "stars", copied, dirs_exist_ok=True)
    shutil.copy(copied / "star 8.png", copied / "star 8 again.png")
    node = add(view, "LoadImagesAsConcept")
    values = "id => app.graph.getNodeById(id).widgets[0].options.values"
    label = "id => app.graph.getNodeById(id).widgets[0].options.getOptionLabel('input/stars')"
    assert "input/stars" in page.evaluate(values, node)
    assert page.evaluate(label, node) == "input/stars (5)"
    choose = """([id, choice]) => {
        const [folder] = app.graph.getNodeById(id).widgets
        folder.value = choice
        folder.callback?.(choice)
    }"""
    for choice, count in (("input/stars", 5), ("datasets/copied", 6)):
        page.evaluate(choose, [node, choice])
        says(page, node, f"{count} images in {choice}")
        small = f"id => ({PANEL})(id).images.join() === '{','.join(['96'] * count)}'"
        page.wait_for_function(small, arg=node)
    says(page, node, "They look the same, or nearly so: star 8 again.png and star 8.png;")
    shutil.rmtree(copied)
