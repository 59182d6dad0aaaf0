// What the monitor says, in words.

export const TEXTS = {
    en: {
        idle: 'When it trains, you see here how much it has learned.',
        explains: '{word} explains {share} % more than {start}',
        explainsLess: '{word} explains {share} % less than {start}',
        loaded: 'the word as it was loaded',
        preparing: 'Looking for a stored run',
        encoding: 'Encoding the pictures',
        trying: 'Trying a step',
        measuring: 'Measuring the start',
        drawing: 'Drawing a preview at step {step}',
        learning: 'Step {step} of {steps}',
        pace: '{pace} s/step',
        left: 'at most {left} left',
        goingOn: 'going on from step {first}',
        done: 'Done at step {step} of {steps}',
        cancelledStored: 'Cancelled at step {step}. Run goes on from step {stored}.',
        cancelled: 'Cancelled at step {step}. Nothing is stored.',
        stored: 'Stored at step {stored}. Run goes on from there.',
        failed: 'The training failed',
        nearest: 'Nearest words: {words}',
        best: 'best: step {step}',
        step: 'step {step}',
        share: '{share} %',
        loss: 'loss {loss}',
        stop: 'Stop and keep',
        stopping: 'Stopping after this step',
        stopTip: 'End the training after the current step. The graph continues with what was learned.',
        preview: 'Preview now',
        previewing: 'Drawn after this step',
        previewTip: 'Draw the word after the current step. Without Training Previews: the word alone, and in the snow.',
        save: 'Save now',
        saveTip: 'Write the word as it is now to a new file in the embeddings folder. The training continues.',
        keep: 'Keep this one',
        keepTip: 'Write the word as it was after step {step} to a new file in the embeddings folder.',
        keptAs: 'kept',
        saved: 'Step {step} is saved. In a prompt:',
        copy: 'Copy',
        copied: 'Copied',
        copyYourself: 'Press Ctrl+C',
        compare: 'Compare',
        compareTip: 'Stored runs of this word, drawn faintly behind this one.',
        noRuns: 'No other run of this word is stored.',
        past: 'seed {seed}, {vectors} vec., {method} {rate}, batch {batch}, {steps} steps: {share} %',
        pastUnknown: '{vectors} vec., {steps} steps: {share} %',
        report: 'Report',
        notes: 'Notes ({count})',
        close: 'Click or press Escape to close.',
        noAnswer: 'The server does not answer ({reason}).',
        curve: 'Per cent of the validation loss that is gone, by step'
    }
}

let language = 'en'

/** Choose the language; one that is not there, or lacks a text, speaks English. */
export function speak(code) {
    language = code in TEXTS ? code : 'en'
}

/** A text with its values in it. */
export function say(name, values = {}) {
    const text = TEXTS[language][name] ?? TEXTS.en[name]
    return text.replace(/\{(\w+)\}/g, (_, key) => String(values[key]))
}

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
    const start = run.initialiser ? `'${run.initialiser}'` : say('loaded')
    const name = run.share < 0 ? 'explainsLess' : 'explains'
    return say(name, { word: run.word, share: percent(Math.abs(run.share)), start })
}

/** Where the run is, in one line. */
export function status(run) {
    if (!run) return say('idle')
    const { phase, step, first, pace, stored } = run
    if (phase === 'cancelled') return say(stored ? 'cancelledStored' : 'cancelled', run)
    if (phase === 'failed') return run.why || say('failed')
    if (phase === 'done') return run.why || say('done', run)
    const parts = [say(phase, run)]
    if (phase === 'learning' && pace > 0) {
        parts.push(say('pace', { pace: pace.toPrecision(2) }))
        parts.push(say('left', { left: clock((run.steps - step) * pace) }))
    }
    if (first > 0 && phase !== 'stored') parts.push(say('goingOn', { first }))
    return parts.join(', ')
}

/** How a stored run was made, and how far it came. */
export function pastRun(run) {
    const share = percent(run.validations.at(-1)?.[1] ?? 0)
    return say(run.method ? 'past' : 'pastUnknown', { ...run, share })
}

/** Whether a run is at its end. */
export function isOver(run) {
    return !run || ['done', 'cancelled', 'failed', 'stored'].includes(run.phase)
}
