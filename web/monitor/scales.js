// Numbers to places: scales, ticks, and few points for many.

/** A function from `[from, to]` to `[start, end]`. */
export function scale(from, to, start, end) {
    const factor = to === from ? 0 : (end - start) / (to - from)
    return (value) => start + (value - from) * factor
}

/** The round step (1, 2 or 5 times a power of ten) that cuts a span into at most `parts`. */
export function roundStep(span, parts) {
    const least = span / parts
    const power = 10 ** Math.floor(Math.log10(least))
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least * (1 - 1e-9))
}

/** Round values from `from` to `to`, with `from` and `to` moved out to round ones. */
export function ticks(from, to, parts = 3) {
    const span = to - from
    if (!(span > 0) || !Number.isFinite(span)) return [from]
    const step = roundStep(span, parts)
    const first = Math.floor(from / step + 1e-9)
    const last = Math.ceil(to / step - 1e-9)
    const digits = Math.max(0, -Math.floor(Math.log10(step)))
    return Array.from({ length: last - first + 1 }, (_, place) =>
        Number(((first + place) * step).toFixed(digits))
    )
}

/** At most `most` points `[x, mean y]` for many, each the mean of a stretch of equal length. */
export function decimated(points, most) {
    const size = Math.ceil(points.length / most) || 1
    if (size === 1) return points
    const few = []
    for (let start = 0; start < points.length; start += size) {
        const part = points.slice(start, start + size)
        few.push([part.at(-1)[0], part.reduce((sum, [, y]) => sum + y, 0) / part.length])
    }
    return few
}

/** Smallest and largest `y` of points, `[0, 0]` of none. */
export function range(points) {
    let [low, high] = [Infinity, -Infinity]
    for (const [, y] of points) {
        if (y < low) low = y
        if (y > high) high = y
    }
    return low <= high ? [low, high] : [0, 0]
}

/** The range of points without the highest ones, of which there are `share`. */
export function usualRange(points, share = 0.05) {
    const sorted = points.slice().sort(([, one], [, other]) => one - other)
    return range(sorted.slice(0, Math.max(2, Math.ceil(sorted.length * (1 - share)))))
}

/** The point whose `x` is nearest; null of none. */
export function nearest(points, x) {
    let found = null
    for (const point of points)
        if (!found || Math.abs(point[0] - x) < Math.abs(found[0] - x)) found = point
    return found
}
