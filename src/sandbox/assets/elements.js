// Elements and icons without a framework. Text is always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  back: "M15 5l-7 7 7 7",
  browser: "M4 5h16v11H4zM9 20h6M12 16v4",
  camera: "M4 8V5a1 1 0 011-1h3M16 4h3a1 1 0 011 1v3M20 16v3a1 1 0 01-1 1h-3M8 20H5a1 1 0 01-1-1v-3M7 12h10",
  check: "M5 13l4.5 4.5L19 7.5",
  clock: "M12 7v5l3.5 2M12 3a9 9 0 110 18 9 9 0 010-18z",
  cross: "M6 6l12 12M18 6L6 18",
  phone: "M8 3h8a1 1 0 011 1v16a1 1 0 01-1 1H8a1 1 0 01-1-1V4a1 1 0 011-1zM11 18h2",
  place: "M12 21s7-6.2 7-11a7 7 0 10-14 0c0 4.8 7 11 7 11zM12 12.5a2.5 2.5 0 100-5 2.500 2.500 0 000 5z",
  shield: "M12 3l7.500 3v5.500c0 4.500-3 8-7.500 9.500-4.500-1.500-7.500-5-7.500-9.500V6zM12 8.500v4M12 15.800v.1",
  warning: "M12 4l9.500 16h-19zM12 10v4.500M12 17.200v.1",
};

/// Makes an element: `make("button.primary", { onclick }, "text", child)`.
export function make(what, ...rest) {
  const [name, ...classes] = what.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const part of rest.flat(Infinity)) {
    if (part === null || part === undefined || part === false) continue;
    if (typeof part === "string" || typeof part === "number") element.append(String(part));
    else if (part instanceof Node) element.append(part);
    else apply(element, part);
  }
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/// A round picture with the first letter of a name, in one of a few colours.
export function avatar(name, hue) {
  return make(`span.avatar.hue${hue}`, { "aria-hidden": "true" }, [...name][0] ?? "?");
}

function apply(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
}
