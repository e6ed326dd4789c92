import assert from 'node:assert/strict';
import type { AuditFacet, AuditIndexQuery, IndexedEvent } from '../audit-index.ts';
import { auditIndexLimits } from '../limits.ts';

/** The letter that a facet's terms begin with; the tokenizer tells no capitals from small ones. */
const letters: Readonly<Record<AuditFacet, string>> = {
  actor: 'a',
  onBehalfOf: 'b',
  action: 'c',
  resource: 'r',
  resourceKind: 'k',
  session: 's',
  run: 'u',
  outcome: 'o',
  phase: 'p',
  rule: 'l',
  address: 'd',
  stream: 'm',
};
const groupLetter = 'g';
const wordLetter = 't';
const wordPattern = /^[\p{L}\p{M}\p{N}_]+$/u;

/** Values are in hexadecimal, because they may hold anything; a term is then one token and needs no escape. */
function facetTerm(facet: AuditFacet, value: string): string {
  return letters[facet] + hex(value);
}

function hex(value: string): string {
  return Buffer.from(value).toString('hex');
}

function wordTerm(word: string): string {
  assert(wordPattern.test(word) && word.length <= auditIndexLimits.wordCharactersMax, 'a word is one token');
  return wordLetter + word;
}

/** `agent.` and `agent.credential.` for `agent.credential.create`. */
function groupsOf(action: string): string[] {
  const groups: string[] = [];
  for (let dot = action.indexOf('.'); dot >= 0; dot = action.indexOf('.', dot + 1))
    groups.push(action.slice(0, dot + 1));
  return groups;
}

/** All that an event is found by. */
export function termsOf({ stream, facets, words }: IndexedEvent): string {
  const terms = [facetTerm('stream', stream)];
  for (const [facet, value] of Object.entries(facets)) terms.push(facetTerm(facet as AuditFacet, value));
  for (const group of groupsOf(facets.action ?? '')) terms.push(groupLetter + hex(group));
  for (const word of words) terms.push(wordTerm(word));
  return terms.join(' ');
}

/**
 * What FTS5 is asked for a query, or null where it asks for nothing but times. `actionsFrom` tells the actions that
 * begin so; none of them is a query that finds nothing, told by `'nothing'`.
 */
export function matchOf(
  { facets, actionPrefix = '', words }: AuditIndexQuery,
  actionsFrom: (prefix: string) => readonly string[],
): { readonly match: string | null } | 'nothing' {
  const all = Object.entries(facets).map(([facet, value]) => facetTerm(facet as AuditFacet, value));
  all.push(...words.map(wordTerm));
  const terms = all.map(quoted);
  if (actionPrefix.endsWith('.')) terms.push(quoted(groupLetter + hex(actionPrefix)));
  else if (actionPrefix !== '') {
    const actions = actionsFrom(actionPrefix);
    if (actions.length === 0) return 'nothing';
    terms.push(`(${actions.map((action) => quoted(facetTerm('action', action))).join(' OR ')})`);
  }
  return { match: terms.length === 0 ? null : terms.join(' AND ') };
}

function quoted(term: string): string {
  return `"${term}"`;
}
