// What the page says of this pack in Chinese.

export default {
    // The monitor's lines
    idle: '训练时，这里显示学到了多少。',
    explains: '{word} 比 {start} 多解释了 {share} %',
    explainsLess: '{word} 比 {start} 少解释了 {share} %',
    loaded: '加载时的词',
    preparing: '正在查找已保存的训练',
    encoding: '正在编码图片',
    trying: '正在试训一步',
    measuring: '正在测量起点',
    drawing: '正在绘制第 {step} 步的预览',
    learning: '第 {step} 步，共 {steps} 步',
    pace: '{pace} 秒/步',
    left: '最多还需 {left}',
    goingOn: '从第 {first} 步继续',
    comma: '，',
    done: '已在第 {step} 步完成，共 {steps} 步',
    cancelledStored: '已在第 {step} 步取消。再次运行会从第 {stored} 步继续。',
    cancelled: '已在第 {step} 步取消。没有保存任何状态。',
    stored: '已保存到第 {stored} 步。再次运行会从那里继续。',
    failed: '训练失败',
    nearest: '最接近的词：{words}',

    // Its curve and pictures
    curve: '验证损失减少的百分比，按步数',
    best: '最佳：第 {step} 步',
    step: '第 {step} 步',
    share: '{share} %',
    loss: '损失 {loss}',
    close: '单击或按 Esc 键关闭。',

    // Its buttons, and what they tell
    stop: '停止并保留',
    stopping: '本步之后停止',
    stopTip: '当前步之后结束训练。工作流用已经学到的结果继续执行。',
    preview: '立即预览',
    previewing: '本步之后绘制',
    previewTip: '当前步之后用这个词画图。没有连接“训练预览”时：只画这个词，以及它在雪中的样子。',
    save: '立即保存',
    saveTip: '把这个词现在的状态写入嵌入文件夹中的新文件。训练会继续。',
    keep: '保留这一步',
    keepTip: '把这个词在第 {step} 步之后的状态写入嵌入文件夹中的新文件。',
    keptAs: '已保留',
    saved: '已保存第 {step} 步。在提示词中写：',
    noAnswer: '服务器没有应答（{reason}）。',

    // What it folds away
    compare: '比较',
    compareTip: '这个词已保存的其他训练，淡淡地画在这条曲线后面。',
    noRuns: '没有保存这个词的其他训练。',
    past: '种子 {seed}，{vectors} 个向量，{method} {rate}，批次 {batch}，{steps} 步：{share} %',
    pastUnknown: '{vectors} 个向量，{steps} 步：{share} %',
    report: '报告',
    notes: '提示（{count}）',

    // A text for prompts
    copy: '复制',
    copyTip: '复制“{text}”',
    copied: '已复制',
    copyYourself: '请按 Ctrl+C',

    // Pictures and files that are dropped
    dropHere: '把图片或文件夹拖到这里。',
    addPictures: '添加图片',
    pictures: '{folder} 中有 {count} 张图片',
    onePicture: '{folder} 中有 1 张图片',
    uploading: '正在上传第 {number} 个，共 {count} 个',
    leftOut: '已略过：{names}。',
    notUploaded: '{name} 没有上传：{reason}。',
    uploadFailed: '上传失败',

    // Advanced inputs in LiteGraph
    more: '还有 {count} 个输入',
    fewer: '收起输入'
}
