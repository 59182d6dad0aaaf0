// What the page says of this pack, in the language of the page.

import de from './texts/de.js'
import en from './texts/en.js'
import zh from './texts/zh.js'

export const TEXTS = { en, zh, de }

let language = en

// Speak a language from now on; one that is not there, or lacks a text, speaks English.
export function speak(code) {
    language = TEXTS[code] ?? en
}

// A text with its values in it.
export function say(name, values = {}) {
    const text = language[name] ?? en[name]
    return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key]))
}
