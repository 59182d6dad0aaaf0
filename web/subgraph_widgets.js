// A widget on a subgraph's node that is none of its inputs. Frontends from 1.49 on keep and draw
// one; before, the node forgets it, and Nodes 2.0 draws inputs only.

import { app } from '../../scripts/app.js'
import { chain, element } from './panel.js'

const PAUSE = 500 // ms between two looks whether the node has been drawn anew
const FRAME = 'flex: 1 0 auto; display: flex; flex-direction: column; margin: 0 8px;'

export function addWidget(node, name, type, root, options) {
    const widget = node.addDOMWidget(name, type, root, options)
    if (node.widgets.includes(widget)) return widget
    const { get } = Object.getOwnPropertyDescriptor(node, 'widgets')
    const both = { get: () => [...get.call(node), widget], configurable: true }
    Object.defineProperty(node, 'widgets', both)
    drawn(node, root, options.getMinHeight())
    return widget
}

function drawn(node, root, height) {
    const frame = element('div', `${FRAME} min-height: ${height}px`)
    for (const kind of ['pointerdown', 'pointermove', 'pointerup'])
        frame.addEventListener(kind, (event) => event.stopPropagation())
    const look = () => {
        const place = document.querySelector(`[data-testid="node-body-${node.id}"]`)
        if (!place || place.contains(root) || node.graph !== app.canvas.graph) return
        frame.append(root)
        place.append(frame)
    }
    const timer = setInterval(look, PAUSE)
    chain(node, 'onRemoved', () => clearInterval(timer))
}
