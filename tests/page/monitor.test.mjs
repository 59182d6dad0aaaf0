// The monitor's pure modules, under `node --test`: no page, no server.

import assert from 'node:assert/strict'
import test from 'node:test'

import { draw, layout, read } from '../../web/monitor/drawing.js'
import { Runs } from '../../web/monitor/runs.js'
import { decimated, nearest, range, scale, ticks, usualRange } from '../../web/monitor/scales.js'
import { clock, headline, isOver, pastRun, percent, status } from '../../web/monitor/lines.js'

const RUN = {
    word: 'my-cat', initializer: 'cat', phase: 'learning', why: '', step: 120, steps: 400, first: 0,
    pace: 0.52, share: 27.2, best: 80, stored: 100, losses: [], validations: []
}
const THEME = {
    text: 'text', quiet: 'quiet', paper: 'paper', grid: 'grid', loss: 'loss', faint: 'faint',
    accent: 'accent', font: '10px sans'
}
const SIZE = { width: 300, height: 120 }

/** A 2D context that notes what is drawn, and with which color. */
function noting() {
    const notes = []
    const state = { measureText: (text) => ({ width: 6 * text.length }) }
    return new Proxy(state, {
        get: (kept, name) =>
            name === 'notes' ? notes : (kept[name] ?? ((...given) =>
                notes.push([name, name.startsWith('fill') ? kept.fillStyle : kept.strokeStyle, ...given]))),
        set: (kept, name, value) => ((kept[name] = value), true)
    })
}

function learned(count) {
    const losses = Array.from({ length: count }, (_, place) => [place + 1, Math.sin(place) + 2])
    const validations = Array.from({ length: 20 }, (_, place) => [(place * count) / 20, place])
    return { ...RUN, step: count, steps: count, best: (19 * count) / 20, losses, validations }
}

test('a scale leads from one range to the other, and a range of nothing to its start', () => {
    assert.equal(scale(0, 10, 100, 200)(2.5), 125)
    assert.equal(scale(5, 5, 100, 200)(5), 100)
})

test('ticks are round and take in the whole range', () => {
    assert.deepEqual(ticks(0, 27), [0, 10, 20, 30])
    assert.deepEqual(ticks(-0.013, 0.021), [-0.02, 0, 0.02, 0.04])
    assert.deepEqual(ticks(3, 3), [3])
    assert.deepEqual(ticks(0, Infinity), [0])
})

test('of many points there are few, which keep the mean and the end', () => {
    const many = learned(10_000).losses
    const few = decimated(many, 500)
    assert.equal(few.length, 500)
    assert.equal(few.at(-1)[0], 10_000)
    const mean = (points) => points.reduce((sum, [, y]) => sum + y, 0) / points.length
    assert.ok(Math.abs(mean(few) - mean(many)) < 1e-9)
    assert.equal(decimated(few, 500), few)
    assert.deepEqual(decimated([], 500), [])
})

test('a range has no outliers where it is to be the usual one', () => {
    const points = [...Array.from({ length: 99 }, (_, place) => [place, place / 99]), [99, 50]]
    assert.deepEqual(range(points), [0, 50])
    assert.ok(usualRange(points)[1] < 1)
    assert.deepEqual(range([]), [0, 0])
    assert.deepEqual(usualRange([]), [0, 0])
})

test('the nearest point is found', () => {
    assert.deepEqual(nearest([[0, 1], [10, 2], [30, 3]], 17), [10, 2])
    assert.equal(nearest([], 17), null)
})

test('the headline says what was learned, and of which start', () => {
    assert.equal(headline(RUN), "my-cat: validation loss 27 % below 'cat'")
    assert.equal(headline({ ...RUN, share: -3.21 }), "my-cat: validation loss 3.2 % above 'cat'")
    assert.equal(headline({ ...RUN, initializer: '' }), 'my-cat: validation loss 27 % below the loaded word')
    assert.equal(headline({ ...RUN, share: null }), 'my-cat')
    assert.equal(headline(null), '')
})

test('every state has its words', () => {
    assert.equal(status(RUN), 'Step 120 of 400, 0.52 s/step, at most 2:26 left')
    assert.equal(status({ ...RUN, phase: 'encoding', step: 0 }), 'Encoding the images')
    assert.match(status({ ...RUN, first: 100 }), /resumed from step 100$/)
    assert.equal(status({ ...RUN, phase: 'cancelled', stored: 120 }), 'Cancelled at step 120. Queue again to resume from step 120.')
    assert.equal(status({ ...RUN, phase: 'cancelled', stored: null }), 'Cancelled at step 120. Nothing is stored.')
    assert.equal(status({ ...RUN, phase: 'failed', why: 'The loss is nan.' }), 'The loss is nan.')
    assert.equal(status({ ...RUN, phase: 'done', why: 'Finished at step 400.' }), 'Finished at step 400.')
    assert.equal(status({ ...RUN, phase: 'stored' }), 'Stored at step 100. Queue again to resume from there.')
    assert.equal(status({ ...RUN, phase: 'broken' }), 'Interrupted at step 120. Queue again to resume from step 100.')
    assert.equal(status({ ...RUN, phase: 'broken', stored: null }), 'Interrupted at step 120. Nothing is stored.')
    assert.equal(status({ ...RUN, away: true }), 'The server does not answer. Last update: step 120 of 400.')
    for (const phase of ['preparing', 'trying', 'measuring', 'drawing']) assert.ok(status({ ...RUN, phase }))
    assert.ok(status(null))
})

test('a run is over when nothing can be asked of it', () => {
    for (const phase of ['done', 'cancelled', 'failed', 'broken', 'stored']) assert.ok(isOver({ phase }))
    assert.ok(isOver(null))
    assert.ok(!isOver(RUN))
})

/** What a page knows after it has asked a server that has `found` these runs and `stored` those. */
async function afterRestart(before, found, stored = {}) {
    const runs = new Runs()
    for (const run of before) runs.take(run)
    await runs.catchUp(found, runs.going(), async (name) => stored[name])
    return runs
}
const GOING = { ...RUN, run: 'a', stored_as: 'my-cat-1', moment: 9, asked: ['stop'], kept: [25], images: { 25: 'x' } }
const KEPT = { ...RUN, run: 'my-cat-1', stored_as: 'my-cat-1', moment: 0, phase: 'stored', step: 100, stored: 100 }

test('a run that the server does not know any more was broken off, and goes on from what is stored', async () => {
    const runs = await afterRestart([GOING], [KEPT], { 'my-cat-1': KEPT })
    const told = [...runs.known.values()].at(-1)
    assert.equal(status(told), 'Interrupted at step 120. Queue again to resume from step 100.')
    assert.ok(isOver(told))
    assert.deepEqual([told.asked, told.kept, told.images], [[], [], {}])
    await runs.catchUp([KEPT], runs.going(), async () => KEPT) // Once more, as every five seconds.
    assert.equal([...runs.known.values()].at(-1).phase, 'broken')
    runs.take({ ...GOING, run: 'b', moment: 1 }) // Run, on the new server, whose moments begin anew.
    assert.equal([...runs.known.values()].at(-1).run, 'b')
})

test('a broken run of which nothing is left says so: before its first checkpoint, or its folder is gone', async () => {
    for (const found of [[], [{ ...KEPT, run: 'other-2', stored_as: 'other-2' }]])
        for (const name of ['', 'my-cat-1']) {
            const runs = await afterRestart([{ ...GOING, stored_as: name }], found)
            assert.equal(status([...runs.known.values()].at(-1)), 'Interrupted at step 120. Nothing is stored.')
        }
})

test('a run that had ended when its server did is shown as it ended', async () => {
    const done = { ...KEPT, phase: 'done', why: 'Finished at step 400.', step: 400 }
    const runs = await afterRestart([GOING], [], { 'my-cat-1': done })
    assert.deepEqual([...runs.known.values()].map(status), ['Finished at step 400.'])
})

test('a run that began while the server was asked is not broken off, nor one that it knows', async () => {
    const runs = new Runs()
    runs.take(GOING)
    const going = runs.going()
    runs.take({ ...GOING, run: 'b' })
    await runs.catchUp([GOING], going, async () => undefined)
    assert.deepEqual([...runs.known.values()].map(({ phase }) => phase), ['learning', 'learning'])
})

test('news are ordered by their moments, and a node that gives its run again makes it the youngest', () => {
    const runs = new Runs()
    for (const [step, moment] of [[5, 2], [4, 1], [6, 3]]) runs.take({ ...GOING, step, moment })
    assert.equal(runs.known.get('a').step, 6)
    runs.take({ ...GOING, run: 'b' })
    runs.takeAgain({ ...GOING, phase: 'done', moment: 4 })
    runs.takeAgain({ ...GOING, phase: 'done', moment: 4 })
    assert.deepEqual([...runs.known.keys()], ['b', 'a'])
})

test('times and shares are written as people write them', () => {
    assert.deepEqual([0, 59.6, 146, 3725].map(clock), ['0:00', '1:00', '2:26', '1:02:05'])
    assert.deepEqual([0, 3.14, 27.2].map(percent), ['0.0', '3.1', '27'])
})

test('a stored run is told by its settings, an older one by what is known', () => {
    const past = { vectors: 2, steps: 400, seed: '1', method: 'adamw', rate: '0.005', batch: '2', validations: [[0, 0], [400, 21]] }
    assert.equal(pastRun(past), 'seed 1, 2 vec., adamw 0.005, batch 2, 400 steps: 21 %')
    assert.equal(pastRun({ ...past, method: '' }), '2 vec., 400 steps: 21 %')
})

test('the curve goes from the lower left to the best step, inside its box', () => {
    const chart = layout(SIZE, learned(200))
    for (const [step, share] of chart.shares) {
        assert.ok(chart.x(step) >= chart.box.left && chart.x(step) <= chart.box.right)
        assert.ok(chart.y(share) >= chart.box.top && chart.y(share) <= chart.box.bottom)
    }
    assert.ok(chart.y(19) < chart.y(0))
    assert.deepEqual(chart.best, [190, 19])
})

test('while it trains there is room for the steps to come, and none at the end', () => {
    const going = { ...learned(100), steps: 400 }
    assert.equal(layout(SIZE, going).last, 400)
    assert.equal(layout(SIZE, { ...going, phase: 'done' }).last, 100)
    assert.equal(layout(SIZE, going, [{ validations: [[0, 0], [900, 5]] }]).last, 900)
})

test('loss, past runs and the curve are drawn in that order, each in its color', () => {
    const context = noting()
    draw(context, SIZE, learned(200), THEME, { past: [learned(100)] })
    const strokes = context.notes.filter(([name]) => name === 'stroke').map(([, color]) => color)
    assert.deepEqual([...new Set(strokes)], ['grid', 'loss', 'faint', 'accent'])
    assert.ok(context.notes.some(([name, , text]) => name === 'fillText' && text === 'best: step 190'))
})

test('a run without a figure is drawn too', () => {
    const context = noting()
    draw(context, SIZE, { ...RUN, share: null, best: null }, THEME, { at: 50 })
    assert.ok(!context.notes.some(([name, color]) => name === 'stroke' && color === 'accent'))
})

test('the pointer reads step, share and loss', () => {
    const chart = layout(SIZE, learned(100))
    assert.equal(read(chart, chart.x(51)).text, `step 50, 10 %, loss ${(Math.sin(49) + 2).toPrecision(3)}`)
    assert.equal(read(layout(SIZE, RUN), 50), null)
})
