// What the page says of this pack in English: the texts that every other language has too.

export default {
    // The monitor's lines
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
    comma: ', ',
    done: 'Done at step {step} of {steps}',
    cancelledStored: 'Cancelled at step {step}. Run goes on from step {stored}.',
    cancelled: 'Cancelled at step {step}. Nothing is stored.',
    stored: 'Stored at step {stored}. Run goes on from there.',
    failed: 'The training failed',
    nearest: 'Nearest words: {words}',

    // Its curve and pictures
    curve: 'Per cent of the validation loss that is gone, by step',
    best: 'best: step {step}',
    step: 'step {step}',
    share: '{share} %',
    loss: 'loss {loss}',
    close: 'Click or press Escape to close.',

    // Its buttons, and what they tell
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
    noAnswer: 'The server does not answer ({reason}).',

    // What it folds away
    compare: 'Compare',
    compareTip: 'Stored runs of this word, drawn faintly behind this one.',
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

    // Pictures and files that are dropped
    dropHere: 'Drop pictures or a folder here.',
    addPictures: 'Add pictures',
    pictures: '{count} pictures in {folder}',
    onePicture: '1 picture in {folder}',
    uploading: 'Uploading {number} of {count}',
    leftOut: 'Left out: {names}.',
    notUploaded: '{name} was not uploaded: {reason}.',
    uploadFailed: 'Upload failed',

    // Advanced inputs in LiteGraph
    more: '{count} more inputs',
    fewer: 'Fewer inputs'
}
