// Embedding files dropped onto a node that reads one: uploaded to input/ and chosen there.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'

const READERS = ['LoadTextualInversion', 'ConvertTextualInversion']
const ENDINGS = /\.(safetensors|pt|bin|ckpt|pth|png|webp|avif)$/i

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
    const body = new FormData()
    body.append('image', file)
    const answer = await api.fetchApi('/upload/image', { method: 'POST', body })
    if (!answer.ok) {
        const detail = `${file.name}: ${answer.status} ${answer.statusText}`
        app.extensionManager.toast.add({ severity: 'error', summary: 'Upload failed', detail })
        return
    }
    const { name, subfolder } = await answer.json()
    const widget = node.widgets.find((one) => one.name === 'file')
    const choice = ['input', subfolder, name].filter(Boolean).join('/')
    widget.options.values = [...new Set([...widget.options.values, choice])]
    widget.value = choice
    widget.callback?.(choice)
    node.setDirtyCanvas?.(true, true)
}
