/** A value as YAML 1.2: block collections, every string that is not plainly a word in JSON's double quotes. */
export function toYaml(value: unknown): string {
  return `${emit(value, 0).trimStart()}\n`;
}

const plain = /^[A-Za-z][A-Za-z0-9_./@-]*(?: [A-Za-z][A-Za-z0-9_./@-]*)*$/;
const reserved = /^(?:true|false|yes|no|on|off|null|y|n)$/i;

function scalar(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value) ?? 'null';
  if (plain.test(value) && !reserved.test(value)) return value;
  return JSON.stringify(value).replace(
    /[\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function emit(value: unknown, depth: number): string {
  const indent = '  '.repeat(depth);
  if (Array.isArray(value)) {
    if (value.length === 0) return ' []';
    return value.map((item) => `\n${indent}-${inItem(emit(item, depth + 1))}`).join('');
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined);
    if (entries.length === 0) return ' {}';
    return entries.map(([key, member]) => `\n${indent}${scalar(key)}:${emit(member, depth + 1)}`).join('');
  }
  return ` ${scalar(value)}`;
}

/** A collection that is an item starts on the line of its dash. */
function inItem(block: string): string {
  return block.startsWith('\n') ? ` ${block.trimStart()}` : block;
}
