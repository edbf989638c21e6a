// The page is changed through its elements, never through markup in strings:
// what a visitor has typed stays text.

export const at = (id) => document.getElementById(id);

// make returns an element with properties, attributes (names with a dash, role
// and for) and listeners (on…), and with children, of which null is left out.
export function make(tag, props = {}, ...children) {
  return dress(document.createElement(tag), props, children);
}

const svgSpace = "http://www.w3.org/2000/svg";

// draw is make for SVG, where all is an attribute.
export function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(svgSpace, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((c) => c !== null));
  return element;
}

function dress(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for" || name === "list") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((c) => c !== null));
  return element;
}

// text sets a text when it differs, so that live regions stay quiet.
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

// arrange makes children the children of parent with as few moves as possible.
// What is moved in the document loses the focus, so that is given back.
export function arrange(parent, children) {
  const focused = document.activeElement;
  for (const old of [...parent.children]) if (!children.includes(old)) old.remove();
  children.forEach((child, i) => {
    if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] ?? null);
  });
  if (parent.contains(focused) && focused !== document.activeElement) focused.focus();
}

export const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
