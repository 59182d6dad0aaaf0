// Which nodes are this pack's, and where in the graph one is.

import { app } from '../../scripts/app.js'

const CATEGORY = 'training/textual inversion'

export function isOurs(node) {
    return !!node.constructor.nodeData?.category?.startsWith(CATEGORY)
}

// The node with an execution id, "12" or in a subgraph "7:12".
export function nodeOf(executionId) {
    const path = String(executionId).split(':')
    const id = path.pop()
    const inside = (graph, part) => graph?.getNodeById(part)?.subgraph
    return path.reduce(inside, app.rootGraph ?? app.graph)?.getNodeById(id)
}
