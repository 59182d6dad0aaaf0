// The captions that Auto Caption has found, written into its text field, where they can be edited.

import { app } from '../../scripts/app.js'
import { chain } from './panel.js'

const FIELD = 'captions'

app.registerExtension({
    name: 'textual-inversion.found-captions',
    nodeCreated(node) {
        if (node.comfyClass !== 'ConceptAutoCaption') return
        chain(node, 'onExecuted', ({ ti_captions: found } = {}) => write(node, found?.[0] ?? ''))
    }
})

// Unless that would lose what was typed meanwhile.
function write(node, found) {
    const field = node.widgets?.find(({ name }) => name === FIELD)
    const known = new Set(lines(found))
    if (!field || linked(node) || !lines(field.value).every((line) => known.has(line))) return
    if (lines(field.value).length < known.size) field.value = found
    node.setDirtyCanvas?.(true, true)
}

function lines(text) {
    return text.split('\n').map((line) => line.trim()).filter(Boolean)
}

function linked(node) {
    return node.inputs?.some(({ name, link }) => name === FIELD && link != null)
}
