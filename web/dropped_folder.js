// What lies in a folder or among files that were dropped: images, captions, and other things.

const HOSTS_OWN = ['3d', 'clipspace', 'painter', 'pasted', 'webcam']
const NAMELESS = 'images'

// What a name says, by the server's rules (ti_core/concept/file_kinds.py).
const compared = (name) => name.normalize('NFC').toLowerCase().normalize('NFC')
const ends = (name, endings) => endings.some((one) => compared(name).endsWith(one))
const isImage = (name, kinds) => ends(name, kinds.images)
const isCaption = (name, kinds) =>
    ends(name, kinds.captions) || kinds.metadata.includes(compared(name))
const isPassedOver = (name, kinds) =>
    kinds.left_behind.includes(compared(name)) || ends(name, kinds.left_behind_ends) ||
    kinds.left_behind_starts.some((one) => compared(name).startsWith(one))

// A promise of the files of a DataTransfer, each with the folders above it; null where there is
// neither a folder nor an image. The transfer is read at once: after the event it is empty.
export function sorted({ items = [], files = [] }, kinds) {
    const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)
    const folders = entries.filter(({ isDirectory }) => isDirectory)
    const loose = [...files].filter(({ name }) => !folders.some((one) => one.name === name))
    if (!folders.length && !loose.some(({ name }) => isImage(name, kinds))) return null
    return inOrder(loose.map((file) => ({ file, path: [] })), folders, kinds)
}

// Images come before what belongs to them: masks and captions.
async function inOrder(loose, folders, kinds) {
    const folder = folders.length === 1 && !loose.length ? folders[0].name : ''
    const below = folders.map((one) => filesIn(one, folder ? [] : [one.name], kinds))
    const all = [...loose, ...(await Promise.all(below)).flat()]
    const meant = all.filter(({ file }) => !isPassedOver(file.name, kinds))
    const seen = meant.filter(({ file }) => isImage(file.name, kinds))
    const stems = new Set(seen.map((one) => stem(placeOf(one))))
    const isMask = (one) => stems.has(unmasked(stem(placeOf(one)), kinds))
    const captions = meant.filter(({ file }) => isCaption(file.name, kinds))
    const others = meant.filter((one) => !seen.includes(one) && !captions.includes(one))
    return {
        folder,
        images: seen.filter((one) => !isMask(one)),
        belongings: [...seen.filter(isMask), ...captions],
        leftOut: others.map(({ file }) => file.name)
    }
}

export const stem = (name) => name.replace(/\.[^./]*$/, '')
export const placeOf = ({ file, path }) => [...path, file.name].join('/')

// The stem of the image that a mask of this stem is for; empty if it is not called a mask.
export function unmasked(name, kinds) {
    const mark = kinds.masks.find((one) => compared(name).endsWith(one))
    return mark ? name.slice(0, -mark.length) : ''
}

// Where a mask or a caption goes: to each image that it belongs to, under the name that the
// image has got; `stored` has those by the image's place, with its ending and without.
export function placesFor(one, stored, kinds) {
    const own = stem(placeOf(one))
    const [ending, bare] = [placeOf(one).slice(own.length), unmasked(own, kinds)]
    const mark = own.slice(bare.length)
    const found = stored.get(own)?.map((name) => name + ending) ??
        stored.get(bare)?.map((name) => name + mark + ending)
    return [...new Set(found ?? [one.file.name])]
}

// The files of a folder and of those in it; a reader gives a hundred entries at a time.
async function filesIn(folder, path, kinds) {
    const reader = folder.createReader()
    const found = []
    for (;;) {
        const some = await new Promise((done, fail) => reader.readEntries(done, fail))
        if (!some.length) return found
        for (const one of some.filter(({ name }) => !isPassedOver(name, kinds)))
            found.push(...(one.isDirectory ? await filesIn(one, [...path, one.name], kinds)
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
