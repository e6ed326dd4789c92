import type { AuditEvent } from '../../audit/event.ts';
import type { JsonValue } from '../../base/canonical-json.ts';
import { auditIndexLimits } from '../../store/limits.ts';
import { searchLimits } from './limits.ts';

const wordPattern = /[\p{L}\p{M}\p{N}_]+/gu;
/** The same for text that is ASCII and in small letters, which most is, in a third of the time. */
const asciiWordPattern = /[a-z0-9_]+/g;
const notAscii = /[^\0-\x7f]/;

/**
 * The words of a text: runs of letters, marks, digits and `_`, without regard to capitals or to how their characters are
 * composed (NFKC). So an id is one word, and a host's name is the words between its dots. Long ones are cut.
 */
export function wordsOf(text: string): string[] {
  const found = notAscii.test(text)
    ? text.normalize('NFKC').toLowerCase().match(wordPattern)
    : text.toLowerCase().match(asciiWordPattern);
  return (found ?? []).map(cut);
}

function cut(word: string): string {
  if (word.length <= auditIndexLimits.wordCharactersMax) return word;
  // Half a pair of surrogates is no letter.
  return word.slice(0, auditIndexLimits.wordCharactersMax).replace(/[\ud800-\udbff]$/, '');
}

/**
 * The words of everything that an event says: its strings and numbers, and the names in `data`; at most `wordsMax`. Null
 * for what is nested deeper than any event, which would also be too deep for whoever shows it.
 */
export function wordsOfEvent(event: AuditEvent): string[] | null {
  const { action, actor, data, decision, id, of, request, resource } = event;
  const texts: string[] = [action, decision.rule, id];
  if (of !== undefined) texts.push(of);
  for (const member of [actor, resource, request])
    for (const value of Object.values(member ?? {})) if (!addTexts(texts, value as JsonValue, 0)) return null;
  if (data !== undefined && !addTexts(texts, data, 0)) return null;
  const words = new Set(wordsOf(texts.join('\n')));
  return words.size <= searchLimits.wordsMax ? [...words] : [...words].slice(0, searchLimits.wordsMax);
}

/** False where it is too deep. */
function addTexts(texts: string[], value: JsonValue, depth: number): boolean {
  if (typeof value === 'string') texts.push(value);
  else if (typeof value === 'number') texts.push(String(value));
  if (typeof value !== 'object' || value === null) return true;
  if (depth >= searchLimits.depthMax) return false;
  if (Array.isArray(value)) return value.every((item) => addTexts(texts, item, depth + 1));
  return Object.entries(value).every(([name, member]) => {
    texts.push(name);
    return addTexts(texts, member as JsonValue, depth + 1);
  });
}
