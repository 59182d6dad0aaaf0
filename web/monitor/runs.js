// The runs that a page knows: news of them, and what became of them while it heard nothing.

import { isOver } from './lines.js'

const MOST = 20

/** By their names, the youngest last. Of two messages of a run that of the later moment counts,
    whichever comes first. */
export class Runs {
    constructor() {
        this.known = new Map()
    }

    /** What the server says by itself. */
    take(run) {
        const known = this.known.get(run.run)
        if (!known) this.known.set(run.run, run)
        else if (!isOlder(run, known)) Object.assign(known, run)
        while (this.known.size > MOST) this.known.delete(this.known.keys().next().value)
    }

    /** What a node gives again without having run: its run counts as the youngest. */
    takeAgain(run) {
        const known = this.known.get(run.run)
        if (!known || isOver(known)) this.known.delete(run.run)
        this.take(run)
    }

    /** The runs that are not at their end. */
    going() {
        return [...this.known.values()].filter((run) => !isOver(run))
    }

    /** All that the server knows. A run that was `going` when it was asked, and that it does not
        know, was that of a server that is no more: `storedRun(name)` says what is left of it. */
    async catchUp(found, going, storedRun) {
        for (const run of found) {
            if (this.isBroken(run.run)) continue
            const known = this.known.get(run.run)
            this.known.delete(run.run)
            this.known.set(run.run, isOlder(run, known) ? known : run)
        }
        const names = new Set(found.map(({ run }) => run))
        for (const run of going)
            if (!names.has(run.run)) this.breakOff(run, await storedRun(run.stored_as))
    }

    /** A run was broken off: it goes on from the step that is stored, if any is. */
    breakOff(run, stored) {
        this.known.delete(run.run)
        this.known.delete(run.stored_as)
        const left = { stored: stored?.step ?? null, asked: [], images: {}, kept: [] }
        const told = stored?.phase === 'done' ? stored : { ...run, ...left, phase: 'broken' }
        this.known.set(told.run, told)
    }

    /** Whether what is stored under a name is told of already, as a run that was broken off. */
    isBroken(name) {
        return [...this.known.values()].some(
            ({ phase, stored_as: storedAs }) => phase === 'broken' && storedAs === name
        )
    }
}

/** Whether a message was overtaken by news. */
function isOlder(run, known) {
    return known && run.moment < known.moment
}
