// What Auto Caption and Find Init Word have found, written into their text field, where it can be
// edited.

import { app } from '../../scripts/app.js'
import { chain } from './panel.js'

const FIELDS = {
    ConceptAutoCaption: { field: 'captions', key: 'ti_captions' },
    ConceptInitWord: { field: 'looks', key: 'ti_looks' }
}

app.registerExtension({
    name: 'textual-inversion.found-texts',
    nodeCreated(node) {
        const { field, key } = FIELDS[node.comfyClass] ?? {}
        if (!field) return
        chain(node, 'onExecuted', (output) => write(node, field, output?.[key]?.[0] ?? ''))
    }
})

// Unless that would lose what was typed meanwhile.
function write(node, name, found) {
    const field = node.widgets?.find((widget) => widget.name === name)
    const known = new Set(lines(found))
    if (!field || linked(node, name) || !lines(field.value).every((line) => known.has(line))) return
    if (lines(field.value).length < known.size) field.value = found
    node.setDirtyCanvas?.(true, true)
}

function lines(text) {
    return text.split('\n').map((line) => line.trim()).filter(Boolean)
}

function linked(node, name) {
    return node.inputs?.some((input) => input.name === name && input.link != null)
}
