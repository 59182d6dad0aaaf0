// What the page says of this pack in German, for when ComfyUI's page offers it.

export default {
    // The monitor's lines
    idle: 'Während des Trainings steht hier, wie gut das Wort gelernt ist.',
    explains: '{word}: Validierungsverlust {share} % unter {start}',
    explainsLess: '{word}: Validierungsverlust {share} % über {start}',
    loaded: 'dem geladenen Wort',
    explainsTip: 'Der Verlust ist größtenteils Rauschen, das kein Wort vorhersagen kann; 5 bis 30 % sind daher viel. Die Vorschaubilder entscheiden: Stimmt das Motiv und wirkt der Rest des Prompts noch, ist das Wort fertig.',
    preparing: 'Ein gespeicherter Lauf wird gesucht',
    encoding: 'Die Bilder werden kodiert',
    trying: 'Probeschritt',
    measuring: 'Der Validierungsverlust des Init-Worts wird gemessen',
    drawing: 'Vorschau bei Schritt {step} wird erzeugt',
    learning: 'Schritt {step} von {steps}',
    pace: '{pace} s/Schritt',
    left: 'noch höchstens {left}',
    goingOn: 'fortgesetzt ab Schritt {first}',
    comma: ', ',
    done: 'Fertig bei Schritt {step} von {steps}',
    cancelledStored: 'Bei Schritt {step} abgebrochen. Ausführen setzt bei Schritt {stored} fort.',
    cancelled: 'Bei Schritt {step} abgebrochen. Nichts ist gespeichert.',
    brokenStored: 'Bei Schritt {step} unterbrochen. Ausführen setzt bei Schritt {stored} fort.',
    broken: 'Bei Schritt {step} unterbrochen. Nichts ist gespeichert.',
    away: 'Der Server antwortet nicht. Letzter Stand: Schritt {step} von {steps}.',
    stored: 'Bei Schritt {stored} gespeichert. Ausführen setzt dort fort.',
    failed: 'Das Training ist fehlgeschlagen',
    nearest: 'Nächste Wörter: {words}',

    // Its curve and images
    curve: 'Rückgang des Validierungsverlusts in Prozent, je Schritt',
    best: 'am besten: Schritt {step}',
    step: 'Schritt {step}',
    share: '{share} %',
    loss: 'Verlust {loss}',
    close: 'Klick oder Esc schließt.',

    // Its buttons and their tooltips
    stop: 'Beenden und behalten',
    stopping: 'Endet nach diesem Schritt',
    stopTip: 'Nach dem laufenden Schritt aufhören. Der Workflow läuft mit dem weiter, was bis dahin gelernt ist.',
    preview: 'Vorschau erzeugen',
    previewing: 'Vorschau folgt',
    previewTip: 'Nach dem laufenden Schritt eine Vorschau erzeugen. Ohne „Trainingsvorschau“: das Wort allein, und im Schnee.',
    save: 'Jetzt speichern',
    saveTip: 'Das Wort, wie es jetzt ist, in einer neuen Datei im Embeddings-Ordner speichern. Das Training geht weiter.',
    keep: 'Dieses behalten',
    keepTip: 'Das Wort, wie es bei Schritt {step} war, in einer neuen Datei im Embeddings-Ordner speichern.',
    keptAs: 'gespeichert',
    saved: 'Schritt {step} ist gespeichert. Im Prompt:',
    noAnswer: 'Der Server antwortet nicht ({reason}).',

    // Its folded parts
    compare: 'Vergleichen',
    compareTip: 'Gespeicherte Läufe dieses Wortes hinter diesem zeigen.',
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

    // Images and files that are dropped
    dropHere: 'Bilder oder einen Ordner hierher ziehen.',
    addImages: 'Bilder hinzufügen',
    images: '{count} Bilder in {folder}',
    oneImage: '1 Bild in {folder}',
    subFolders: 'In Unterordnern: {names}.',
    uploading: '{number} von {count} wird hochgeladen',
    leftOut: 'Ausgelassen: {names}.',
    notUploaded: '{name} wurde nicht hochgeladen: {reason}.',
    storedAs: '{name} heißt jetzt {stored}, weil der Name vergeben war, und gehört deshalb zu keinem Bild.',
    uploadFailed: 'Hochladen fehlgeschlagen',

    // Advanced inputs in LiteGraph
    more: '{count} weitere Eingänge',
    fewer: 'Weniger Eingänge'
}
