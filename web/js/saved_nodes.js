// Nodes that were saved before a list of today had its widget: their values are put where they belong as they load.
import { app } from "../../../scripts/app.js";

// The widgets that EchoMimicPreviewPose began with, in their order; today they belong to the choice "frames" of `view`.
const FRAMES_WIDGETS = ["width", "height", "every", "opacity"];

/** A saved EchoMimicPreviewPose with `view`; one that has it already stays as it is. */
export function withView(saved) {
  const values = saved.widgets_values;
  if (!Array.isArray(values) || typeof values[0] !== "number") return saved;
  const renamed = ({ name, widget, ...rest }) =>
    widget && FRAMES_WIDGETS.includes(name)
      ? { ...rest, name: `view.${name}`, widget: { ...widget, name: `view.${name}` } }
      : { ...rest, name, ...(widget && { widget }) };
  return { ...saved, widgets_values: ["frames", ...values], inputs: saved.inputs?.map(renamed) };
}

app.registerExtension({
  name: "EchoMimic.SavedNodes",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== "EchoMimicPreviewPose") return;
    const configure = nodeType.prototype.configure;
    nodeType.prototype.configure = function (saved) {
      return configure.call(this, withView(saved));
    };
  },
});
