import { escapeText } from './escape.ts';

const colours: readonly [start: RegExp, code: string][] = [
  [
    /^(?:diff --git |index |new file|deleted file|old mode|new mode|rename |copy |similarity |--- |\+\+\+ )/,
    '1',
  ],
  [/^@@ /, '36'],
  [/^\+/, '32'],
  [/^-/, '31'],
];

/** A patch as text that cannot drive the terminal it is shown on: control characters are escaped. */
export async function* colourPatch(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  colour: boolean,
): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (lines.length > 0) yield lines.map((line) => `${shown(line, colour)}\n`).join('');
  }
  rest += decoder.decode();
  if (rest !== '') yield shown(rest, colour);
}

function shown(line: string, colour: boolean): string {
  const text = escapeText(line);
  const code = colour ? colours.find(([start]) => start.test(line))?.[1] : undefined;
  return code === undefined ? text : `\x1b[${code}m${text}\x1b[m`;
}
