// What a node has to say, on the node itself: its report with the verdict first, the exact text for
// a prompt, why it was refused or failed, and what needs a look.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { copies } from './copying.js'
import { isOurs, nodeOf } from './ours.js'
import { BUTTON, addPanel, chain, element } from './panel.js'

const MOST = 170 // pixels
const NOTICE = 'textual_inversion.notice'
const MONITOR = 'monitor' // shows reports and errors of its node by itself
const OUR_REASONS = [
    'exception_during_inner_validation',
    'exception_during_validation',
    'custom_validation_failed'
]
const MARKED = 'margin: 2px 0; padding-left: 6px; white-space: pre-line; border-left: 3px solid'
const COLORS = { problem: '#e5484d', notice: '#f5a623' }
const VERDICT = 'font-weight: 600; white-space: pre-line'
const REST = 'white-space: pre-wrap; opacity: 0.85'
const CODE = `padding: 1px 6px; border-radius: 4px; background: var(--comfy-input-bg);
    font-family: monospace; user-select: all;`

const said = new WeakMap() // by node: { problem, notice, prompt, text }
const bodies = new WeakMap() // by node: the element that shows it

app.registerExtension({
    name: 'textual-inversion.node-text',
    setup() {
        api.addEventListener('execution_start', () => forget('problem'))
        api.addEventListener('execution_error', ({ detail }) => failed(detail))
        api.addEventListener(NOTICE, ({ detail: { node, text } }) =>
            tell(nodeOf(node), { notice: text })
        )
        const queue = api.queuePrompt
        api.queuePrompt = async function (...values) {
            forget('problem')
            try {
                const answer = await queue.apply(this, values)
                refused(answer.node_errors)
                return answer
            } catch (error) {
                refused(error.response?.node_errors)
                throw error
            }
        }
    },
    nodeCreated(node) {
        if (isOurs(node)) chain(node, 'onExecuted', (output) => executed(node, output))
    },
    // After a change of tabs, or from the history.
    onNodeOutputsUpdated(outputs) {
        for (const [id, output] of Object.entries(outputs)) executed(nodeOf(id), output)
    }
})

function executed(node, output) {
    if (!node || !isOurs(node) || watched(node) || !output?.text) return
    tell(node, { text: [output.text].flat().join('\n'), prompt: output.ti_prompt?.[0] })
}

function watched(node) {
    return node.widgets?.some(({ name }) => name === MONITOR)
}

function failed({ node_id: id, exception_message: message }) {
    const node = nodeOf(id)
    if (node && isOurs(node) && !watched(node)) tell(node, { problem: message.trim() })
}

// An input that is missing, or a choice that is no longer there, or our own reason.
function refused(errors) {
    for (const [id, { errors: found }] of Object.entries(errors ?? {})) {
        const node = nodeOf(id)
        if (!node || !isOurs(node)) continue
        const texts = found.map(({ type, message, details }) =>
            OUR_REASONS.includes(type) ? details.replace(/^file - /, '') : `${message}: ${details}.`
        )
        tell(node, { problem: [...new Set(texts)].join('\n') })
    }
}

function forget(kind) {
    const visit = (graph) => {
        for (const node of graph?.nodes ?? []) {
            if (said.get(node)?.[kind]) tell(node, { [kind]: '' })
            visit(node.subgraph)
        }
    }
    visit(app.rootGraph ?? app.graph)
}

function tell(node, more) {
    if (!node) return
    const all = { ...said.get(node), ...more }
    said.set(node, all)
    if (!bodies.has(node)) bodies.set(node, addPanel(node, 'says', MOST))
    const [verdict, ...rest] = (all.text ?? '').split('\n')
    bodies.get(node).replaceChildren(
        ...marked(all, 'problem'),
        ...marked(all, 'notice'),
        ...(all.prompt ? [copied(all.prompt)] : []),
        ...(verdict ? [element('div', VERDICT, verdict)] : []),
        ...(rest.length ? [element('div', REST, rest.join('\n'))] : [])
    )
    node.setDirtyCanvas?.(true, true)
}

function marked(all, kind) {
    return all[kind] ? [element('div', `${MARKED} ${COLORS[kind]}`, all[kind])] : []
}

function copied(prompt) {
    const row = element('div', 'display: flex; gap: 8px; align-items: center; margin-bottom: 2px')
    const button = element('button', BUTTON, '', { type: 'button' })
    copies(button, prompt)
    row.append(element('code', CODE, prompt), button)
    return row
}
