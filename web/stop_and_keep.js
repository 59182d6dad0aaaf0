// "Stop and keep" on the training node: the training ends after its current step, and the graph
// goes on with what was learned.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'

const TRAINER = 'TrainTextualInversion'
const ROUTE = '/textual_inversion/stop'
const HEIGHT = 34
const TIP = 'End the training after the current step. The graph continues with what was learned.'
const STYLE = `width: 100%; height: 100%; max-height: 28px; cursor: pointer;
    font: inherit; font-size: 12px; color: var(--input-text);
    background: var(--comfy-input-bg); border: 1px solid var(--border-color); border-radius: 6px;`

const buttons = new WeakMap() // of each node
const pressed = new WeakSet() // nodes that are about to stop
let training = new Map() // each node that runs -> its execution ids, several in a shared subgraph

app.registerExtension({
    name: 'textual-inversion.stop-and-keep',
    setup() {
        api.addEventListener('progress_state', ({ detail }) => {
            const nodes = Object.values(detail.nodes)
            show(nodes.filter(({ state }) => state === 'running'))
        })
        for (const end of ['execution_success', 'execution_error', 'execution_interrupted'])
            api.addEventListener(end, () => show([]))
    },
    nodeCreated(node) {
        if (node.comfyClass !== TRAINER) return
        const button = document.createElement('button')
        button.type = 'button'
        button.title = TIP
        button.style.cssText = STYLE
        button.addEventListener('click', () => void stop(node))
        const size = { getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT, margin: 4 }
        const options = { serialize: false, hideOnZoom: false, ...size }
        const widget = node.addDOMWidget('stop_and_keep', 'TI_STOP', button, options)
        widget.serialize = false // In the workflow; the option says so for the prompt.
        buttons.set(node, button)
        update(node)
    }
})

function show(running) {
    const before = training.keys()
    training = new Map()
    for (const { node_id: id, display_node_id: shown } of running) {
        const node = nodeOf(shown ?? id)
        if (node?.comfyClass === TRAINER)
            training.set(node, [...(training.get(node) ?? []), id])
    }
    new Set([...before, ...training.keys()]).forEach(update)
}

function nodeOf(executionId) {
    const path = String(executionId).split(':')
    const id = path.pop()
    const inside = (graph, part) => graph?.getNodeById(part)?.subgraph
    return path.reduce(inside, app.rootGraph ?? app.graph)?.getNodeById(id)
}

function update(node) {
    const button = buttons.get(node)
    if (!button) return
    if (!training.has(node)) pressed.delete(node)
    const stopping = pressed.has(node)
    button.textContent = stopping ? 'Stopping after this step' : 'Stop and keep'
    button.disabled = stopping || !training.has(node)
    button.style.opacity = button.disabled ? 0.5 : 1
    button.style.cursor = button.disabled ? 'default' : 'pointer'
}

async function stop(node) {
    const ids = training.get(node) ?? []
    pressed.add(node)
    update(node)
    const problems = await Promise.all(ids.map(ask))
    if (problems.includes(null)) return
    const [detail] = problems
    app.extensionManager.toast.add({ severity: 'warn', summary: 'Stop and keep', detail })
    pressed.delete(node)
    update(node)
}

// Null if the training will stop, else why it will not.
async function ask(id) {
    const body = JSON.stringify({ node_id: String(id) })
    const headers = { 'Content-Type': 'application/json' }
    try {
        const answer = await api.fetchApi(ROUTE, { method: 'POST', headers, body })
        return answer.ok ? null : (await answer.json()).error
    } catch (error) {
        return `The server does not answer (${error.message}).`
    }
}
