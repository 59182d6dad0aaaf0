// The texts of the page, under `node --test`.

import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import test from 'node:test'

import { TEXTS, say, speak } from '../../web/texts.js'

const WEB = new URL('../../web/', import.meta.url)
const CODE = readdirSync(WEB, { recursive: true })
    .filter((name) => name.endsWith('.js') && !name.startsWith('texts'))
    .map((name) => readFileSync(new URL(name, WEB), 'utf8'))
    .join('\n')
const MONITOR = readFileSync(new URL('../ti_core/host/page/monitor.py', WEB), 'utf8')
const PHASES = [...MONITOR.matchAll(/^(?:Going|Over) = Literal\[(.*)\]$/gm)]
    .flatMap(([, names]) => names.match(/\w+/g))

test('every language has the texts of English, with the same values in them', () => {
    const places = (text) => (text.match(/\{\w+\}/g) ?? []).sort()
    for (const [code, texts] of Object.entries(TEXTS)) {
        assert.deepEqual(Object.keys(texts), Object.keys(TEXTS.en), code)
        for (const [name, text] of Object.entries(texts))
            assert.deepEqual(places(text), places(TEXTS.en[name]), `${code}: ${name}`)
    }
})

test('what the code and the server say is a text, and every text is said', () => {
    const said = [...CODE.matchAll(/\bsay\('(\w+)'/g)].map(([, name]) => name)
    assert.ok(said.length > 20)
    assert.ok(PHASES.length > 8)
    for (const name of [...said, ...PHASES]) assert.ok(name in TEXTS.en, name)
    const words = new Set([...CODE.match(/\w+/g), ...PHASES])
    for (const name of Object.keys(TEXTS.en))
        assert.ok(words.has(name) || words.has(name.replace(/Tip$/, '')), name)
})

test('no sentence stands in the code itself', () => {
    const code = CODE.replace(/^\s*(\/\/|\/\*\*|\* ).*$/gm, '').replace(/\/\/ .*$/gm, '')
    assert.deepEqual(code.match(/(['"`])[A-Z][a-z]+ [^'"`\n]*\1/g) ?? [], [])
})

test('Chinese texts are Chinese, but for those that are the same everywhere', () => {
    const latin = Object.values(TEXTS.zh).filter((text) => !/\p{Script=Han}/u.test(text))
    assert.deepEqual(latin, ['，', '{share} %'])
})

test('a language is spoken from then on, an unknown one as English', () => {
    speak('zh')
    assert.equal(say('step', { step: 5 }), '第 5 步')
    speak('xx')
    assert.equal(say('step', { step: 5 }), 'step 5')
})
