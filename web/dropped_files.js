// Embedding files dropped onto a node that reads one: uploaded to input/ and chosen there.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { say } from './texts.js'

const READERS = ['LoadTextualInversion', 'ConvertTextualInversion']
const ENDINGS = /\.(safetensors|pti?|bin|ckpt|pth|png|webp|avif)$/i

app.registerExtension({
    name: 'textual-inversion.dropped-files',
    nodeCreated(node) {
        if (!READERS.includes(node.comfyClass)) return
        node.onDragOver = ({ dataTransfer }) =>
            [...(dataTransfer?.items ?? [])].some(({ kind }) => kind === 'file')
        node.onDragDrop = ({ dataTransfer }) => {
            const file = [...(dataTransfer?.files ?? [])].find(({ name }) => ENDINGS.test(name))
            if (!file) return false // Not for this node: the page opens it as a workflow.
            void choose(node, file)
            return true
        }
    }
})

async function choose(node, file) {
    try {
        select(node, await upload(file))
    } catch (error) {
        const detail = `${file.name}: ${error.message}`
        app.extensionManager.toast.add({ severity: 'error', summary: say('uploadFailed'), detail })
    }
}

async function upload(file) {
    const body = new FormData()
    body.append('image', file)
    const answer = await api.fetchApi('/upload/image', { method: 'POST', body })
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`)
    const { name, subfolder } = await answer.json()
    return ['input', subfolder, name].filter(Boolean).join('/')
}

function select(node, choice) {
    const widget = node.widgets.find((one) => one.name === 'file')
    widget.options.values = [...new Set([...widget.options.values, choice])]
    widget.value = choice
    widget.callback?.(choice)
    node.setDirtyCanvas?.(true, true)
}
