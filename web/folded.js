// Advanced inputs are folded in LiteGraph as Nodes 2.0 hides them, behind a switch on the node. The
// switch is the host's own (showAdvanced), which is stored with the node.

import { app } from '../../scripts/app.js'
import { isOurs } from './ours.js'
import { BUTTON, chain, element, fit } from './panel.js'
import { say } from './texts.js'

const ALWAYS = 'Comfy.Node.AlwaysShowAdvancedWidgets'
const SWITCH = 'more'
const HEIGHT = 26
const AS_WIDE = 'width: calc(100% - 20px); height: 100%; margin: 0 10px; padding: 0;' // as others

app.registerExtension({
    name: 'textual-inversion.folded',
    nodeCreated(node) {
        if (isOurs(node) && node.isWidgetVisible && advanced(node).length) fold(node)
    }
})

function advanced(node) {
    return (node.widgets ?? []).filter(({ options }) => options?.advanced)
}

function fold(node) {
    const folded = (widget) => widget.options?.advanced && !unfolded(node) && !linked(node, widget)
    const visible = node.isWidgetVisible
    node.isWidgetVisible = (widget) => visible.call(node, widget) && !folded(widget)
    node.getLayoutWidgets = () => {
        const shown = node.widgets.filter((one) => !one.hidden && !folded(one))
        const rank = (one) => (one.name === SWITCH ? 1 : isInput(node, one) ? 0 : 2)
        return shown.sort((one, other) => rank(one) - rank(other))
    }
    node.hasAdvancedWidgets = () => advanced(node).length > 0 // A line in the node's menu.
    const button = element('button', `${BUTTON} ${AS_WIDE}`)
    const size = { getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT, margin: 4 }
    const options = { serialize: false, hideOnZoom: false, canvasOnly: true, ...size }
    const widget = node.addDOMWidget(SWITCH, 'TI_MORE', button, options)
    widget.serialize = false // In the workflow; the option says so for the prompt.
    const label = () => {
        const count = advanced(node).length
        button.textContent = unfolded(node) ? say('fewer') : say('more', { count })
    }
    button.addEventListener('click', () => {
        node.toggleAdvanced()
        shrink(node)
    })
    chain(node, 'onConfigure', label)
    chain(node, 'onResize', label)
    label()
    shrink(node)
}

function unfolded(node) {
    return node.showAdvanced || app.extensionManager?.setting.get(ALWAYS)
}

function isInput(node, widget) {
    return node.inputs?.some((one) => one.widget?.name === widget.name)
}

function linked(node, widget) {
    return node.inputs?.some((one) => one.widget?.name === widget.name && one.link != null)
}

function shrink(node) {
    node.setSize([node.size[0], node.computeSize()[1]])
    fit(node)
}
