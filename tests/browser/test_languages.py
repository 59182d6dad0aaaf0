"""The nodes, and what is on them, in a page that speaks Chinese."""

from build_locales import read
from headless import PACK, Server
from page import open_comfyui, settle
from playwright.sync_api import Browser
from test_nodes import ADD

LOCALE = "async to => { await app.extensionManager.setting.set('Comfy.Locale', to) }"
TITLE = "() => LiteGraph.registered_node_types.TrainTextualInversion.title"
LABELS = """id => Object.fromEntries(app.graph.getNodeById(id).widgets.map(
    ({ name, label }) => [name, label]))"""
MONITOR = """id => app.graph.getNodeById(id).widgets.find(
    ({ name }) => name === 'monitor').element.innerText"""
SAID = f"async () => (await import('/extensions/{PACK}/texts/zh.js')).default"
CATEGORY = "() => LiteGraph.registered_node_types.TrainTextualInversion.category"


def test_names_inputs_monitor_and_help_are_chinese(server: Server, browser: Browser) -> None:
    page, wanted = browser.new_page(), read("zh")["TrainTextualInversion"]
    open_comfyui(page, server.url, vue_nodes=True)
    try:
        page.evaluate(LOCALE, "zh")
        open_comfyui(page, server.url, vue_nodes=True)
        assert page.evaluate(TITLE) == wanted["display_name"]
        node = page.evaluate(ADD, "TrainTextualInversion")
        settle(page)
        labels = page.evaluate(LABELS, node)
        for name in ("steps", "batch_size", "method.learning_rate"):
            assert labels[name] == wanted["inputs"][name.replace(".", "_")]["name"]
        assert page.evaluate(CATEGORY).split("/")[-1] == "文本反演"
        said, shown = page.evaluate(SAID), page.evaluate(MONITOR, node)
        assert all(said[name] in shown for name in ("idle", "stop", "preview", "save")), shown
        page.keyboard.press("Escape")
        page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", node)
        page.get_by_test_id("info-button").dispatch_event("click")
        page.get_by_text(wanted["inputs"]["keep"]["tooltip"]).wait_for()
    finally:
        page.evaluate(LOCALE, "en")  # The server keeps it for all pages.
        page.close()
