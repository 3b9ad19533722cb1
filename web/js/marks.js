// Five marks on a portrait, placed by clicking on the picture in the node. The numbers of the node's widgets, per cents
// of the picture, are what is saved and queued.
import { app } from "../../../scripts/app.js";
import { addShown, after, element, pictureBox, savedFile, watch, words } from "./widgets.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 250;
const DRAG = 4; // pixels that a hand may tremble in a click
const POINTS = [
  { name: "nose", colour: "#ffcf3f", words: ["nose", "鼻尖"] },
  { name: "neck", colour: "#ff7a59", words: ["pit of the throat", "颈窝"] },
  { name: "right_shoulder", colour: "#4fc3f7", words: ["right shoulder (left in the picture)", "右肩（画面左侧）"] },
  { name: "left_shoulder", colour: "#81c784", words: ["left shoulder (right in the picture)", "左肩（画面右侧）"] },
  { name: "wrist", colour: "#ce93d8", words: ["a wrist", "一只手腕"] },
];
const BONES = [["nose", "neck"], ["neck", "right_shoulder"], ["neck", "left_shoulder"]];
// Of each node: what stands before the marks' names, and the choice that turns them on.
const NODES = {
  EchoMimicMarkPortrait: { prefix: "" },
  EchoMimicFitPortrait: { prefix: "marks.", choice: "marks", chosen: "by click" },
};

/** The output that feeds an input; leads out of subgraphs. `null` where nothing is linked. */
function source(node, name) {
  let graph = node.graph;
  let input = node.inputs?.find((entry) => entry.name === name);
  for (let depth = 0; graph && input?.link != null && depth < 20; depth++) {
    const link = graph.getLink?.(input.link) ?? graph.links?.get?.(input.link);
    if (!link) return null;
    const origin = graph.getNodeById(link.origin_id);
    if (origin) return origin;
    const host = hosts(graph).next().value;
    input = host?.inputs?.[link.origin_slot];
    graph = host?.graph;
  }
  return null;
}

/** The nodes that show this subgraph. */
function* hosts(subgraph) {
  const root = subgraph.rootGraph ?? app.graph;
  for (const graph of [root, ...(root.subgraphs?.values?.() ?? [])])
    for (const node of graph.nodes ?? graph._nodes ?? []) if (node.subgraph === subgraph) yield node;
}

/** `folder/name.png [output]`, as Load Image's list has it, as a file of the server. */
function listed(value) {
  const [, path, type] = /^(.*?)(?: \[(input|output|temp)\])?$/.exec(value);
  const cut = path.lastIndexOf("/");
  return { filename: path.slice(cut + 1), subfolder: path.slice(0, Math.max(cut, 0)), type: type ?? "input" };
}

class Marks {
  constructor(node, { prefix, choice, chosen }) {
    Object.assign(this, { node, prefix, choice, chosen, next: 0, dragged: null, pressed: null, address: null, ran: null });
    // "changed": another picture was chosen, and the marks are still those of the one before; "placed": all five clicked.
    this.state = null;
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.style.cssText = "touch-action:none;cursor:crosshair;background:#111";
    this.text = element("div", { font: "13px sans-serif", padding: "3px 6px", color: "#ddd", background: "#222" });
    const box = pictureBox(this.svg);
    box.append(this.text);
    this.svg.addEventListener("pointerdown", (event) => this.press(event));
    this.svg.addEventListener("pointermove", (event) => this.drag(event));
    this.svg.addEventListener("pointerup", (event) => this.release(event));
    this.svg.addEventListener("pointercancel", () => (this.dragged = null));
    addShown(node, "echomimic_marks", box, HEIGHT);
    after(node, "onConnectionsChange", () => this.refresh());
    after(node, "onConfigure", ({ size }) => requestAnimationFrame(() => this.configured(size)));
    after(node, "onAdded", () => requestAnimationFrame(() => this.refresh()));
    after(node, "toggleAdvanced", () => {
      this.refresh();
      node.setSize([node.size[0], node.computeSize()[1]]);
    });
    after(node, "onExecuted", (output) => {
      this.ran = output?.echomimic_marked?.[0] ?? this.ran;
      this.refresh();
    });
    this.draw();
  }

  widget(name) {
    return this.node.widgets?.find((widget) => widget.name === name);
  }

  get on() {
    return !this.choice || this.widget(this.choice)?.value === this.chosen;
  }

  /** Per cents of a mark, `[x, y]`. */
  value(point) {
    return ["x", "y"].map((axis) => Number(this.widget(`${this.prefix}${point}_${axis}`)?.value ?? 0));
  }

  set(point, x, y) {
    for (const [axis, share] of [["x", x], ["y", y]]) {
      const widget = this.widget(`${this.prefix}${point}_${axis}`);
      widget.value = Math.min(150, Math.max(-50, Math.round(share * 10) / 10));
      widget.callback?.(widget.value, app.canvas, this.node);
    }
  }

  /** Turn the marks on; those of a square picture come to where its square is in this one. */
  turnOn() {
    const choice = this.widget(this.choice);
    choice.value = this.chosen;
    choice.callback?.(choice.value, app.canvas, this.node);
    this.refresh();
    // The numbers, which opened the node, are folded again.
    this.node.setSize([this.node.size[0], this.node.computeSize()[1]]);
    const side = Math.min(this.width, this.height);
    for (const { name } of POINTS) {
      const [x, y] = this.value(name);
      this.set(name, 50 + ((x - 50) * side) / this.width, (y * side) / this.height);
    }
    Object.assign(this, { next: 0, state: null });
    this.draw();
  }

  /** Look for the picture again, and draw. */
  refresh() {
    for (const { name } of POINTS)
      for (const axis of ["x", "y"]) {
        const widget = this.widget(`${this.prefix}${name}_${axis}`);
        if (!widget) continue;
        watch(widget, this, () => this.draw());
        if (this.choice) this.fold(widget);
      }
    const choice = this.choice && this.widget(this.choice);
    if (choice) watch(choice, this, () => requestAnimationFrame(() => this.refresh()));
    const origin = source(this.node, "image");
    const file = origin?.widgets?.find((widget) => widget.name === "image" && typeof widget.value === "string");
    if (file) watch(file, this, () => this.chooseFile(file));
    const found = file?.value ? listed(file.value) : this.ran;
    this.load(found && savedFile(found));
  }

  /** Another picture, chosen by a person: whose marks these are is said, and the first click is the nose again. */
  chooseFile(file) {
    if (this.address && file.value && savedFile(listed(file.value)) !== this.address)
      Object.assign(this, { state: "changed", next: 0 });
    this.refresh();
  }

  /** The choice has added its numbers, which made the node larger than it was saved. */
  configured(size) {
    this.refresh();
    if (size && this.on) this.node.setSize([size[0], Math.max(size[1], this.node.computeSize()[1])]);
  }

  /** In classic nodes too, a number is shown under Show Advanced only. (Nodes 2.0 does that by itself.) */
  fold(widget) {
    widget.advanced = true;
    widget.hidden = !LiteGraph.vueNodesMode && !this.node.showAdvanced;
  }

  load(address) {
    if (address === this.address) return this.draw();
    this.address = address;
    this.picture = null;
    this.draw();
    if (!address) return;
    const picture = new Image();
    picture.onload = () => {
      if (address !== this.address) return;
      Object.assign(this, { picture, width: picture.naturalWidth, height: picture.naturalHeight });
      this.draw();
    };
    picture.src = address;
  }

  add(tag, attributes, content) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (content) made.textContent = content;
    this.svg.append(made);
    return made;
  }

  place(point) {
    const [x, y] = this.value(point);
    return [(x * this.width) / 100, (y * this.height) / 100];
  }

  draw() {
    this.svg.replaceChildren();
    if (!this.picture) {
      this.text.textContent = words(["Link a picture (or run once) to mark it here.", "连接图片（或运行一次）后可在此标记。"]);
      return;
    }
    const { width, height } = this;
    const unit = Math.max(width, height) / 100;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.add("image", { href: this.address, width, height });
    if (this.on) {
      for (const [a, b] of BONES) {
        const [[x1, y1], [x2, y2]] = [this.place(a), this.place(b)];
        this.add("line", { x1, y1, x2, y2, stroke: "#fff", "stroke-opacity": 0.7, "stroke-width": 0.6 * unit });
      }
      for (const [number, { name, colour, words: said }] of POINTS.entries()) {
        const [cx, cy] = this.place(name);
        const stroke = number === this.next ? "#fff" : "#000";
        const mark = this.add("circle", { cx, cy, r: 2.2 * unit, fill: colour, stroke, "stroke-width": 0.6 * unit });
        mark.dataset.mark = name;
        mark.append(Object.assign(document.createElementNS(SVG, "title"), { textContent: words(said) }));
      }
    }
    this.text.textContent = this.advice();
    this.text.style.color = this.on && this.state === "changed" ? "#ffcf3f" : "#ddd";
  }

  advice() {
    if (!this.on)
      return source(this.node, "portrait")
        ? words(["Marked at the portrait input. Click to mark here instead.", "已由 portrait 输入标记。点击可改在此处标记。"])
        : words(["Click here to mark nose, neck, shoulders and wrist.", "点击此处可标记鼻尖、颈窝、双肩和手腕。"]);
    const click = `${words(["Click: ", "点击："])}${words(POINTS[this.next].words)}`;
    if (this.state === "changed") return `${words(["Another picture. ", "图片已更换。"])}${click}`;
    if (this.state === "placed") return words(["All are placed. Drag one to move it.", "标记已全部放好，可拖动调整。"]);
    return `${click}${words([", or drag a mark", "，或拖动标记"])}`;
  }

  /** Per cents of the picture under the pointer. */
  at(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.svg.getScreenCTM().inverse());
    return [(100 * x) / this.width, (100 * y) / this.height];
  }

  press(event) {
    if (!this.picture || event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    if (!this.on) return this.turnOn();
    this.svg.setPointerCapture(event.pointerId);
    const hit = event.target.dataset?.mark;
    // A mark that is pressed may be dragged; released where it was pressed, it was a click like any other.
    this.pressed = hit ? [event.clientX, event.clientY] : null;
    this.dragged = hit ?? this.placeNext(event);
  }

  /** Put the mark whose turn it is under the pointer; its name. */
  placeNext(event) {
    const { name } = POINTS[this.next];
    this.next = (this.next + 1) % POINTS.length;
    this.state = this.next ? null : "placed";
    this.set(name, ...this.at(event));
    this.draw();
    return name;
  }

  drag(event) {
    if (!this.dragged) return;
    event.stopPropagation();
    if (this.pressed && Math.hypot(event.clientX - this.pressed[0], event.clientY - this.pressed[1]) < DRAG) return;
    this.pressed = this.state = null;
    this.set(this.dragged, ...this.at(event));
    this.draw();
  }

  release(event) {
    if (this.dragged && this.pressed) this.placeNext(event);
    this.dragged = null;
  }
}

app.registerExtension({
  name: "EchoMimic.Marks",
  nodeCreated(node) {
    const found = NODES[node.comfyClass];
    if (found) new Marks(node, found);
  },
});
