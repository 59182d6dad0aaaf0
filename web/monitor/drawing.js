// The curve: the share that is explained, over the faint loss of the steps.

import { say } from '../texts.js'
import { decimated, nearest, range, scale, ticks, usualRange } from './scales.js'
import { isOver, percent } from './lines.js'

const LEFT = 34
const RIGHT = 8
const TOP = 8
const BOTTOM = 16
const MOST = 250 // points that are drawn of a curve
const MOST_LOSSES = 100 // of means, because the loss of a step is noise

/** Draw a run on an empty 2D context of `width` x `height`; `past` are other runs, `at` is the pointer's x. */
export function draw(context, { width, height }, run, theme, { past = [], at = null } = {}) {
    const chart = layout({ width, height }, run, past)
    drawAxes(context, chart, theme)
    drawLosses(context, chart, theme)
    for (const points of chart.past) line(context, chart, points, theme.faint, 1)
    line(context, chart, chart.shares, theme.accent, 2)
    if (chart.best) drawBest(context, chart, theme)
    if (at !== null) drawHover(context, chart, theme, at)
}

/** Where everything goes. */
export function layout({ width, height }, run, past = []) {
    const others = past.map(({ validations }) => decimated(validations, MOST))
    const shares = decimated(run.validations, MOST)
    const losses = decimated(run.losses, MOST_LOSSES)
    const ends = [run.step, isOver(run) ? 0 : run.steps, ...others.map((one) => one.at(-1)?.[0] ?? 0)]
    const [low, high] = range([...shares, ...others.flat(), [0, 0], [0, 1]])
    const rows = ticks(low, high)
    const [left, right, top, bottom] = [LEFT, width - RIGHT, TOP, height - BOTTOM]
    return {
        box: { left, right, top, bottom },
        shares,
        losses,
        past: others,
        rows,
        last: Math.max(1, ...ends),
        best: shares.length > 1 ? shares.find(([step]) => step === run.best) : null,
        x: scale(0, Math.max(1, ...ends), left, right),
        y: scale(rows[0], rows.at(-1), bottom, top),
        faintY: scale(...usualRange(losses), bottom, top)
    }
}

function drawAxes(context, { box, rows, last, x, y }, theme) {
    context.font = theme.font
    context.lineWidth = 1
    context.strokeStyle = theme.grid
    context.fillStyle = theme.quiet
    context.textAlign = 'right'
    context.textBaseline = 'middle'
    for (const row of rows) {
        context.beginPath()
        context.moveTo(box.left, y(row))
        context.lineTo(box.right, y(row))
        context.stroke()
        context.fillText(say('share', { share: row }), box.left - 4, y(row))
    }
    context.textBaseline = 'bottom'
    const columns = ticks(0, last, 5).filter((step) => step <= last && Number.isInteger(step))
    for (const step of columns) {
        context.textAlign = x(step) > box.right - 12 ? 'right' : 'center'
        context.fillText(String(step), x(step), box.bottom + BOTTOM)
    }
}

function drawLosses(context, chart, theme) {
    const { top } = chart.box
    const faint = { ...chart, y: (loss) => Math.max(top, chart.faintY(loss)) }
    line(context, faint, chart.losses, theme.loss, 1)
}

function line(context, { x, y }, points, color, thickness) {
    if (points.length < 2) return
    context.strokeStyle = color
    context.lineWidth = thickness
    context.lineJoin = 'bevel' // Round corners take four times as long.
    context.beginPath()
    points.forEach(([step, value], place) =>
        place ? context.lineTo(x(step), y(value)) : context.moveTo(x(step), y(value))
    )
    context.stroke()
}

function drawBest(context, { box, best, x, y }, theme) {
    const [left, top] = [x(best[0]), y(best[1])]
    context.fillStyle = theme.accent
    context.beginPath()
    context.arc(left, top, 3.5, 0, 2 * Math.PI)
    context.fill()
    const after = left < (box.left + box.right) / 2
    context.fillStyle = theme.quiet
    context.textAlign = after ? 'left' : 'right'
    context.textBaseline = top > box.top + 18 ? 'bottom' : 'top'
    const below = context.textBaseline === 'top'
    context.fillText(say('best', { step: best[0] }), left + (after ? 6 : -6), top + (below ? 5 : -4))
}

/** What the curve says at a place: step, share and loss there. */
export function read({ box, last, shares, losses }, at) {
    const step = scale(box.left, box.right, 0, last)(at)
    const [share, loss] = [nearest(shares, step), nearest(losses, step)]
    if (!share) return null
    const parts = [say('step', { step: share[0] }), say('share', { share: percent(share[1]) })]
    if (loss) parts.push(say('loss', { loss: nearest(losses, share[0])[1].toPrecision(3) }))
    return { point: share, text: parts.join(say('comma')) }
}

function drawHover(context, chart, theme, at) {
    const found = read(chart, at)
    if (!found) return
    const { box } = chart
    const [left, top] = [chart.x(found.point[0]), chart.y(found.point[1])]
    context.strokeStyle = theme.quiet
    context.lineWidth = 1
    context.beginPath()
    context.moveTo(left, box.top)
    context.lineTo(left, box.bottom)
    context.stroke()
    context.fillStyle = theme.text
    context.beginPath()
    context.arc(left, top, 3, 0, 2 * Math.PI)
    context.fill()
    const width = context.measureText(found.text).width + 12
    const start = Math.min(Math.max(left - width / 2, box.left), box.right - width)
    context.fillStyle = theme.paper
    context.fillRect(start, box.bottom - 22, width, 18)
    context.strokeRect(start, box.bottom - 22, width, 18)
    context.fillStyle = theme.text
    context.textAlign = 'left'
    context.textBaseline = 'middle'
    context.fillText(found.text, start + 6, box.bottom - 13)
}
