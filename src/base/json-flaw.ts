type Level = { readonly keys: Set<string> | null; readonly under: string | null };

/**
 * What is wrong with a text that is known to be JSON and that its parser lets pass, or null: a key twice, a key that
 * would change a prototype, nesting deeper than `depthMax`. Two parsers that read the same bytes differently are how
 * a text means one thing to a guard and another to what it guards.
 */
export function jsonFlaw(text: string, depthMax: number): string | null {
  const levels: Level[] = [];
  let key: string | null = null;
  let awaitsKey = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === '"') {
      const end = stringEnd(text, at);
      if (awaitsKey) {
        key = keyOf(text, at, end);
        const flaw = keyFlaw(key, levels.at(-1)!);
        if (flaw !== null) return flaw;
      }
      awaitsKey = false;
      at = end;
    } else if (character === '{' || character === '[') {
      levels.push({ keys: character === '{' ? new Set() : null, under: key });
      if (levels.length > depthMax) return `is nested deeper than ${depthMax} levels`;
      awaitsKey = character === '{';
      key = null;
    } else if (character === '}' || character === ']') {
      levels.pop();
      awaitsKey = false;
    } else if (character === ',') {
      awaitsKey = levels.at(-1)?.keys !== null;
      key = null;
    }
  }
  return null;
}

function keyFlaw(key: string, level: Level): string | null {
  if (key === '__proto__' || (key === 'prototype' && level.under === 'constructor'))
    return 'holds a key that would change the prototype of an object';
  if (level.keys!.has(key)) return `holds the key ${JSON.stringify(key.slice(0, 64))} twice`;
  level.keys!.add(key);
  return null;
}

function keyOf(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end);
  return raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw;
}

/** The index of the quote that ends the string that starts at `start`. */
function stringEnd(text: string, start: number): number {
  let end = text.indexOf('"', start + 1);
  for (;;) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) return end;
    end = text.indexOf('"', end + 1);
  }
}
