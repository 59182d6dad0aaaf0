// A place on a node for text, images and buttons, as high as what is in it, in both renderers.

const MARGIN = 4
const INSET = 10
const PANEL = `box-sizing: border-box; width: 100%; height: 100%; overflow: hidden auto;
    font: 12px/1.4 sans-serif; color: var(--input-text); user-select: text; cursor: auto;
    overflow-wrap: anywhere;`
export const BUTTON = `padding: 2px 10px; cursor: pointer; font: 12px/1.4 sans-serif;
    color: var(--input-text);
    background: var(--comfy-input-bg); border: 1px solid var(--border-color); border-radius: 6px;`

// Gives the element to fill. Higher than `most` it scrolls; empty it takes no room.
export function addPanel(node, name, most) {
    const [root, body] = [element('div', PANEL), element('div', 'overflow: hidden')]
    root.append(body)
    root.style.maxHeight = `${most}px`
    let height = 0
    const limits = { getMinHeight: () => height, getMaxHeight: () => height }
    const options = { serialize: false, hideOnZoom: false, margin: MARGIN, ...limits }
    const widget = node.addDOMWidget(name, 'TI_PANEL', root, options)
    widget.serialize = false // In the workflow; the option says so for the prompt.
    root.addEventListener('pointerdown', (event) => event.stopPropagation())
    root.addEventListener('wheel', (event) => scrolls(root) && event.stopPropagation())
    new ResizeObserver(() => {
        // Nodes 2.0 sets widgets in from the node's edge, LiteGraph lets them do it.
        body.style.margin = window.LiteGraph?.vueNodesMode ? '0' : `0 ${INSET}px`
        const needed = body.offsetHeight && Math.min(body.offsetHeight, most) + 2 * MARGIN
        if (!root.isConnected || needed === height) return
        height = needed
        fit(node)
    }).observe(body)
    return body
}

function scrolls(root) {
    return root.scrollHeight > root.clientHeight
}

// Let LiteGraph give the node the height that its widgets ask for; Nodes 2.0 does it by itself.
export function fit(node) {
    const [width, height] = node.size
    node.setSize([width, Math.max(height, node.computeSize()[1])])
    node.setDirtyCanvas?.(true, true)
}

export function element(tag, style = '', text = '', attributes = {}) {
    const made = document.createElement(tag)
    made.style.cssText = style
    made.textContent = text
    return Object.assign(made, attributes)
}

// What the node does when `name` is called, after what it did so far.
export function chain(node, name, more) {
    const before = node[name]
    node[name] = function (...values) {
        const result = before?.apply(this, values)
        more.apply(this, values)
        return result
    }
}
