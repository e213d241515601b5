// Making and finding elements. No markup is ever built from text, and no style attribute is written: the page's policy
// allows neither.

const SVG = 'http://www.w3.org/2000/svg';

/** The element of an id that the page is known to have. */
export function find(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** An element with properties, attributes (names with a dash, and `role`) and children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role') element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

/** An SVG element with attributes. */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An icon of the sheet in the page. */
export function icon(name) {
  return s('svg', { class: 'icon', 'aria-hidden': 'true' }, s('use', { href: `#i-${name}` }));
}

/** Sets the text of an element only where it differs, so that screen readers are not told again. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

/** Sets an attribute only where it differs. */
export function attribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Whether a control can be used: not while `reason`, which becomes its title, says why not, and not while it has no use. */
export function allow(control, reason, isOfUse = true) {
  control.dataset.title ??= control.title;
  attribute(control, 'title', reason || control.dataset.title);
  control.disabled = reason !== '' || !isOfUse;
}

let toastTimer = 0;

/** Says something in passing at the edge of the page. */
export function toast(message) {
  const element = find('toast');
  text(element, message);
  element.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    element.hidden = true;
  }, 6000);
}
