import { open } from 'node:fs/promises';
import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { compileRules, type PolicyDocument, type PolicyProblem, parsePolicy } from '../contract/policy.ts';
import type { EgressRule } from '../model/egress.ts';
import { CliFailure } from './failure.ts';
import { cliLimits } from './limits.ts';

/** What is wrong with a file and where, from 1; `path` is such as `rules[2].ports`. */
export type FileProblem = {
  readonly path: string;
  readonly message: string;
  readonly line: number;
  readonly column: number;
};

export type PolicyFile =
  | { readonly document: PolicyDocument; readonly rules: readonly EgressRule[] }
  | { readonly problems: readonly FileProblem[] };

/** A policy from a file of YAML 1.2, which JSON is too. `name` is what verdicts call it. Throws CliFailure. */
export async function readPolicyFile(path: string, name: string): Promise<PolicyFile> {
  return parsePolicyText(await textOf(path), name);
}

async function textOf(path: string): Promise<string> {
  try {
    await using file = await open(path, 'r');
    const bytes = Buffer.alloc(cliLimits.policyBytesMax + 1);
    let size = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, size, bytes.length - size);
      size += bytesRead;
      if (size > cliLimits.policyBytesMax)
        throw new CliFailure(`The file ${path} is too large for a policy.`);
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

/** As `readPolicyFile`, of a text. */
export function parsePolicyText(text: string, name: string): PolicyFile {
  const lines = new LineCounter();
  const yaml = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const faults = [...yaml.errors, ...yaml.warnings];
  if (faults.length > 0)
    return { problems: faults.map(({ message, pos }) => ({ path: '', message, ...at(pos[0]) })) };
  const value = plainValue(yaml);
  if ('message' in value) return { problems: [{ path: '', message: value.message, ...at(0) }] };
  const located = (problems: readonly PolicyProblem[]) => ({
    problems: problems.map((problem) => ({ ...problem, ...at(offsetOf(yaml, problem.path)) })),
  });
  const parsed = parsePolicy(value.value);
  if ('problems' in parsed) return located(parsed.problems);
  const compiled = compileRules(name, parsed.document);
  return 'problems' in compiled ? located(compiled.problems) : { ...parsed, ...compiled };
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
