// To the clipboard, from every page.

import { element } from './panel.js'
import { say } from './texts.js'

const TOLD = 2000 // ms for which a button says what came of it

// Make a button one that copies a text.
export function copies(button, text) {
    button.title = say('copyTip', { text })
    button.textContent = say('copy')
    button.addEventListener('click', async () => {
        button.textContent = say((await copy(text)) ? 'copied' : 'copyYourself')
        setTimeout(() => (button.textContent = say('copy')), TOLD)
    })
}

// Whether a text was copied. Pages without encryption have no clipboard, but may copy what is
// selected.
async function copy(text) {
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
