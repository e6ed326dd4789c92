/** Elements by name, attributes and children. Text is text: nothing here ever becomes markup. */

export type Child = Node | string | null;
export type Attributes = Readonly<Record<string, string | number | boolean | ((event: Event) => void)>>;

const svgNamespace = 'http://www.w3.org/2000/svg';

/** A function is a listener, true an empty attribute, false none. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  return filled(document.createElement(name), attributes, children);
}

/** The same for drawings. */
export function drawing(name: string, attributes: Attributes, ...children: readonly Child[]): SVGElement {
  return filled(document.createElementNS(svgNamespace, name), attributes, children);
}

function filled<E extends Element>(made: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(name, value);
    else if (value !== false) made.setAttribute(name, value === true ? '' : String(value));
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

let fields = 0;

export type Field = { readonly row: HTMLElement; readonly input: HTMLInputElement };

/** An input with its label, and with help that is read out with it. */
export function field(label: string, attributes: Attributes, help?: string): Field {
  fields += 1;
  const id = `field-${fields}`;
  const described: Record<string, string> = help === undefined ? {} : { 'aria-describedby': `${id}-help` };
  const input = element('input', { id, required: true, spellcheck: 'false', ...described, ...attributes });
  const row = element(
    'div',
    { class: 'field' },
    element('label', { for: id }, label),
    input,
    help === undefined ? null : element('p', { id: `${id}-help`, class: 'help' }, help),
  );
  return { row, input };
}

export function button(text: string, press: () => unknown, kind = ''): HTMLButtonElement {
  return element('button', { type: 'button', class: kind, click: () => void press() }, text);
}

/** A time as people write it here. */
export function timeText(text: string | null): string {
  if (text === null) return 'never';
  return new Date(text).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' });
}
