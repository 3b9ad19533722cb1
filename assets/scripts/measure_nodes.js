// How tall the frontend draws each node type: paste this into the browser's console at a running ComfyUI, then
//   copy(JSON.stringify(await measureNodes(LIST), null, 1))
// with LIST from `python assets/scripts/measure_nodes.py`; once with classic nodes and once with Nodes 2.0 on. It empties
// the open graph. Each height: advanced inputs shut, open, and shut once the node has shown the result of a run.
window.measureNodes = async (list) => {
  const graph = app.graph;
  const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  const heights = {};
  graph.clear();
  const drawn = (node) => {
    if (!LiteGraph.vueNodesMode) return node.size[1];
    const box = document.querySelector(`[data-node-id="${node.id}"]`).getBoundingClientRect();
    return box.height / app.canvas.ds.scale - LiteGraph.NODE_TITLE_HEIGHT;
  };
  for (const { key, type, choices, width, result, preview } of list) {
    const node = LiteGraph.createNode(type);
    node.pos = [0, 0];
    graph.add(node);
    for (const [name, value] of Object.entries(choices)) {
      const widget = node.widgets.find((other) => other.name === name);
      widget.value = value;
      widget.callback?.(value, app.canvas, node);
    }
    app.canvas.ds.reset();
    app.canvas.ds.offset = [300, 200];
    app.canvas.setDirty(true, true);
    await wait(250);
    node.setSize([width, node.computeSize()[1]]);
    await wait(250);
    const shut = drawn(node);
    node.showAdvanced = true;
    if (!LiteGraph.vueNodesMode) node.setSize([width, node.computeSize()[1]]);
    await wait(250);
    const opened = drawn(node);
    node.showAdvanced = false;
    node.setSize([width, node.computeSize()[1]]);
    // How tall a classic node shows a video follows from the video's shape; Nodes 2.0 gives all videos one height.
    const shown = result && (LiteGraph.vueNodesMode || !result.animated);
    if (shown) {
      const told = { node: `${node.id}`, display_node: `${node.id}`, prompt_id: "measured", output: result };
      app.api.dispatchCustomEvent("executed", told);
    }
    if (preview) {
      const blob = await (await app.api.fetchApi(`/view?${new URLSearchParams(preview)}`)).blob();
      const place = { nodeId: `${node.id}`, displayNodeId: `${node.id}`, parentNodeId: `${node.id}` };
      app.api.dispatchCustomEvent("b_preview_with_metadata", { blob, promptId: "measured", ...place });
    }
    if (shown || preview) {
      app.canvas.setDirty(true, true);
      await wait(1500);
    }
    heights[key] = [shut, opened, shown || preview ? drawn(node) : shut].map(Math.ceil);
    // Not `clear`: what the frontend remembers of a node it remembers by the number, which would be given again.
    graph.remove(node);
  }
  return heights;
};
