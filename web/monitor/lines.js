// What the monitor says, in words.

import { say } from '../texts.js'

/** A length of time as minutes and seconds, `2:20`; from an hour on `1:02:20`. */
export function clock(seconds) {
    const whole = Math.round(seconds)
    const two = (value) => String(value).padStart(2, '0')
    const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60]
    return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`
}

/** Per cent as people say it: whole ones from ten on. */
export function percent(share) {
    return Math.abs(share) < 10 ? share.toFixed(1) : share.toFixed(0)
}

/** What was learned, in one sentence; nothing before that is measured. */
export function headline(run) {
    if (run?.share == null) return run?.word ?? ''
    const start = run.initializer ? `'${run.initializer}'` : say('loaded')
    const name = run.share < 0 ? 'explainsLess' : 'explains'
    return say(name, { word: run.word, share: percent(Math.abs(run.share)), start })
}

/** Where the run is, in one line. */
export function status(run) {
    if (!run) return say('idle')
    const { phase, step, first, pace, stored } = run
    if (run.away) return say('away', run)
    if (phase === 'broken') return say(stored ? 'brokenStored' : 'broken', run)
    if (phase === 'cancelled') return say(stored ? 'cancelledStored' : 'cancelled', run)
    if (phase === 'failed') return run.why || say('failed')
    if (phase === 'done') return run.why || say('done', run)
    const parts = [say(phase, run)]
    if (phase === 'learning' && pace > 0) {
        parts.push(say('pace', { pace: pace.toPrecision(2) }))
        parts.push(say('left', { left: clock((run.steps - step) * pace) }))
    }
    if (first > 0 && phase !== 'stored') parts.push(say('goingOn', { first }))
    return parts.join(say('comma'))
}

/** How a stored run was made, and how far it came. */
export function pastRun(run) {
    const share = percent(run.validations.at(-1)?.[1] ?? 0)
    return say(run.method ? 'past' : 'pastUnknown', { ...run, share })
}

/** Whether a run is at its end. */
export function isOver(run) {
    return !run || ['done', 'cancelled', 'failed', 'broken', 'stored'].includes(run.phase)
}
