// What the page says of this pack in German, for when ComfyUI's page offers it.

export default {
    // The monitor's lines
    idle: 'Während des Trainings steht hier, wie viel gelernt ist.',
    explains: '{word} erklärt {share} % mehr als {start}',
    explainsLess: '{word} erklärt {share} % weniger als {start}',
    loaded: 'das Wort, wie es geladen wurde',
    preparing: 'Ein gespeicherter Lauf wird gesucht',
    encoding: 'Die Bilder werden kodiert',
    trying: 'Ein Schritt wird probiert',
    measuring: 'Der Anfang wird gemessen',
    drawing: 'Vorschau bei Schritt {step} wird gezeichnet',
    learning: 'Schritt {step} von {steps}',
    pace: '{pace} s/Schritt',
    left: 'noch höchstens {left}',
    goingOn: 'fortgesetzt ab Schritt {first}',
    comma: ', ',
    done: 'Fertig bei Schritt {step} von {steps}',
    cancelledStored: 'Bei Schritt {step} abgebrochen. Ausführen setzt bei Schritt {stored} fort.',
    cancelled: 'Bei Schritt {step} abgebrochen. Nichts ist gespeichert.',
    stored: 'Bei Schritt {stored} gespeichert. Ausführen setzt dort fort.',
    failed: 'Das Training ist fehlgeschlagen',
    nearest: 'Nächste Wörter: {words}',

    // Its curve and pictures
    curve: 'Prozent des Validierungsverlusts, die weg sind, je Schritt',
    best: 'am besten: Schritt {step}',
    step: 'Schritt {step}',
    share: '{share} %',
    loss: 'Verlust {loss}',
    close: 'Klick oder Esc schließt.',

    // Its buttons, and what they tell
    stop: 'Beenden und behalten',
    stopping: 'Endet nach diesem Schritt',
    stopTip: 'Das Training nach dem laufenden Schritt beenden. Der Workflow geht mit dem weiter, was gelernt ist.',
    preview: 'Jetzt zeichnen',
    previewing: 'Kommt nach diesem Schritt',
    previewTip: 'Das Wort nach dem laufenden Schritt zeichnen. Ohne „Trainingsvorschau“: das Wort allein, und im Schnee.',
    save: 'Jetzt speichern',
    saveTip: 'Das Wort, wie es jetzt ist, in eine neue Datei im Embeddings-Ordner schreiben. Das Training geht weiter.',
    keep: 'Dieses behalten',
    keepTip: 'Das Wort, wie es nach Schritt {step} war, in eine neue Datei im Embeddings-Ordner schreiben.',
    keptAs: 'behalten',
    saved: 'Schritt {step} ist gespeichert. Im Prompt:',
    noAnswer: 'Der Server antwortet nicht ({reason}).',

    // What it folds away
    compare: 'Vergleichen',
    compareTip: 'Gespeicherte Läufe dieses Wortes, blass hinter diesem.',
    noRuns: 'Kein anderer Lauf dieses Wortes ist gespeichert.',
    past: 'Seed {seed}, {vectors} Vekt., {method} {rate}, Batch {batch}, {steps} Schritte: {share} %',
    pastUnknown: '{vectors} Vekt., {steps} Schritte: {share} %',
    report: 'Bericht',
    notes: 'Hinweise ({count})',

    // A text for prompts
    copy: 'Kopieren',
    copyTip: '„{text}“ kopieren',
    copied: 'Kopiert',
    copyYourself: 'Strg+C drücken',

    // Pictures and files that are dropped
    dropHere: 'Bilder oder einen Ordner hierher ziehen.',
    addPictures: 'Bilder hinzufügen',
    pictures: '{count} Bilder in {folder}',
    onePicture: '1 Bild in {folder}',
    uploading: '{number} von {count} wird hochgeladen',
    leftOut: 'Ausgelassen: {names}.',
    notUploaded: '{name} wurde nicht hochgeladen: {reason}.',
    uploadFailed: 'Hochladen fehlgeschlagen',

    // Advanced inputs in LiteGraph
    more: '{count} weitere Eingänge',
    fewer: 'Weniger Eingänge'
}
