// The monitor's elements: what they show of a run, and what they ask for when they are pressed.

import { copies } from '../copying.js'
import { say } from '../texts.js'
import { draw } from './drawing.js'
import { headline, isOver, pastRun, status } from './lines.js'

const HOLD = 300 // milliseconds from a click to a press that is held
const STYLE = `
.ti-monitor { display: flex; flex: 1; flex-direction: column; gap: 4px; box-sizing: border-box;
    width: 100%; height: 100%; padding: 6px 8px; overflow: hidden; border-radius: 6px;
    font: 12px/1.35 system-ui, sans-serif; color: var(--input-text, #ddd); user-select: text; }
.ti-monitor * { box-sizing: border-box; }
.ti-monitor [hidden] { display: none !important; }
.ti-headline { font-size: 13px; font-weight: 600; }
.ti-status, .ti-words, .ti-told { flex: none; color: var(--descrip-text, #999);
    max-height: 4.1em; overflow: auto; overflow-wrap: anywhere; }
.ti-failed { max-height: 8em;
    color: color-mix(in srgb, var(--error-text, #ff4444) 75%, var(--input-text, #ddd)); }
.ti-curve { position: relative; flex: 1 1 110px; min-height: 100px; border-radius: 6px;
    background: color-mix(in srgb, var(--input-text, #ddd) 4%, transparent); }
.ti-curve canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.ti-strip { display: flex; flex: none; gap: 4px; overflow-x: auto; padding-bottom: 2px; }
.ti-strip figure { flex: none; display: flex; flex-direction: column; align-items: center;
    gap: 2px; margin: 0; font-size: 11px; color: var(--descrip-text, #999); }
.ti-strip img { height: 64px; border-radius: 4px; cursor: zoom-in; display: block;
    touch-action: none; }
.ti-strip .ti-blank { height: 64px; width: 52px; opacity: 0.5; border: 1px dashed currentcolor; border-radius: 4px; }
.ti-monitor button, .ti-monitor summary { font: inherit; font-size: 11px; cursor: pointer;
    padding: 2px 6px; color: var(--input-text, #ddd); background: var(--comfy-menu-bg, #353535);
    border: 1px solid var(--border-color, #4e4e4e); border-radius: 5px; }
.ti-monitor button:hover:enabled { border-color: var(--p-primary-color, #3b82f6); }
.ti-monitor button:disabled { opacity: 0.5; cursor: default; }
.ti-strip button { padding: 2px 4px; }
.ti-buttons { display: flex; flex: none; gap: 4px; }
.ti-buttons button { flex: 1 1 0; min-width: 0; min-height: 26px; padding: 2px; line-height: 1.15; }
.ti-told code { color: var(--input-text, #ddd); }
.ti-more { display: flex; flex: none; gap: 2px 10px; align-items: flex-start; flex-wrap: wrap; }
.ti-more summary { list-style: none; width: fit-content; padding: 0 2px; border: none;
    background: none; text-decoration: underline; color: var(--descrip-text, #999); }
.ti-more details[open] { flex: 1 1 100%; }
.ti-more pre, .ti-more .ti-list { max-height: 110px; overflow: auto; margin: 4px 0 0;
    font: inherit; font-size: 11px; white-space: pre-wrap; overflow-wrap: anywhere; }
.ti-list label { display: flex; gap: 4px; }
.ti-large { position: fixed; inset: 0; z-index: 10000; display: flex; gap: 12px;
    align-items: center; justify-content: center; padding: 24px; cursor: zoom-out;
    background: rgb(0 0 0 / 80%); color: #ddd; font: 13px system-ui, sans-serif; }
.ti-large figure { margin: 0; max-width: 48%; max-height: 100%; display: flex;
    flex-direction: column; gap: 6px; align-items: center; }
.ti-large figure:only-child { max-width: 96%; }
.ti-large img { max-width: 100%; max-height: 84vh; min-width: min(384px, 40vw);
    object-fit: contain; image-rendering: auto; }`

/** The element of one node. `host` carries out what is asked for: `command(name, request)`,
    `address(image)` and `runsOf(word)`. */
export class Panel {
    constructor(host) {
        this.host = host
        this.run = null
        this.asked = new Map() // commands, until the moment of news that know of them
        this.chosen = new Map() // past runs that are drawn, by their names
        this.at = null
        this.follow = true // the newest image
        this.build()
        this.show(null)
    }

    build() {
        styled()
        const curve = make('div', 'ti-curve')
        this.canvas = make('canvas', '', { role: 'img', ariaLabel: say('curve') })
        curve.append(this.canvas)
        this.parts = {
            headline: make('div', 'ti-headline'),
            status: make('div', 'ti-status', { ariaLive: 'polite' }),
            curve,
            words: make('div', 'ti-words'),
            strip: make('div', 'ti-strip'),
            buttons: make('div', 'ti-buttons'),
            missed: make('div', 'ti-told', { ariaLive: 'polite' }),
            told: make('div', 'ti-told', { ariaLive: 'polite' }),
            more: make('div', 'ti-more')
        }
        this.buttons = Object.fromEntries(
            ['stop', 'preview', 'save'].map((name) => [name, this.button(name)])
        )
        this.parts.buttons.append(...Object.values(this.buttons))
        this.buildMore()
        this.root = make('div', 'ti-monitor')
        this.root.append(...Object.values(this.parts))
        this.canvas.addEventListener('pointermove', ({ offsetX }) => this.paint(offsetX))
        this.canvas.addEventListener('pointerleave', () => this.paint(null))
        this.watcher = new ResizeObserver(() => {
            this.paint()
            this.scroll()
        })
        this.themes = new MutationObserver(() => this.paint())
    }

    buildMore() {
        this.notes = folded(say('notes', { count: 0 }), make('pre'))
        this.report = folded(say('report'), make('pre'))
        this.compare = folded(say('compare'), make('div', 'ti-list'))
        this.compare.title = say('compareTip')
        this.compare.addEventListener('toggle', () => this.compare.open && void this.list())
        this.parts.more.append(this.compare, this.notes, this.report)
    }

    button(name) {
        const button = make('button', '', { type: 'button', title: say(`${name}Tip`) })
        button.addEventListener('click', () => void this.press(name))
        return button
    }

    /** Follow the curve's size and the page's theme, as long as the node is in a graph. */
    watch(on) {
        for (const observer of [this.watcher, this.themes]) observer.disconnect()
        if (!on) return
        this.watcher.observe(this.parts.curve)
        const attributeFilter = ['class', 'style']
        this.themes.observe(document.documentElement, { attributes: true, attributeFilter })
        this.themes.observe(document.body, { attributes: true, attributeFilter })
    }

    /** Show a run, null for none. */
    show(run) {
        if (run?.run !== this.run?.run) this.forget()
        this.run = run
        this.settle()
        const { headline: head, status: line, words, strip, more } = this.parts
        const failed = run?.phase === 'failed'
        put(head, headline(run))
        head.title = run?.share == null ? '' : say('explainsTip')
        put(line, status(run))
        line.classList.toggle('ti-failed', failed)
        put(words, run?.nearest.length ? say('nearest', { words: run.nearest.join(', ') }) : '')
        put(this.parts.missed, run?.missed ?? '')
        more.hidden = !run
        this.showStrip(strip)
        this.showMore()
        this.showButtons()
        this.paint()
    }

    forget() {
        this.asked.clear()
        this.chosen.clear()
        this.parts.told.replaceChildren()
        this.parts.strip.replaceChildren()
        this.compare.open = false
    }

    /** Forget commands that the news know of, or that come to nothing any more. */
    settle() {
        for (const [name, moment] of this.asked)
            if (this.run?.moment > moment || isOver(this.run)) this.asked.delete(name)
    }

    showButtons() {
        for (const [name, button] of Object.entries(this.buttons)) {
            const waiting = this.asked.has(name) || this.run?.asked?.includes(name)
            const busy = { stop: 'stopping', preview: 'previewing' }[name]
            put(button, say(waiting && busy ? busy : name))
            const useless = isOver(this.run) || this.run.away || (name === 'save' && !this.run.step)
            button.disabled = useless || waiting
        }
    }

    showMore() {
        const { notes = [], report = '' } = this.run ?? {}
        this.notes.hidden = !notes.length
        this.report.hidden = !report
        put(this.notes.firstChild, say('notes', { count: notes.length }))
        put(this.notes.lastChild, notes.join('\n'))
        put(this.report.lastChild, report)
    }

    /** A figure for each image, and for each step whose vectors are kept without one. */
    showStrip(strip) {
        const { images = {}, kept = [], saved = {}, run } = this.run ?? {}
        const steps = kept.filter((step) => step > 0 || step in images)
        const wanted = steps.map((step) => [step, images[step] ?? '', saved[step] ?? ''])
        const key = JSON.stringify([run, wanted])
        strip.hidden = !steps.length
        if (strip.dataset.key === key) return
        const atEnd = strip.scrollLeft + strip.clientWidth >= strip.scrollWidth - 8
        const old = new Map([...strip.children].map((figure) => [figure.dataset.key, figure]))
        strip.replaceChildren(
            ...wanted.map((one) => old.get(JSON.stringify(one)) ?? this.figure(...one))
        )
        strip.dataset.key = key
        this.follow = atEnd
        this.scroll()
    }

    /** Stay at the newest image, unless somebody has gone back to earlier ones. */
    scroll() {
        const { strip } = this.parts
        if (this.follow) strip.scrollLeft = strip.scrollWidth
    }

    figure(step, image, savedAs) {
        const figure = make('figure')
        figure.dataset.key = JSON.stringify([step, image, savedAs])
        const shown = image ? this.image(step, image) : make('div', 'ti-blank')
        const label = make('figcaption')
        put(label, say('step', { step }))
        figure.append(shown, label)
        if (step > 0) figure.append(this.keepButton(step, savedAs))
        return figure
    }

    keepButton(step, savedAs) {
        const title = savedAs ? `embedding:${savedAs}` : say('keepTip', { step })
        const button = make('button', '', { type: 'button', title })
        put(button, say(savedAs ? 'keptAs' : 'keep'))
        button.addEventListener('click', () => void this.press('save', step))
        return button
    }

    /** A click opens the image, a press that is held shows it beside step 0. */
    image(step, name) {
        const image = make('img', '', { src: this.host.address(name), alt: say('step', { step }) })
        image.draggable = false
        image.addEventListener('load', () => this.scroll())
        let timer = 0
        let close = null
        const end = () => {
            clearTimeout(timer)
            close?.()
        }
        image.addEventListener('pointerdown', (event) => {
            if (event.button) return
            close = null
            timer = setTimeout(() => (close = this.enlarge([0, step])), HOLD)
            for (const kind of ['pointerup', 'pointercancel'])
                window.addEventListener(kind, end, { once: true, capture: true })
        })
        image.addEventListener('click', () => close || this.enlarge([step]))
        return image
    }

    /** Gives what closes it again. */
    enlarge(steps) {
        const shown = [...new Set(steps)].filter((step) => step in this.run.images)
        const large = make('div', 'ti-large', { title: say('close') })
        for (const step of shown) {
            const figure = make('figure')
            const label = make('figcaption')
            put(label, say('step', { step }))
            const src = this.host.address(this.run.images[step])
            figure.append(make('img', '', { src, alt: label.textContent }), label)
            large.append(figure)
        }
        return overPage(large)
    }

    /** Ask for something, and tell what came of it. */
    async press(name, step) {
        const { run } = this.run
        this.asked.set(name, Infinity)
        this.showButtons()
        try {
            const answer = await this.host.command(name, step == null ? { run } : { run, step })
            this.asked.set(name, answer.moment)
            if (name === 'save') this.tellSaved(answer)
        } catch (error) {
            this.asked.delete(name)
            put(this.parts.told, error.message)
        }
        if (name === 'save') this.asked.delete(name)
        this.settle()
        this.showButtons()
    }

    tellSaved({ step, name, advice }) {
        const text = `embedding:${name}`
        const code = make('code')
        put(code, text)
        const button = make('button', '', { type: 'button' })
        copies(button, text)
        const told = [say('saved', { step }), ' ', code, ' ', button, advice ? ` ${advice}` : '']
        this.parts.told.replaceChildren(...told)
    }

    /** The other stored runs of the word, to choose from. */
    async list() {
        const list = this.compare.lastChild
        try {
            const found = await this.host.runsOf(this.run.word)
            const others = found.filter(
                ({ run, validations }) => run !== this.run.stored_as && validations.length > 1
            )
            list.replaceChildren(...others.map((past) => this.choice(past)))
            if (!others.length) put(list, say('noRuns'))
        } catch (error) {
            put(list, error.message)
        }
    }

    choice(past) {
        const label = make('label')
        const box = make('input', '', { type: 'checkbox', checked: this.chosen.has(past.run) })
        box.addEventListener('change', () => {
            if (box.checked) this.chosen.set(past.run, past)
            else this.chosen.delete(past.run)
            this.paint()
        })
        label.append(box, pastRun(past))
        return label
    }

    /** Paint the curve in the size that it has on the screen. */
    paint(at = this.at) {
        this.at = at
        const { clientWidth: width, clientHeight: height } = this.canvas
        if (!width || !height) return
        const ratio = window.devicePixelRatio || 1
        const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)]
        if (this.canvas.width !== across) this.canvas.width = across
        if (this.canvas.height !== down) this.canvas.height = down
        const context = this.canvas.getContext('2d')
        context.setTransform(ratio, 0, 0, ratio, 0, 0)
        context.clearRect(0, 0, width, height)
        if (!this.run?.validations.length) return
        const past = [...this.chosen.values()]
        draw(context, { width, height }, this.run, themeOf(this.root), { past, at })
    }
}

/** Lay an element over the page until it is clicked or Escape is pressed, and give what closes it.
    Meanwhile no key reaches what lies behind: Delete would take nodes away. */
function overPage(element) {
    const before = document.activeElement
    const press = (event) => {
        if (!element.isConnected) return close()
        event.stopImmediatePropagation()
        if (event.key === 'Escape') close()
    }
    const close = () => {
        window.removeEventListener('keydown', press, true)
        if (!element.isConnected) return
        element.remove()
        before?.focus?.({ preventScroll: true })
    }
    Object.assign(element, { tabIndex: -1, role: 'dialog', ariaModal: 'true' })
    element.addEventListener('click', close)
    window.addEventListener('keydown', press, true)
    document.body.append(element)
    element.focus({ preventScroll: true })
    return close
}

function make(tag, className = '', properties = {}) {
    const element = Object.assign(document.createElement(tag), properties)
    if (className) element.className = className
    return element
}

/** Set a text where it has changed, and hide what has none. */
function put(element, text) {
    if (element.textContent !== text) element.textContent = text
    element.hidden = !text
}

function folded(title, content) {
    const details = make('details')
    const summary = make('summary')
    put(summary, title)
    details.append(summary, content)
    return details
}

function styled() {
    if (document.getElementById('ti-monitor-style')) return
    const style = make('style', '', { id: 'ti-monitor-style' })
    style.textContent = STYLE
    document.head.append(style)
}

/** The colors of the page's theme. */
function themeOf(element) {
    const style = getComputedStyle(element)
    const color = (name, otherwise) => style.getPropertyValue(name).trim() || otherwise
    const text = color('--input-text', '#ddd')
    return {
        text,
        quiet: color('--descrip-text', '#999'),
        paper: color('--comfy-menu-bg', '#353535'),
        grid: `color-mix(in srgb, ${text} 12%, transparent)`,
        loss: `color-mix(in srgb, ${text} 18%, transparent)`,
        faint: `color-mix(in srgb, ${color('--p-primary-color', '#3b82f6')} 45%, transparent)`,
        accent: color('--p-primary-color', '#3b82f6'),
        font: '10px system-ui, sans-serif'
    }
}
