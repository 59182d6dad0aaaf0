// Pictures on Load Images as Concept before any run: dropped or added, shown, counted and checked.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { BUTTON, addPanel, chain, element } from './panel.js'
import { folderName, sorted } from './dropped_folder.js'
import { say } from './texts.js'

const NODE = 'LoadImagesAsConcept'
const LIST = '/textual_inversion/folders'
const GLANCE = '/textual_inversion/folder'
const THUMBNAIL = '/textual_inversion/thumbnail'
const MOST = 190 // pixels of the panel
const PAUSE = 200 // ms in which more may be typed
const SMALL = `width: 44px; height: 44px; object-fit: cover; border-radius: 4px;
    background: var(--comfy-input-bg);`
const WATCHED = ['folder', 'resolution', 'kind', 'captions', 'subfolders']

const panels = new WeakMap() // of each node: where its pictures are shown
let counts = {} // pictures of each folder

app.registerExtension({
    name: 'textual-inversion.photos',
    setup: count,
    refreshComboInNodes: count,
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return
        panels.set(node, new Panel(node))
        const folder = widgetOf(node, 'folder')
        folder.options.getOptionLabel = (value) =>
            counts[value] ? `${value} (${counts[value]})` : (value ?? '')
        node.onDragOver = ({ dataTransfer }) =>
            [...(dataTransfer?.items ?? [])].some(({ kind }) => kind === 'file')
        node.onDragDrop = ({ dataTransfer }) => {
            const dropped = sorted(dataTransfer)
            if (dropped) void panels.get(node).take(dropped)
            return !!dropped // Else not for this node: the page opens it as a workflow.
        }
    }
})

async function count() {
    const answer = await api.fetchApi(LIST)
    if (answer.ok) counts = await answer.json()
}

function widgetOf(node, name) {
    return node.widgets.find((widget) => widget.name === name)
}

class Panel {
    constructor(node) {
        this.node = node
        this.body = addPanel(node, 'pictures', MOST)
        this.said = element('span', 'margin-left: 8px')
        this.shown = element('div', 'display: flex; flex-wrap: wrap; gap: 4px; margin-top: 4px')
        this.findings = element('div', 'margin-top: 4px; white-space: pre-line')
        const button = element('button', BUTTON, say('addPictures'), { type: 'button' })
        const input = element('input', 'display: none', '', { type: 'file', multiple: true })
        button.addEventListener('click', () => input.click())
        input.addEventListener('change', () => {
            void this.take(sorted({ files: [...input.files] }))
            input.value = ''
        })
        this.body.append(button, this.said, this.shown, this.findings, input)
        for (const name of WATCHED) chain(widgetOf(node, name), 'callback', () => this.look())
        chain(node, 'onConfigure', () => this.look())
        this.look()
    }

    // Upload what was dropped or chosen, and choose its folder.
    async take(dropped) {
        const { pictures, captions, leftOut } = await dropped
        const folder = this.target(await dropped)
        const all = [...pictures, ...captions]
        const names = new Map() // of each picture without its ending, as the host has stored it
        const problems = leftOut.length ? [say('leftOut', { names: leftOut.join(', ') })] : []
        for (const [done, { file, path }] of all.entries()) {
            this.said.textContent = say('uploading', { number: done + 1, count: all.length })
            try {
                const name = await upload(file, path, folder, names)
                names.set(stem([...path, file.name].join('/')), stem(name))
            } catch (error) {
                problems.push(say('notUploaded', { name: file.name, reason: error.message }))
            }
        }
        if (names.size) {
            await count()
            select(this.node, `input/${folder}`)
        }
        await this.look(problems)
    }

    // A folder of its own for a dropped one; the chosen one for single pictures.
    target({ folder }) {
        const chosen = String(widgetOf(this.node, 'folder').value)
        if (!folder && chosen.startsWith('input/')) return chosen.slice('input/'.length)
        return folderName(folder, Object.keys(counts))
    }

    // Show what the chosen folder has, as soon as nothing more is typed.
    async look(problems = []) {
        const asked = (this.asked = {})
        await new Promise((done) => setTimeout(done, PAUSE))
        if (this.asked !== asked) return
        const value = (name) => widgetOf(this.node, name)?.value
        const folder = value('folder')
        const found = !folder || folder === 'none' ? null : await glance(folder, value, this.node)
        if (this.asked !== asked) return
        const counted = found?.count === 1 ? 'onePicture' : 'pictures'
        this.said.textContent = say(found?.count ? counted : 'dropHere', { count: found?.count, folder })
        const thumbnails = (found?.names ?? []).map((name) => thumbnail(folder, name))
        this.shown.replaceChildren(...thumbnails)
        const lines = [...problems, ...(found?.findings ?? []), ...[found?.error ?? []].flat()]
        this.findings.textContent = lines.join('\n')
        this.node.setDirtyCanvas?.(true, true)
        if (found?.compared === false) await this.look(problems) // Goes further from there.
    }
}

async function glance(folder, value, node) {
    const linked = (name) => node.inputs?.find((input) => input.name === name)?.link != null
    const told = String(value('captions') ?? '').trim() || linked('captions')
    const wanted = String(value('kind')).includes('captions') && !told && !linked('caption_options')
    const query = new URLSearchParams({
        folder,
        resolution: value('resolution'),
        captions: wanted ? 1 : 0,
        masks: linked('masks') || linked('mask_options') ? 0 : 1,
        deep: value('subfolders') === false ? 0 : 1
    })
    try {
        return await (await api.fetchApi(`${GLANCE}?${query}`)).json()
    } catch (error) {
        return { error: say('noAnswer', { reason: error.message }) }
    }
}

function thumbnail(folder, name) {
    const query = new URLSearchParams({ picture: `${folder}/${name}` })
    const src = api.apiURL(`${THUMBNAIL}?${query}`)
    return element('img', SMALL, '', { src, title: name, alt: name, loading: 'lazy' })
}

// Store a file below input/ by the host's own route, which gives it another name rather than
// write over one; a caption is stored under the name that its picture got.
async function upload(file, path, folder, names) {
    const body = new FormData()
    const ending = file.name.slice(stem(file.name).length)
    const own = stem([...path, file.name].join('/'))
    body.append('image', file, names.has(own) ? names.get(own) + ending : file.name)
    body.append('subfolder', [folder, ...path].join('/'))
    const answer = await api.fetchApi('/upload/image', { method: 'POST', body })
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`)
    return (await answer.json()).name
}

function stem(name) {
    return name.replace(/\.[^./]*$/, '')
}

function select(node, choice) {
    const widget = widgetOf(node, 'folder')
    widget.options.values = [...new Set([...widget.options.values, choice])]
    widget.value = choice
    widget.callback?.(choice)
}
