// What lies in a folder or among files that were dropped: pictures, captions, and other things.

const PICTURE = /\.(png|jpe?g|webp|bmp|tiff?|gif)$/i
const CAPTION = /(\.(txt|caption)|^(metadata\.jsonl?|meta_cap\.json|meta_clean\.json))$/i
const HIDDEN = /^\.|^(thumbs\.db|desktop\.ini)$/i
const HOSTS_OWN = ['3d', 'clipspace', 'painter', 'pasted', 'webcam']
const NAMELESS = 'pictures'

// A promise of the files of a DataTransfer, each with the folders above it; null where there is
// neither a folder nor a picture. The transfer is read at once: after the event it is empty.
export function sorted({ items = [], files = [] }) {
    const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)
    const folders = entries.filter(({ isDirectory }) => isDirectory)
    const loose = [...files].filter(({ name }) => !folders.some((one) => one.name === name))
    if (!folders.length && !loose.some(({ name }) => PICTURE.test(name))) return null
    return inOrder(loose.map((file) => ({ file, path: [] })), folders)
}

async function inOrder(loose, folders) {
    const folder = folders.length === 1 && !loose.length ? folders[0].name : ''
    const below = folders.map((one) => filesIn(one, folder ? [] : [one.name]))
    const all = [...loose, ...(await Promise.all(below)).flat()]
    const named = all.filter(({ file }) => !HIDDEN.test(file.name))
    const pictures = named.filter(({ file }) => PICTURE.test(file.name))
    const captions = named.filter(({ file }) => CAPTION.test(file.name))
    const others = named.filter((one) => !pictures.includes(one) && !captions.includes(one))
    return { folder, pictures, captions, leftOut: others.map(({ file }) => file.name) }
}

// The files of a folder and of those in it; a reader gives a hundred entries at a time.
async function filesIn(folder, path) {
    const reader = folder.createReader()
    const found = []
    for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail))
        if (!some.length) return found
        for (const one of some.filter(({ name }) => !HIDDEN.test(name)))
            found.push(...(one.isDirectory ? await filesIn(one, [...path, one.name])
                : [{ file: await new Promise((done, fail) => one.file(done, fail)), path }]))
    }
}

// A name that no folder of input/ has, as near to the wanted one as a folder may be called.
export function folderName(wanted, choices) {
    const plain = wanted.replace(/[^\p{L}\p{N}._ -]+/gu, '-').replace(/^[. -]+|[. -]+$/g, '')
    const taken = new Set([...choices.map((one) => one.replace(/^input\//, '')), ...HOSTS_OWN])
    const names = function* () {
        yield plain || NAMELESS
        for (let number = 2; ; number++) yield `${plain || NAMELESS}-${number}`
    }
    for (const name of names()) if (!taken.has(name)) return name
}
