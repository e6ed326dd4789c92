import { compileRules, type PolicyDocument, parsePolicy } from '../contract/policy.ts';
import type { EgressRule } from '../model/egress.ts';
import { type FileProblem, parseYamlText, readYamlText } from './yaml-file.ts';

export type PolicyFile =
  | { readonly document: PolicyDocument; readonly rules: readonly EgressRule[] }
  | { readonly problems: readonly FileProblem[] };

/** A policy from a file of YAML 1.2, which JSON is too. `name` is what verdicts call it. Throws CliFailure. */
export async function readPolicyFile(path: string, name: string): Promise<PolicyFile> {
  return parsePolicyText(await readYamlText(path, 'a policy'), name);
}

/** As `readPolicyFile`, of a text. */
export function parsePolicyText(text: string, name: string): PolicyFile {
  const yaml = parseYamlText(text);
  if ('problems' in yaml) return yaml;
  const parsed = parsePolicy(yaml.value);
  if ('problems' in parsed) return yaml.locate(parsed.problems);
  const compiled = compileRules(name, parsed.document);
  return 'problems' in compiled ? yaml.locate(compiled.problems) : { ...parsed, ...compiled };
}
