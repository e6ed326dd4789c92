/** The columns, and where in an event each is found. */
const columns: readonly (readonly [name: string, ...path: string[]])[] = [
  ['at', 'at'],
  ['stream', 'stream'],
  ['seq', 'seq'],
  ['id', 'id'],
  ['action', 'action'],
  ['phase', 'phase'],
  ['outcome', 'outcome'],
  ['of', 'of'],
  ['actor', 'actor', 'id'],
  ['actor_kind', 'actor', 'kind'],
  ['on_behalf_of', 'actor', 'onBehalfOf'],
  ['token', 'actor', 'token'],
  ['resource_kind', 'resource', 'kind'],
  ['resource', 'resource', 'id'],
  ['session', 'resource', 'session'],
  ['allow', 'decision', 'allow'],
  ['rule', 'decision', 'rule'],
  ['request', 'request', 'id'],
  ['address', 'request', 'address'],
  ['user_agent', 'request', 'userAgent'],
  ['data', 'data'],
];

export const csvHeader = `${columns.map(([name]) => `"${name}"`).join(',')}\r\n`;

/** One event as a row (RFC 4180). Its strings may be hostile to whatever opens the file. */
export function csvRow(line: Buffer): string {
  const event: unknown = JSON.parse(line.toString());
  return `${columns.map(([, ...path]) => csvField(textAt(event, path))).join(',')}\r\n`;
}

function textAt(event: unknown, path: readonly string[]): string {
  let at = event;
  for (const name of path)
    at = typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[name] : undefined;
  if (at === undefined || at === null) return '';
  return typeof at === 'object' ? JSON.stringify(at) : String(at);
}

/** Controls, and what turns the direction of text around or is not seen. */
const unseen = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
/** What spreadsheets take for the beginning of a formula, in its wide forms too, also behind spaces. */
const formula = /^\s*[=+\-@＝＋－＠]/u;

function csvField(text: string): string {
  const shown = text.replace(unseen, (character) =>
    Array.from({ length: character.length }, (_, at) => escapeOf(character.charCodeAt(at))).join(''),
  );
  const plain = formula.test(shown) ? `'${shown}` : shown;
  return `"${plain.replaceAll('"', '""')}"`;
}

function escapeOf(code: number): string {
  return `\\u${code.toString(16).padStart(4, '0')}`;
}
