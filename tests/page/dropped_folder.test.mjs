// Files that are dropped, sorted by the server's rules, under `node --test`.

import assert from 'node:assert/strict'
import test from 'node:test'

import { placesFor, sorted } from '../../web/dropped_folder.js'

// As `rules` of ti_core/concept/file_kinds.py gives them; tests/host asks for the real ones.
const KINDS = {
    images: ['.png', '.jpg', '.jfif'],
    captions: ['.txt', '.caption'],
    metadata: ['metadata.jsonl'],
    masks: ['_mask', '-masklabel'],
    left_behind: ['__macosx', 'thumbs.db'],
    left_behind_starts: ['.'],
    left_behind_ends: []
}
const file = (name) => ({ name, isDirectory: false, file: (done) => done({ name }) })
const folder = (name, ...below) => ({ name, isDirectory: true, createReader: () => reader(below) })
const names = (found) => found.map(({ file: { name }, path }) => [...path, name].join('/'))

function reader(below) {
    const groups = [below, []]
    return { readEntries: (done) => done(groups.shift()) }
}

const dropped = (...entries) =>
    sorted({ items: entries.map((one) => ({ webkitGetAsEntry: () => one })) }, KINDS)

test('what systems leave is passed over, and images come before what belongs to them', async () => {
    const found = await dropped(folder('cats',
        file('1_MASK.png'), file('1.PNG'), file('1.TXT'), file('._1.png'), file('Thumbs.db'),
        file('METADATA.jsonl'), file('a.heic'), file('lone_mask.png'),
        folder('__MACOSX', file('1.png')), folder('.Trash-1000', file('2.png')),
        folder('more', file('2.jfif'))))
    assert.deepEqual(names(found.images), ['1.PNG', 'lone_mask.png', 'more/2.jfif'])
    assert.deepEqual(names(found.belongings), ['1_MASK.png', '1.TXT', 'METADATA.jsonl'])
    assert.deepEqual(found.leftOut, ['a.heic'])
})

test('a mask or a caption goes to each image of its name, under the name that it has got', () => {
    const stored = new Map([['1', ['1 (1)', '1']], ['1.png', ['1 (1).png']], ['1.jpg', ['1.jpg']]])
    const places = (name) => placesFor({ file: { name }, path: [] }, stored, KINDS)
    assert.deepEqual(places('1.txt'), ['1 (1).txt', '1.txt'])
    assert.deepEqual(places('1_mask.png'), ['1 (1)_mask.png', '1_mask.png'])
    assert.deepEqual(places('1.png.txt'), ['1 (1).png.txt'])
    assert.deepEqual(places('metadata.jsonl'), ['metadata.jsonl'])
})
