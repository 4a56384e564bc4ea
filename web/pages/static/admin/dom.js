/**
 * Makes elements. What comes from outside is only ever text: there is no way from here to markup.
 * @module
 */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element.
 * @param {string} name a tag, with classes after dots: `p.hint`
 * @param {Record<string, any>} [members] attributes; functions are listeners; `true` is an empty attribute; null and
 *   false are left out
 * @param {...(Node|string|number|bigint|null|false|undefined|any[])} children text, elements, or nothing
 * @returns {HTMLElement}
 */
export function el(name, members = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  return fill(element, members, children);
}

/**
 * An element of a drawing.
 * @param {string} tag
 * @param {Record<string, string|number>} [members]
 * @param {...Node} children
 * @returns {SVGElement}
 */
export function svg(tag, members = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), members, children);
}

function fill(element, members, children) {
  for (const [name, value] of Object.entries(members)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false).map(textOrNode));
  return element;
}

function textOrNode(child) {
  return child instanceof Node ? child : String(child);
}
