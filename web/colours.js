// Colours of this pack's own kinds of wires, in both renderers, whatever palette is chosen.

import { app } from '../../scripts/app.js'

const COLOURS = {
    TI_CONCEPT: '#e8a33d',
    TI_EMBEDDING: '#d66ba0',
    TI_PREVIEWS: '#5aa9e6',
    TI_PICTURE_FIT: '#7fb069',
    TI_CAPTION_OPTIONS: '#9d8df1',
    TI_MASK_OPTIONS: '#4db6ac',
    TI_OBJECTIVE: '#c98b5e'
}

app.registerExtension({
    name: 'textual-inversion.colours',
    setup() {
        const rules = Object.entries(COLOURS).map((one) => `--color-datatype-${one.join(': ')};`)
        const style = document.createElement('style')
        style.textContent = `:root { ${rules.join(' ')} }`
        document.head.append(style)
        const links = app.canvas.constructor.link_type_colors
        for (const table of [links, app.canvas.default_connection_color_byType])
            for (const [type, colour] of Object.entries(COLOURS)) keep(table, type, colour)
    }
})

// A palette empties the colours of all types that it does not know.
function keep(table, type, colour) {
    const kept = { get: () => colour, set: () => {}, enumerable: true, configurable: true }
    Object.defineProperty(table, type, kept)
}
