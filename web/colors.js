// Colors of this pack's own kinds of wires, in both renderers, whatever palette is chosen.

import { app } from '../../scripts/app.js'

const COLORS = {
    TI_CONCEPT: '#e8a33d',
    TI_EMBEDDING: '#d66ba0',
    TI_PREVIEWS: '#5aa9e6',
    TI_CROP: '#7fb069',
    TI_CAPTION_OPTIONS: '#9d8df1',
    TI_MASK_OPTIONS: '#4db6ac',
    TI_OBJECTIVE: '#c98b5e'
}

app.registerExtension({
    name: 'textual-inversion.colors',
    setup() {
        const rules = Object.entries(COLORS).map((one) => `--color-datatype-${one.join(': ')};`)
        const style = document.createElement('style')
        style.textContent = `:root { ${rules.join(' ')} }`
        document.head.append(style)
        const links = app.canvas.constructor.link_type_colors
        for (const table of [links, app.canvas.default_connection_color_byType])
            for (const [type, color] of Object.entries(COLORS)) keep(table, type, color)
    }
})

// A palette empties the colors of all types that it does not know.
function keep(table, type, color) {
    const kept = { get: () => color, set: () => {}, enumerable: true, configurable: true }
    Object.defineProperty(table, type, kept)
}
