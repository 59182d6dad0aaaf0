// The monitor on the training node, and on the nodes of subgraphs around it: the only file of it
// that knows ComfyUI's page.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { Panel } from './monitor/panel.js'
import { Runs } from './monitor/runs.js'
import { isOver } from './monitor/lines.js'
import { wayTo } from './ours.js'
import { chain } from './panel.js'
import { addWidget } from './subgraph_widgets.js'
import { say } from './texts.js'

const TRAINER = 'TrainTextualInversion'
const ROOT = '/textual_inversion'
const EVENT = 'textual_inversion.monitor'
const HEIGHT = 400
const WIDTH = 340
const QUIET = 5000 // ms without news of a run that is going, until the server is asked
const NAMELESS = /^[0-]*$/ // a workflow

const panels = new Map() // of each training node, and of each subgraph's node around one
const runs = new Runs()
let heard = 0 // ms, when news came
let away = false // the server does not answer

app.registerExtension({
    name: 'textual-inversion.monitor',
    setup() {
        api.addEventListener(EVENT, ({ detail }) => take(detail))
        api.addEventListener('reconnected', () => void catchUp())
        setInterval(listen, QUIET)
        void catchUp()
    },
    nodeCreated(node) {
        if (node.comfyClass === TRAINER) addMonitor(node)
        else if (node.isSubgraphNode?.()) chain(node, 'onAdded', () => queueMicrotask(refresh))
    },
    afterConfigureGraph: refresh
})

function addMonitor(node) {
    const panel = new Panel({ command, address, runsOf })
    const size = { getMinHeight: () => HEIGHT, margin: 4 }
    const options = { serialize: false, hideOnZoom: false, ...size }
    const widget = addWidget(node, 'monitor', 'TI_MONITOR', panel.root, options)
    widget.serialize = false // In the workflow; the option says so for the prompt.
    node.setSize([Math.max(node.size[0], WIDTH), node.size[1]])
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
}

/** The nodes of subgraphs with a trainer in them, however deep. */
function around(graph = app.rootGraph ?? app.graph) {
    const found = []
    for (const node of graph?.nodes ?? []) {
        if (!node.subgraph) continue
        const deeper = around(node.subgraph)
        const holds = node.subgraph.nodes.some(({ comfyClass }) => comfyClass === TRAINER)
        if (holds || deeper.length) found.push(node)
        found.push(...deeper)
    }
    return found
}

/** The runs that the server knows: after a reload, in a second tab, when the line was cut, after a
    restart. */
async function catchUp() {
    const going = runs.going()
    try {
        await runs.catchUp(await runsAt(''), going, storedRun)
        away = false
    } catch (error) {
        away = true
        console.debug(`textual inversion: ${error.message}`)
    }
    refresh()
}

async function runsAt(query) {
    const answer = await api.fetchApi(`${ROOT}/state${query}`)
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`)
    return (await answer.json()).runs
}

async function storedRun(name) {
    return name ? (await runsAt(`?stored=${encodeURIComponent(name)}`))[0] : undefined
}

/** A socket may be dead long before it is closed; and when the host notices that of an old one, it
    forgets the new one of the same page (server.py:325). */
function listen() {
    const going = [...panels.values()].some(({ run }) => !isOver(run))
    if (going && performance.now() - heard > QUIET) void catchUp()
}

function take(run) {
    heard = performance.now()
    away = false
    runs.take(run)
    refresh()
}

function cached(run) {
    if (!run) return
    runs.takeAgain(run)
    refresh()
}

function refresh() {
    for (const node of around())
        if (!node.widgets.some(({ name }) => name === 'monitor')) addMonitor(node)
    for (const [node, panel] of panels) {
        const own = [...runs.known.values()].filter((run) => belongs(run, node)).at(-1)
        panel.show(own ? { ...own, away: away && !isOver(own) } : null)
    }
}

function belongs({ node: id, workflow }, node) {
    const root = app.rootGraph ?? app.graph
    const anywhere = NAMELESS.test(workflow) // A graph that was never saved gets its name later.
    return (anywhere || workflow === root?.id) && wayTo(id).includes(node)
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

function address(image) {
    const place = new URLSearchParams({
        filename: image,
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
