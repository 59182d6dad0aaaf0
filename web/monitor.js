// The monitor on the training node: the only file of it that knows ComfyUI's page.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { Panel } from './monitor/panel.js'
import { isOver } from './monitor/wording.js'
import { nodeOf } from './ours.js'
import { chain } from './panel.js'
import { say } from './texts.js'

const TRAINER = 'TrainTextualInversion'
const ROOT = '/textual_inversion'
const EVENT = 'textual_inversion.monitor'
const HEIGHT = 400
const WIDTH = 340
const MOST_RUNS = 20
const NAMELESS = /^[0-]*$/ // a workflow

const panels = new Map() // of each training node
const runs = new Map() // by their names, the youngest last

app.registerExtension({
    name: 'textual-inversion.monitor',
    setup() {
        api.addEventListener(EVENT, ({ detail }) => take(detail))
        api.addEventListener('reconnected', () => void catchUp())
        void catchUp()
    },
    nodeCreated(node) {
        if (node.comfyClass !== TRAINER) return
        const panel = new Panel({ command, address, runsOf })
        const size = { getMinHeight: () => HEIGHT, margin: 4 }
        const options = { serialize: false, hideOnZoom: false, ...size }
        const widget = node.addDOMWidget('monitor', 'TI_MONITOR', panel.root, options)
        node.setSize([Math.max(node.size[0], WIDTH), node.size[1]])
        widget.serialize = false // In the workflow; the option says so for the prompt.
        panel.root.addEventListener('wheel', zoom, { passive: false })
        const follow = (on) => {
            if (on) panels.set(node, panel)
            else panels.delete(node)
            panel.watch(on)
        }
        follow(true)
        chain(node, 'onExecuted', (output) => cached(output?.ti_monitor?.[0]))
        // A node that goes into a subgraph is removed from one graph and added to another.
        chain(node, 'onAdded', () => follow(true))
        chain(node, 'onRemoved', () => follow(false))
    },
    afterConfigureGraph: refresh
})

/** The runs that the server knows: after a reload, in a second tab, when the line was cut. */
async function catchUp() {
    try {
        const answer = await api.fetchApi(`${ROOT}/state`)
        const found = answer.ok ? (await answer.json()).runs : []
        for (const run of found) runs.delete(run.run)
        for (const run of found) runs.set(run.run, run)
        refresh()
    } catch (error) {
        console.debug(`textual inversion: ${error.message}`)
    }
}

function take(run) {
    if (!runs.has(run.run)) runs.set(run.run, run)
    else Object.assign(runs.get(run.run), run)
    while (runs.size > MOST_RUNS) runs.delete(runs.keys().next().value)
    refresh()
}

/** What a node gives again without having run: its run counts as the youngest. */
function cached(run) {
    if (!run || (runs.has(run.run) && !isOver(runs.get(run.run)))) return run && take(run)
    runs.delete(run.run)
    take(run)
}

function refresh() {
    for (const [node, panel] of panels) {
        const own = [...runs.values()].filter((run) => belongs(run, node)).at(-1)
        panel.show(own ? { ...own } : null)
    }
}

function belongs({ node: id, workflow }, node) {
    const root = app.rootGraph ?? app.graph
    const anywhere = NAMELESS.test(workflow) // A graph that was never saved gets its name later.
    return (anywhere || workflow === root?.id) && nodeOf(id) === node
}

async function command(name, request) {
    const headers = { 'Content-Type': 'application/json' }
    const body = JSON.stringify(request)
    return answerOf(() => api.fetchApi(`${ROOT}/${name}`, { method: 'POST', headers, body }))
}

async function runsOf(word) {
    const path = `${ROOT}/runs?word=${encodeURIComponent(word)}`
    return (await answerOf(() => api.fetchApi(path))).runs
}

/** What the server says; an Error with its reason, or with why it could not be asked. */
async function answerOf(ask) {
    let answer, said
    try {
        answer = await ask()
        said = await answer.json()
    } catch (error) {
        throw new Error(say('noAnswer', { reason: error.message }))
    }
    if (!answer.ok) throw new Error(said.error)
    return said
}

function address(picture) {
    const place = new URLSearchParams({
        filename: picture,
        type: 'temp',
        subfolder: 'textual_inversion'
    })
    return api.apiURL(`/view?${place}`)
}

/** The wheel zooms over the monitor too, as over the host's own widgets, but for what scrolls. */
function zoom(event) {
    const scrolls = event.target.closest?.('.ti-strip, pre, .ti-list')
    if (scrolls || window.LiteGraph?.vueNodesMode) return
    app.canvas.processMouseWheel?.(event)
}
