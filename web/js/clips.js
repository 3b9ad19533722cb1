// Gesture clips as moving pictures: the chosen one in Load Pose, all of them to choose from in Generate Gestures, and
// there the gestures that were made.
import { app } from "../../../scripts/app.js";
import { addShown, after, element, limitHeight, pictureBox, savedFile, watch, words } from "./widgets.js";

const SIDE = 160;
const CHOICES_HEIGHT = 176;

/** The moving picture of a clip that ships: their names are bare. */
const shipped = (clip) => (clip?.includes?.("/") ? null : new URL(`../clips/${clip}.webp`, import.meta.url).href);

function showClip(node) {
  const picture = element("img", { objectFit: "contain", background: "#000" });
  const text = element("div", { font: "11px sans-serif", color: "#bbb", padding: "4px", textAlign: "center" });
  const box = pictureBox(picture);
  box.append(text);
  addShown(node, "echomimic_clip", box, SIDE);
  const clip = node.widgets.find((widget) => widget.name === "clip");
  let ran = {};
  const draw = () => {
    const address = shipped(clip.value) ?? ran[clip.value];
    picture.style.display = address ? "" : "none";
    text.style.display = address ? "none" : "";
    text.textContent = words(["Run once to see this clip.", "运行一次即可看到此片段。"]);
    if (address && picture.src !== address) picture.src = address;
  };
  picture.onerror = () => (picture.style.display = "none");
  watch(clip, node, draw);
  after(node, "onConfigure", draw);
  after(node, "onExecuted", (output) => {
    if (output?.echomimic_poses) ran[clip.value] = savedFile(output.echomimic_poses[0]);
    draw();
  });
  draw();
}

function showMade(node) {
  const picture = element("img", { objectFit: "contain", background: "#000" });
  let shown = null;
  after(node, "onExecuted", (output) => {
    if (!output?.echomimic_poses) return;
    shown ??= addShown(node, "echomimic_made", pictureBox(picture), SIDE);
    picture.src = savedFile(output.echomimic_poses[0]);
    node.setSize?.([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
    app.canvas.setDirty(true, true);
  });
}

/** The widget that chooses any number of clips; its value is the list of their names, as ComfyUI's own list has it. */
function chooseClips(node, name, [, options = {}]) {
  let chosen = [];
  const grid = element("div", {
    display: "grid",
    gridTemplateColumns: "repeat(auto-fill, minmax(62px, 1fr))",
    gap: "4px",
    overflowY: "auto",
    flex: "1",
    minHeight: "0",
  });
  const text = element("div", { font: "11px sans-serif", color: "#bbb", padding: "2px 0" });
  const box = element("div", { display: "flex", flexDirection: "column", width: "100%", overflow: "hidden" });
  limitHeight(box, CHOICES_HEIGHT, CHOICES_HEIGHT);
  box.append(text, grid);
  // A wheel over the list scrolls it; elsewhere it zooms the canvas.
  grid.addEventListener("wheel", (event) => event.stopPropagation(), { passive: true });
  const tile = (clip) => {
    const made = element("button", {}, { type: "button", title: clip });
    made.dataset.clip = clip;
    made.style.cssText = "padding:0;border:2px solid transparent;border-radius:4px;background:#000;color:#ddd;cursor:pointer";
    const address = shipped(clip);
    if (address) {
      const picture = element("img", { width: "100%", display: "block" }, { src: address, loading: "lazy", alt: "" });
      picture.onerror = () => picture.remove();
      made.append(picture);
    }
    const label = clip.replace(/^.*\//, "").replace(/\.\w+$/, "").replaceAll("_", " ");
    made.append(element("div", { font: "9px sans-serif", overflowWrap: "anywhere" }, { textContent: label }));
    made.addEventListener("click", () => {
      widget.value = chosen.includes(clip) ? chosen.filter((other) => other !== clip) : [...chosen, clip];
      app.canvas.setDirty(true, true);
    });
    return made;
  };
  const draw = () => {
    for (const made of grid.children)
      made.style.borderColor = chosen.includes(made.dataset.clip) ? "#ffcf3f" : "transparent";
    text.textContent = chosen.length
      ? `${words(["Clips: ", "片段："])}${chosen.length}`
      : words(["Clips: all everyday ones (click to choose)", "片段：全部日常片段（点击选择）"]);
  };
  const widget = node.addDOMWidget(name, "echomimic_clips", box, {
    hideOnZoom: false,
    getMinHeight: () => CHOICES_HEIGHT,
    getValue: () => chosen,
    setValue: (value) => {
      const given = value?.__value__ ?? value; // how an exported prompt wraps a list
      chosen = Array.isArray(given) ? [...given] : [];
      // A clip that a saved graph names may not be on this machine: it can be seen, and unchosen.
      const listed = new Set([...grid.children].map((made) => made.dataset.clip));
      grid.append(...chosen.filter((clip) => !listed.has(clip)).map(tile));
      draw();
    },
  });
  const list = (clips) => {
    grid.replaceChildren(...clips.map(tile));
    widget.value = chosen; // those that are no longer listed stay to be seen
  };
  list(options.options ?? []);
  // R in the frontend: it knows how to renew its own lists only.
  after(node, "refreshComboInNode", (definitions) => {
    const found = definitions?.[node.type]?.input?.required?.[name]?.[1]?.options;
    if (found) list(found);
  });
  return { widget };
}

app.registerExtension({
  name: "EchoMimic.Clips",
  getCustomWidgets: () => ({ ECHOMIMIC_CLIP_CHOICE: chooseClips }),
  nodeCreated(node) {
    if (node.comfyClass === "EchoMimicLoadPose") showClip(node);
    if (node.comfyClass === "EchoMimicGenerateGestures") showMade(node);
  },
});
