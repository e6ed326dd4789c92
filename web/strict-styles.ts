/**
 * xterm.js writes `<style>` elements and `style` attributes, both of which the policy of these pages refuses. Here it
 * gets the same by ways that need no exception in the policy: a sheet that the page adopts, and the element's own style.
 * Its colours and fonts come from our options; nothing of a sandbox's output becomes a rule.
 */

let isDone = false;

/** Once, before the first terminal is opened. */
export function keepStylesStrict(): void {
  if (isDone) return;
  isDone = true;
  const create = document.createElement.bind(document);
  document.createElement = ((name: string, options?: ElementCreationOptions) =>
    name === 'style' ? adoptedStyle() : create(name, options)) as typeof document.createElement;
  const setAttribute = HTMLElement.prototype.setAttribute;
  HTMLSpanElement.prototype.setAttribute = function (name, value) {
    if (name === 'style') this.style.cssText = value;
    else setAttribute.call(this, name, value);
  };
}

/** Stands where a `<style>` would: its text becomes rules of the page until it is removed. */
function adoptedStyle(): HTMLElement {
  const sheet = new CSSStyleSheet();
  const place = document.createElement('span');
  place.hidden = true;
  Object.defineProperty(place, 'textContent', {
    set(rules: string) {
      sheet.replaceSync(rules);
      if (!document.adoptedStyleSheets.includes(sheet)) document.adoptedStyleSheets.push(sheet);
    },
  });
  place.remove = () => {
    HTMLElement.prototype.remove.call(place);
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((adopted) => adopted !== sheet);
  };
  return place;
}
