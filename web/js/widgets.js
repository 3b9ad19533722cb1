// What the widgets of this pack share: elements, words in the person's language, files of the server, and
// callbacks for changes.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

export const element = (tag, style = {}, content = {}) => {
  const made = document.createElement(tag);
  Object.assign(made.style, style);
  return Object.assign(made, content);
};

/** `[English, Chinese]` -> the one of the frontend's language. */
export const words = ([english, chinese]) =>
  String(app.extensionManager?.setting?.get("Comfy.Locale") ?? "en").startsWith("zh") ? chinese : english;

/** The address of a file that a node has saved, `{filename, subfolder, type}`. */
export const savedFile = ({ filename, subfolder = "", type = "input" }) =>
  api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);

/** Call `changed` when a person or a file changes the widget's value; more than once does no harm. */
export const watch = (widget, key, changed) => {
  widget.echomimicWatchers ??= new Map();
  if (!widget.echomimicWatchers.size) {
    const callback = widget.callback;
    widget.callback = function (...values) {
      const result = callback?.apply(this, values);
      for (const notify of widget.echomimicWatchers.values()) notify();
      return result;
    };
  }
  widget.echomimicWatchers.set(key, changed);
};

/** Run `then` after a method of the node, keeping what others have put there. */
export const after = (node, method, then) => {
  const before = node[method];
  node[method] = function (...values) {
    const result = before?.apply(this, values);
    then.apply(this, values);
    return result;
  };
};

/** A box that a picture fills, however large that is; what else is put into it comes below. */
export const pictureBox = (picture) => {
  const frame = element("div", { position: "relative", flex: "1", minHeight: "0" });
  Object.assign(picture.style, { position: "absolute", inset: "0", width: "100%", height: "100%" });
  frame.append(picture);
  const box = element("div", { display: "flex", flexDirection: "column", width: "100%", overflow: "hidden" });
  box.append(frame);
  return box;
};

/** Classic nodes keep a margin around an element, Nodes 2.0 would let it grow. */
export const limitHeight = (made, height, most = Infinity) => {
  made.style.minHeight = `${height - 20}px`;
  if (most < Infinity) made.style.maxHeight = `${most}px`;
};

/** A widget that only shows: nothing of it is saved or queued. */
export const addShown = (node, name, made, height) => {
  limitHeight(made, height);
  const widget = node.addDOMWidget(name, "echomimic_shown", made, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => height,
    getValue: () => "",
  });
  widget.serialize = false;
  return widget;
};
