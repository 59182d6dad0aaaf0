// Which nodes are this pack's, and where in the graph one is.

import { app } from '../../scripts/app.js'

const CATEGORY = 'model/training/textual inversion'

export function isOurs(node) {
    return !!node.constructor.nodeData?.category?.startsWith(CATEGORY)
}

// The nodes on the way to the one with an execution id: "12", or in a subgraph "7" and "7:12".
export function wayTo(executionId) {
    let graph = app.rootGraph ?? app.graph
    return String(executionId).split(':').map((id) => {
        const node = graph?.getNodeById(id)
        graph = node?.subgraph
        return node
    })
}

export function nodeOf(executionId) {
    return wayTo(executionId).at(-1)
}
