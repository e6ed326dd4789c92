import type { ActionName } from '../model/actions.ts';
import { type Cedar, openCedar } from './cedar.ts';
import { accessLimits } from './limits.ts';
import { actionNames, groupOf, schemaText } from './schema.ts';
import { shapeOf } from './text-shape.ts';

/** What is wrong with a text, and where; lines and columns are from 1. */
export type AccessProblem = { readonly line: number; readonly column: number; readonly message: string };

/** One policy of a text that was checked. */
export type CheckedPolicy = {
  readonly text: string;
  readonly effect: 'permit' | 'forbid';
  /** Its annotation `@id`, for people. */
  readonly label: string | null;
  /** The acts that its head names: it is silent about all others. */
  readonly actions: ReadonlySet<ActionName>;
};

export type CheckResult =
  | { readonly policies: readonly CheckedPolicy[] }
  | { readonly problems: readonly AccessProblem[] };

/**
 * Checks texts that nobody has checked yet, by an evaluator that decides nothing: a text that overflows it costs
 * the instance and no decision.
 */
export class PolicyCheck {
  #cedar: Cedar | null = null;

  /** Every policy of the text, each valid against the schema, strictly; or what is wrong with it. */
  check(text: string): CheckResult {
    const unfit = unfitness(text);
    if (unfit !== null) return { problems: [{ line: 1, column: 1, message: unfit }] };
    this.#cedar ??= openCedar();
    try {
      return checkWith(this.#cedar, text);
    } catch {
      this.#cedar = null;
      return { problems: [{ line: 1, column: 1, message: 'It is too complex to be checked.' }] };
    }
  }
}

function unfitness(text: string): string | null {
  const { textBytesMax, depthMax, branchesMax } = accessLimits;
  if (Buffer.byteLength(text) > textBytesMax) return `It is longer than ${textBytesMax} bytes.`;
  if (!text.isWellFormed() || unprintable.test(text))
    return 'It holds characters that are not text, such as control characters.';
  const { depth, branches } = shapeOf(text);
  if (depth > depthMax) return 'An expression in it is nested too deeply. Split the policy.';
  if (branches > branchesMax)
    return `A policy in it has more than ${branchesMax} of "&&", "||" and "if". Use a set and contains(), or split it.`;
  return null;
}

/** Line feeds and tabs are text. What is shown in another order than it is read is not. */
const unprintable = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/;

function checkWith(cedar: Cedar, text: string): CheckResult {
  const place = placesIn(text);
  const parts = cedar.policySetTextToParts(text);
  if (parts.type === 'failure') return { problems: told(parts.errors, place) };
  if (parts.policy_templates.length > 0) {
    const at = place(Buffer.byteLength(text.slice(0, Math.max(0, text.search(/\?(principal|resource)\b/)))));
    return { problems: [{ ...at, message: 'Templates are not taken: write the policy without a slot.' }] };
  }
  const amount = amountProblem(parts.policies.length);
  if (amount !== null) return { problems: [{ line: 1, column: 1, message: amount }] };
  const answer = cedar.validate({
    validationSettings: { mode: 'strict' },
    schema: schemaText,
    policies: { staticPolicies: text },
  });
  if (answer.type === 'failure') return { problems: told(answer.errors, place) };
  // A warning is about a policy that does not do what it seems to: it never applies, or looks like another.
  const found = answer.validationErrors.length > 0 ? answer.validationErrors : answer.validationWarnings;
  if (found.length > 0)
    return {
      problems: told(
        found.map(({ error }) => error),
        place,
      ),
    };
  if (answer.otherWarnings.length > 0) return { problems: told(answer.otherWarnings, place) };
  return { policies: parts.policies.map((policy) => parsed(cedar, policy)) };
}

function amountProblem(count: number): string | null {
  const { policiesPerDocumentMax } = accessLimits;
  if (count === 0) return 'It holds no policy.';
  return count > policiesPerDocumentMax ? `It holds more than ${policiesPerDocumentMax} policies.` : null;
}

function parsed(cedar: Cedar, text: string): CheckedPolicy {
  const answer = cedar.policyToJson(text);
  if (answer.type === 'failure') throw new Error('a policy that was valid could not be read');
  const { effect, annotations, action } = answer.json;
  return { text, effect, label: annotations?.id ?? null, actions: actionsOf(action) };
}

type Head = Extract<ReturnType<Cedar['policyToJson']>, { type: 'success' }>['json']['action'];
type Uid = { __entity: { id: string } } | { id: string };

function actionsOf(head: Head): ReadonlySet<ActionName> {
  if (head.op === 'All') return new Set(actionNames);
  const uids: Uid[] = 'entities' in head ? head.entities : 'entity' in head ? [head.entity] : [];
  const named = new Set(uids.map((uid) => ('__entity' in uid ? uid.__entity.id : uid.id)));
  return new Set(actionNames.filter((action) => named.has(action) || named.has(groupOf(action))));
}

type CedarError = {
  readonly message: string;
  readonly help: string | null;
  readonly sourceLocations?: readonly { readonly label: string | null; readonly start: number }[];
};
type Place = (offset: number) => { line: number; column: number };

function told(errors: readonly CedarError[], place: Place): AccessProblem[] {
  return errors.slice(0, accessLimits.problemsMax).map(({ message, help, sourceLocations }) => {
    const [source] = sourceLocations ?? [];
    const plain = message.replace(/^for policy `policy\d+`, |^failed to parse policies from string: /, '');
    const more = [source?.label, help].filter((part) => part !== null && part !== undefined);
    return { ...place(source?.start ?? 0), message: [plain, ...more].join('; ') };
  });
}

/** Where a byte of the text stands; columns count characters. */
function placesIn(text: string): Place {
  const bytes = Buffer.from(text);
  return (offset) => {
    const lines = bytes.subarray(0, offset).toString('utf8').split('\n');
    return { line: lines.length, column: [...lines.at(-1)!].length + 1 };
  };
}
