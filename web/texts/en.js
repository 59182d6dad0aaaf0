// What the page says of this pack in English: the texts that every other language has too.

export default {
    // The monitor's lines
    idle: 'During training, this shows how well the word is learned.',
    explains: '{word}: validation loss {share} % below {start}',
    explainsLess: '{word}: validation loss {share} % above {start}',
    loaded: 'the loaded word',
    explainsTip: 'Most of the loss is noise that no word can predict, so 5 to 30 % is a lot. Judge by the previews: when the subject is right and the rest of the prompt still works, it is done.',
    preparing: 'Looking for a stored run',
    encoding: 'Encoding the images',
    trying: 'Trial step',
    measuring: 'Measuring the validation loss of the init word',
    drawing: 'Generating a preview at step {step}',
    learning: 'Step {step} of {steps}',
    pace: '{pace} s/step',
    left: 'at most {left} left',
    goingOn: 'resumed from step {first}',
    comma: ', ',
    done: 'Done at step {step} of {steps}',
    cancelledStored: 'Cancelled at step {step}. Queue again to resume from step {stored}.',
    cancelled: 'Cancelled at step {step}. Nothing is stored.',
    brokenStored: 'Interrupted at step {step}. Queue again to resume from step {stored}.',
    broken: 'Interrupted at step {step}. Nothing is stored.',
    away: 'The server does not answer. Last update: step {step} of {steps}.',
    stored: 'Stored at step {stored}. Queue again to resume from there.',
    failed: 'The training failed',
    nearest: 'Nearest words: {words}',

    // Its curve and images
    curve: 'Reduction of the validation loss in percent, by step',
    best: 'best: step {step}',
    step: 'step {step}',
    share: '{share} %',
    loss: 'loss {loss}',
    close: 'Click or press Escape to close.',

    // Its buttons and their tooltips
    stop: 'Stop and keep',
    stopping: 'Stopping after this step',
    stopTip: 'Stop after the current step. The graph continues with the word learned so far.',
    preview: 'Preview now',
    previewing: 'Preview pending',
    previewTip: 'Generate a preview after the current step. Without Training Previews: the word alone, and in the snow.',
    save: 'Save now',
    saveTip: 'Save the current word to a new file in the embeddings folder. Training continues.',
    keep: 'Keep this one',
    keepTip: 'Save the word as of step {step} to a new file in the embeddings folder.',
    keptAs: 'saved',
    saved: 'Step {step} is saved. In a prompt:',
    noAnswer: 'The server does not answer ({reason}).',

    // Its folded parts
    compare: 'Compare',
    compareTip: 'Show stored runs of this word behind this one.',
    noRuns: 'No other run of this word is stored.',
    past: 'seed {seed}, {vectors} vec., {method} {rate}, batch {batch}, {steps} steps: {share} %',
    pastUnknown: '{vectors} vec., {steps} steps: {share} %',
    report: 'Report',
    notes: 'Notes ({count})',

    // A text for prompts
    copy: 'Copy',
    copyTip: 'Copy "{text}"',
    copied: 'Copied',
    copyYourself: 'Press Ctrl+C',

    // Images and files that are dropped
    dropHere: 'Drop images or a folder here.',
    addImages: 'Add images',
    images: '{count} images in {folder}',
    oneImage: '1 image in {folder}',
    subFolders: 'In subfolders: {names}.',
    uploading: 'Uploading {number} of {count}',
    leftOut: 'Left out: {names}.',
    notUploaded: '{name} was not uploaded: {reason}.',
    storedAs: '{name} is stored as {stored}, because the name was taken, so it matches no image.',
    uploadFailed: 'Upload failed',

    // Advanced inputs in LiteGraph
    more: '{count} more inputs',
    fewer: 'Fewer inputs'
}
