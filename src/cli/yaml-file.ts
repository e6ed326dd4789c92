import { open } from 'node:fs/promises';
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { CliFailure } from './failure.ts';
import { cliLimits } from './limits.ts';

/** What is wrong with a file and where, from 1; `path` is such as `rules[2].ports`. */
export type FileProblem = {
  readonly path: string;
  readonly message: string;
  readonly line: number;
  readonly column: number;
};

type Problem = { readonly path: string; readonly message: string };

/** The value of a text of YAML 1.2, which JSON is too; `locate` says where the members of problems stand. */
export type YamlText =
  | {
      readonly value: unknown;
      readonly locate: (problems: readonly Problem[]) => { problems: readonly FileProblem[] };
    }
  | { readonly problems: readonly FileProblem[] };

/** Throws CliFailure where the file cannot be read. `what` it is meant to be is for the message. */
export async function readYamlText(path: string, what: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const bytes = Buffer.alloc(cliLimits.policyBytesMax + 1);
    let size = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, size, bytes.length - size);
      size += bytesRead;
      if (size > cliLimits.policyBytesMax) throw new CliFailure(`The file ${path} is too large for ${what}.`);
      if (bytesRead === 0) break;
    }
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, size));
  } catch (error) {
    if (error instanceof CliFailure) throw error;
    if (error instanceof TypeError) throw new CliFailure(`The file ${path} is not UTF-8 text.`);
    const { code } = error as NodeJS.ErrnoException;
    throw new CliFailure(`The file ${path} cannot be read (${code}).`, { cause: error });
  }
}

/** Never throws; what is wrong with the text is an answer. */
export function parseYamlText(text: string): YamlText {
  const lines = new LineCounter();
  const yaml = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const faults = [...yaml.errors, ...yaml.warnings];
  if (faults.length > 0)
    return { problems: faults.map(({ message, pos }) => ({ path: '', message, ...at(pos[0]) })) };
  const plain = plainValue(yaml);
  if ('message' in plain) return { problems: [{ path: '', message: plain.message, ...at(0) }] };
  const locate = (problems: readonly Problem[]) => ({
    problems: problems.map((problem) => ({ ...problem, ...at(offsetOf(yaml, problem.path)) })),
  });
  return { ...plain, locate };
}

/** Aliases may stand for much more than the file holds, which is refused. */
function plainValue(yaml: Document): { value: unknown } | { message: string } {
  try {
    return { value: yaml.toJS({ maxAliasCount: cliLimits.policyAliasesMax }) };
  } catch (error) {
    return { message: error instanceof Error ? error.message : String(error) };
  }
}

/** Where the member of a path stands; what encloses it where it is absent. */
function offsetOf(yaml: Document, path: string): number {
  let node: unknown = yaml.contents;
  let offset = yaml.contents?.range?.[0] ?? 0;
  for (const [, word, index] of path.matchAll(/([^.[\]]+)|\[(\d+)\]/g)) {
    if (isAlias(node)) node = node.resolve(yaml);
    if (index !== undefined && isSeq(node)) {
      node = node.items[Number(index)];
      offset = (node as { range?: readonly number[] } | undefined)?.range?.[0] ?? offset;
    } else if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === (word ?? index));
      if (pair === undefined) break;
      offset = (pair.key as { range?: readonly number[] }).range?.[0] ?? offset;
      node = pair.value;
    } else break;
  }
  return offset;
}
