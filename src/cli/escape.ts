/**
 * What may not reach a terminal as it is: C0 but for what the caller keeps, DEL, C1, and the marks that
 * reorder or hide text (bidirectional controls, zero-width characters, line and paragraph separators).
 */
const dangerous =
  /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\p{Cs}/gu;

function visible(character: string): string {
  const code = character.codePointAt(0)!;
  if (character === '\n') return '\\n';
  if (character === '\t') return '\\t';
  if (character === '\r') return '\\r';
  if (code === 0x1b) return '\\e';
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

/** One line of text that cannot drive a terminal: every control and reordering character is shown as an escape. */
export function escapeLine(text: string): string {
  return text.replace(dangerous, visible);
}

/** As `escapeLine`, but line feeds and tabs stay. */
export function escapeText(text: string): string {
  return text.replace(dangerous, (character) =>
    character === '\n' || character === '\t' ? character : visible(character),
  );
}

/** A file name of any bytes as one safe line; bytes that are not UTF-8 are shown as `\xNN`. */
export function escapeBytes(name: Buffer): string {
  const text = name.toString('utf8');
  if (Buffer.from(text, 'utf8').equals(name)) return escapeLine(text);
  let shown = '';
  for (const byte of name) {
    shown +=
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return shown;
}
