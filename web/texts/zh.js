// What the page says of this pack in Chinese.

export default {
    // The monitor's lines
    idle: '训练时，这里显示这个词学得如何。',
    explains: '{word}：验证损失比 {start} 低 {share} %',
    explainsLess: '{word}：验证损失比 {start} 高 {share} %',
    loaded: '加载的词',
    explainsTip: '损失大多是任何词都无法预测的噪声，所以 5 到 30 % 已经很多。请看预览：主体正确，且提示词的其余部分仍然有效，就可以了。',
    preparing: '正在查找已保存的训练',
    encoding: '正在编码图片',
    trying: '正在试运行一步',
    measuring: '正在测量初始词的验证损失',
    drawing: '正在生成第 {step} 步的预览',
    learning: '第 {step} 步，共 {steps} 步',
    pace: '{pace} 秒/步',
    left: '最多还需 {left}',
    goingOn: '从第 {first} 步继续',
    comma: '，',
    done: '已在第 {step} 步完成，共 {steps} 步',
    cancelledStored: '已在第 {step} 步取消。再次运行会从第 {stored} 步继续。',
    cancelled: '已在第 {step} 步取消。没有保存任何状态。',
    brokenStored: '训练在第 {step} 步中断。再次运行会从第 {stored} 步继续。',
    broken: '训练在第 {step} 步中断。没有保存任何状态。',
    away: '服务器没有应答。最近一次更新：第 {step} 步，共 {steps} 步。',
    stored: '已保存到第 {stored} 步。再次运行会从那里继续。',
    failed: '训练失败',
    nearest: '最接近的词：{words}',

    // Its curve and images
    curve: '验证损失减少的百分比，按步数',
    best: '最佳：第 {step} 步',
    step: '第 {step} 步',
    share: '{share} %',
    loss: '损失 {loss}',
    close: '单击或按 Esc 键关闭。',

    // Its buttons and their tooltips
    stop: '停止并保留',
    stopping: '本步之后停止',
    stopTip: '当前步之后停止训练。工作流用目前学到的词继续执行。',
    preview: '立即预览',
    previewing: '等待预览',
    previewTip: '当前步之后生成一张预览。没有连接“训练预览”时：单独生成这个词，以及它在雪中的样子。',
    save: '立即保存',
    saveTip: '把当前的词保存到嵌入文件夹中的新文件。训练会继续。',
    keep: '保留这一步',
    keepTip: '把第 {step} 步时的词保存到嵌入文件夹中的新文件。',
    keptAs: '已保存',
    saved: '已保存第 {step} 步。在提示词中写：',
    noAnswer: '服务器没有应答（{reason}）。',

    // Its folded parts
    compare: '比较',
    compareTip: '在这条曲线后面显示这个词已保存的其他训练。',
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

    // Images and files that are dropped
    dropHere: '把图片或文件夹拖到这里。',
    addImages: '添加图片',
    images: '{folder} 中有 {count} 张图片',
    oneImage: '{folder} 中有 1 张图片',
    subFolders: '子文件夹：{names}。',
    uploading: '正在上传第 {number} 个，共 {count} 个',
    leftOut: '已略过：{names}。',
    notUploaded: '{name} 没有上传：{reason}。',
    storedAs: '由于名称已被占用，{name} 已存为 {stored}，因此不对应任何图片。',
    uploadFailed: '上传失败',

    // Advanced inputs in LiteGraph
    more: '还有 {count} 个输入',
    fewer: '收起输入'
}
