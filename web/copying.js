// To the clipboard, from every page.

import { element } from './panel.js'

// Whether a text was copied. Pages without encryption have no clipboard, but may copy what is
// selected.
export async function copy(text) {
    try {
        await navigator.clipboard.writeText(text)
        return true
    } catch {
        const field = element('textarea', 'position: fixed; opacity: 0', '', { value: text })
        document.body.append(field)
        field.select()
        const done = document.execCommand('copy')
        field.remove()
        return done
    }
}
