/**
 * What a patch of `git diff --binary` touches, read strictly: a line that the grammar does not know refuses the
 * whole patch, so that nothing git would read differently gets past. Paths are raw bytes as `latin1` text, one
 * character a byte.
 */
export type FileChange = {
  readonly kind: 'create' | 'delete' | 'modify' | 'rename' | 'copy';
  /** Where the content comes from; equal to `path` except for a rename or a copy. */
  readonly from: string;
  readonly path: string;
  /** Octal modes as text (`100644`); null where the file is absent or the patch does not say. */
  readonly oldMode: string | null;
  readonly newMode: string | null;
  readonly binary: boolean;
  readonly added: number;
  readonly removed: number;
};

export class PatchRefused extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'PatchRefused';
  }
}

type Draft = {
  headerNames: string;
  from: string | null;
  to: string | null;
  oldPath: string | null | undefined;
  newPath: string | null | undefined;
  oldMode: string | null;
  newMode: string | null;
  kind: FileChange['kind'];
  binary: boolean;
  added: number;
  removed: number;
};

/** Lines of a buffer, without their line feeds; `last` lines may lack one. Never copies the whole. */
class Lines {
  readonly #bytes: Buffer;
  #next = 0;
  #line: string | null = null;
  number = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.advance();
  }

  get line(): string | null {
    return this.#line;
  }

  advance(): void {
    if (this.#next >= this.#bytes.length) {
      this.#line = null;
      return;
    }
    const end = this.#bytes.indexOf(0x0a, this.#next);
    if (end < 0) throw new PatchRefused('The patch is cut off: its last line does not end.');
    this.#line = this.#bytes.toString('latin1', this.#next, end);
    this.#next = end + 1;
    this.number += 1;
  }

  refuse(why: string): PatchRefused {
    return new PatchRefused(`The patch cannot be read (line ${this.number}): ${why}.`);
  }
}

/** The changes of a patch, in its order. Throws PatchRefused. An empty patch has none. */
export function parsePatch(patch: Buffer, filesMax: number): FileChange[] {
  const lines = new Lines(patch);
  const changes: FileChange[] = [];
  while (lines.line !== null) {
    if (changes.length >= filesMax) throw new PatchRefused(`The patch touches more than ${filesMax} files.`);
    changes.push(parseFile(lines));
  }
  return changes;
}

function parseFile(lines: Lines): FileChange {
  const header = lines.line!;
  if (!header.startsWith('diff --git ')) throw lines.refuse('a file does not start with "diff --git"');
  const draft: Draft = {
    headerNames: header.slice('diff --git '.length),
    from: null,
    to: null,
    oldPath: undefined,
    newPath: undefined,
    oldMode: null,
    newMode: null,
    kind: 'modify',
    binary: false,
    added: 0,
    removed: 0,
  };
  lines.advance();
  parseExtended(lines, draft);
  if (lines.line === 'GIT binary patch') parseBinary(lines, draft);
  else if (lines.line?.startsWith('--- ')) parseText(lines, draft);
  else if (lines.line?.startsWith('Binary files ')) throw lines.refuse('a binary change lacks its content');
  return finish(lines, draft);
}

const mode = '(100644|100755|120000|160000)';
const extended: readonly [RegExp, (draft: Draft, value: string) => void][] = [
  [new RegExp(`^old mode ${mode}$`), (draft, value) => (draft.oldMode = value)],
  [new RegExp(`^new mode ${mode}$`), (draft, value) => (draft.newMode = value)],
  [
    new RegExp(`^deleted file mode ${mode}$`),
    (draft, value) => Object.assign(draft, { kind: 'delete', oldMode: value }),
  ],
  [
    new RegExp(`^new file mode ${mode}$`),
    (draft, value) => Object.assign(draft, { kind: 'create', newMode: value }),
  ],
  [/^rename from (.+)$/s, (draft, value) => Object.assign(draft, { kind: 'rename', from: unquote(value) })],
  [/^rename to (.+)$/s, (draft, value) => (draft.to = unquote(value))],
  [/^copy from (.+)$/s, (draft, value) => Object.assign(draft, { kind: 'copy', from: unquote(value) })],
  [/^copy to (.+)$/s, (draft, value) => (draft.to = unquote(value))],
  [/^(?:dis)?similarity index (\d{1,3})%$/, () => {}],
  [new RegExp(`^index [0-9a-f]{4,64}\\.\\.[0-9a-f]{4,64}(?: ${mode})?$`), indexLine],
];

function indexLine(draft: Draft, value: string | undefined): void {
  if (value === undefined) return;
  draft.oldMode ??= value;
  draft.newMode ??= value;
}

function parseExtended(lines: Lines, draft: Draft): void {
  for (;;) {
    const { line } = lines;
    if (line === null || /^(?:diff --git |--- |GIT binary patch$|Binary files )/.test(line)) return;
    const known = extended.find(([pattern]) => pattern.test(line));
    if (known === undefined) throw lines.refuse('an unknown header');
    const before = draft.kind;
    known[1](draft, known[0].exec(line)![1]!);
    if (before !== 'modify' && draft.kind !== before)
      throw lines.refuse('headers that contradict each other');
    lines.advance();
  }
}

function parseText(lines: Lines, draft: Draft): void {
  draft.oldPath = sidePath(lines, '--- ', 'a/');
  lines.advance();
  if (!lines.line?.startsWith('+++ ')) throw lines.refuse('"---" without "+++"');
  draft.newPath = sidePath(lines, '+++ ', 'b/');
  lines.advance();
  if (!lines.line?.startsWith('@@ ')) throw lines.refuse('a text change without a hunk');
  while (lines.line?.startsWith('@@ ')) parseHunk(lines, draft);
}

/** The path of a `---` or `+++` line; null for /dev/null. git adds a tab behind names with blanks. */
function sidePath(lines: Lines, sign: string, prefix: string): string | null {
  const text = lines.line!.slice(sign.length).replace(/\t$/, '');
  if (text === '/dev/null') return null;
  const name = unquote(text);
  if (!name.startsWith(prefix)) throw lines.refuse(`a path without "${prefix}"`);
  return name.slice(prefix.length);
}

function parseHunk(lines: Lines, draft: Draft): void {
  const match = /^@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@/.exec(lines.line!);
  if (match === null) throw lines.refuse('a hunk header');
  let before = Number(match[1] ?? 1);
  let after = Number(match[2] ?? 1);
  lines.advance();
  while (before > 0 || after > 0) {
    const sign = lines.line?.[0];
    if (sign === ' ') {
      before -= 1;
      after -= 1;
    } else if (sign === '-') {
      before -= 1;
      draft.removed += 1;
    } else if (sign === '+') {
      after -= 1;
      draft.added += 1;
    } else if (sign !== '\\') throw lines.refuse('a hunk that is shorter than it says');
    if (before < 0 || after < 0) throw lines.refuse('a hunk that is longer than it says');
    lines.advance();
  }
  if (lines.line?.startsWith('\\')) lines.advance();
}

function parseBinary(lines: Lines, draft: Draft): void {
  draft.binary = true;
  lines.advance();
  for (let part = 0; part < 2 && /^(?:literal|delta) \d{1,15}$/.test(lines.line ?? ''); part += 1) {
    lines.advance();
    while (/^[A-Za-z][0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]{5,}$/.test(lines.line ?? '')) lines.advance();
    if (lines.line !== '') throw lines.refuse('a binary change that does not end');
    lines.advance();
  }
}

function finish(lines: Lines, draft: Draft): FileChange {
  const [from, path] = pathsOf(lines, draft);
  const { kind } = draft;
  if (draft.oldPath !== undefined && draft.oldPath !== (kind === 'create' ? null : from)) {
    throw lines.refuse('"---" names another file than the header');
  }
  if (draft.newPath !== undefined && draft.newPath !== (kind === 'delete' ? null : path)) {
    throw lines.refuse('"+++" names another file than the header');
  }
  return {
    kind,
    from,
    path,
    oldMode: kind === 'create' ? null : draft.oldMode,
    newMode: kind === 'delete' ? null : (draft.newMode ?? draft.oldMode),
    binary: draft.binary,
    added: draft.added,
    removed: draft.removed,
  };
}

function pathsOf(lines: Lines, draft: Draft): [from: string, path: string] {
  if (draft.kind === 'rename' || draft.kind === 'copy') {
    if (draft.from === null || draft.to === null) throw lines.refuse('a rename without both names');
    return [draft.from, draft.to];
  }
  if (draft.from !== null || draft.to !== null) throw lines.refuse('half of a rename');
  const name = sharedName(draft.headerNames);
  if (name === null) throw lines.refuse('the header names two different files');
  return [name, name];
}

/** NAME of `a/NAME b/NAME`, quoted or not; null when the two differ. */
function sharedName(names: string): string | null {
  const half = (names.length - 1) / 2;
  if (!Number.isInteger(half) || names[half] !== ' ') return null;
  const left = unquote(names.slice(0, half));
  const right = unquote(names.slice(half + 1));
  if (!left.startsWith('a/') || !right.startsWith('b/')) return null;
  return left.slice(2) === right.slice(2) ? left.slice(2) : null;
}

const escapes: Record<string, string> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
  '"': '"',
};

/** A name as git quotes it (C style, octal bytes), or as it stands when it has no quotes. */
export function unquote(text: string): string {
  if (!text.startsWith('"')) return text;
  const body = /^"((?:[^"\\]|\\(?:[abfnrtv\\"]|[0-3][0-7]{2}))*)"$/s.exec(text)?.[1];
  if (body === undefined) throw new PatchRefused('The patch cannot be read: a file name is quoted wrongly.');
  return body.replace(/\\([0-3][0-7]{2}|.)/gs, (_, code: string) =>
    code.length === 3 ? String.fromCharCode(Number.parseInt(code, 8)) : escapes[code]!,
  );
}
