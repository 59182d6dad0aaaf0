// The language that is chosen for ComfyUI's page is this pack's too.

import { app } from '../../scripts/app.js'
import { speak } from './texts.js'

app.registerExtension({
    name: 'textual-inversion.language',
    init: () => speak(app.extensionManager.setting.get('Comfy.Locale'))
})
