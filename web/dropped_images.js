// Images on Load Images as Concept before any run: dropped or added, shown, counted and checked.

import { api } from '../../scripts/api.js'
import { app } from '../../scripts/app.js'
import { BUTTON, addPanel, chain, element } from './panel.js'
import { folderName, placeOf, placesFor, sorted, stem } from './dropped_folder.js'
import { say } from './texts.js'

const NODE = 'LoadImagesAsConcept'
const LIST = '/textual_inversion/folders'
const KINDS = '/textual_inversion/file_kinds'
const GLANCE = '/textual_inversion/folder'
const THUMBNAIL = '/textual_inversion/thumbnail'
const MOST = 190 // pixels of the panel
const PAUSE = 200 // ms in which more may be typed
const SMALL = `width: 44px; height: 44px; object-fit: cover; border-radius: 4px;
    background: var(--comfy-input-bg);`
const WATCHED = ['folder', 'resolution', 'kind', 'captions', 'subfolders']

const panels = new WeakMap() // of each node: where its images are shown
let counts = {} // images of each folder
let kinds = null // what names of files mean, as the server has it

app.registerExtension({
    name: 'textual-inversion.photos',
    setup: begin,
    refreshComboInNodes: count,
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return
        panels.set(node, new Panel(node))
        const folder = widgetOf(node, 'folder')
        folder.options.getOptionLabel = (value) =>
            value in counts ? `${value} (${counts[value]})` : (value ?? '')
        node.onDragOver = ({ dataTransfer }) =>
            [...(dataTransfer?.items ?? [])].some(({ kind }) => kind === 'file')
        node.onDragDrop = ({ dataTransfer }) => {
            const dropped = kinds && sorted(dataTransfer, kinds)
            if (dropped) void panels.get(node).take(dropped)
            return !!dropped // Else not for this node: the page opens it as a workflow.
        }
    }
})

async function begin() {
    const answer = await api.fetchApi(KINDS)
    if (answer.ok) kinds = await answer.json()
    await count()
}

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
        this.body = addPanel(node, 'images', MOST)
        this.said = element('span', 'margin-left: 8px')
        this.shown = element('div', 'display: flex; flex-wrap: wrap; gap: 4px; margin-top: 4px')
        this.findings = element('div', 'margin-top: 4px; white-space: pre-line')
        const button = element('button', BUTTON, say('addImages'), { type: 'button' })
        const input = element('input', 'display: none', '', { type: 'file', multiple: true })
        button.addEventListener('click', () => input.click())
        input.addEventListener('change', () => {
            const chosen = kinds && sorted({ files: [...input.files] }, kinds)
            if (chosen) void this.take(chosen)
            input.value = ''
        })
        this.body.append(button, this.said, this.shown, this.findings, input)
        for (const name of WATCHED) chain(widgetOf(node, name), 'callback', () => this.look())
        chain(node, 'onConfigure', () => this.look())
        this.look()
    }

    // Upload what was dropped or chosen, and choose its folder.
    async take(dropped) {
        const { images, belongings, leftOut } = await dropped
        const folder = this.target(await dropped)
        const all = [...images, ...belongings]
        const stored = new Map() // names that the host has given, by the places of the images
        const problems = leftOut.length ? [say('leftOut', { names: leftOut.join(', ') })] : []
        for (const [done, one] of all.entries()) {
            this.said.textContent = say('uploading', { number: done + 1, count: all.length })
            const isImage = done < images.length
            const wanted = isImage ? [one.file.name] : placesFor(one, stored, kinds)
            for (const name of wanted) {
                try {
                    const given = await upload(one, name, folder)
                    if (isImage) remember(stored, placeOf(one), given)
                    else if (given !== name) problems.push(say('storedAs', { name, stored: given }))
                } catch (error) {
                    problems.push(say('notUploaded', { name, reason: error.message }))
                }
            }
        }
        if (stored.size) {
            await count()
            select(this.node, `input/${folder}`)
        }
        await this.look(problems)
    }

    // A folder of its own for a dropped one; the chosen one for single images.
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
        const counted = found?.count === 1 ? 'oneImage' : 'images'
        this.said.textContent = say(found?.count ? counted : 'dropHere', { count: found?.count, folder })
        const thumbnails = (found?.names ?? []).map((name) => thumbnail(folder, name))
        this.shown.replaceChildren(...thumbnails)
        const lines = [...problems, ...(found?.findings ?? []), ...[found?.error ?? []].flat()]
        if (found?.folders?.length) lines.unshift(say('subFolders', { names: found.folders.join(', ') }))
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
    const query = new URLSearchParams({ image: `${folder}/${name}` })
    const src = api.apiURL(`${THUMBNAIL}?${query}`)
    return element('img', SMALL, '', { src, title: name, alt: name, loading: 'lazy' })
}

// Store a file below input/ by the host's own route, which gives it another name rather than
// write over one.
async function upload({ file, path }, name, folder) {
    const body = new FormData()
    body.append('image', file, name)
    body.append('subfolder', [folder, ...path].join('/'))
    const answer = await api.fetchApi('/upload/image', { method: 'POST', body })
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`)
    return (await answer.json()).name
}

// What belongs to an image is called like it, with its ending or without.
function remember(stored, place, given) {
    const add = (key, name) => stored.set(key, [...(stored.get(key) ?? []), name])
    add(stem(place), stem(given))
    add(place, given)
}

function select(node, choice) {
    const widget = widgetOf(node, 'folder')
    widget.options.values = [...new Set([...widget.options.values, choice])]
    widget.value = choice
    widget.callback?.(choice)
}
