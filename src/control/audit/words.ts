import type { AuditEvent } from '../../audit/event.ts';
import type { JsonValue } from '../../base/canonical-json.ts';
import { auditIndexLimits } from '../../store/limits.ts';
import { searchLimits } from './limits.ts';

const wordPattern = /[\p{L}\p{M}\p{N}_]+/gu;

/**
 * The words of a text: runs of letters, marks, digits and `_`, without regard to capitals or to how their characters are
 * composed (NFKC). So an id is one word, and a host's name is the words between its dots. Long ones are cut.
 */
export function wordsOf(text: string): string[] {
  const found = text.normalize('NFKC').toLowerCase().match(wordPattern) ?? [];
  return found.map((word) => cut(word));
}

function cut(word: string): string {
  if (word.length <= auditIndexLimits.wordCharactersMax) return word;
  // Half a pair of surrogates is no letter.
  return word.slice(0, auditIndexLimits.wordCharactersMax).replace(/[\ud800-\udbff]$/, '');
}

/** The words of everything that an event says: its strings and numbers, and the names in `data`. */
export function wordsOfEvent(event: AuditEvent): string[] {
  const { action, actor, data, decision, id, of, request, resource } = event;
  const words = new Set<string>();
  for (const value of [action, actor, decision.rule, id, of, request, resource]) {
    if (typeof value === 'string') addText(words, value);
    else if (value !== undefined) for (const text of Object.values(value)) addValue(words, text as JsonValue);
  }
  if (data !== undefined) addValue(words, data);
  return [...words];
}

function addValue(words: Set<string>, value: JsonValue): void {
  if (typeof value === 'string') addText(words, value);
  else if (typeof value === 'number') addText(words, String(value));
  else if (Array.isArray(value)) for (const item of value) addValue(words, item);
  else if (typeof value === 'object' && value !== null) {
    for (const [name, member] of Object.entries(value)) {
      addText(words, name);
      addValue(words, member as JsonValue);
    }
  }
}

function addText(words: Set<string>, text: string): void {
  for (const word of wordsOf(text)) {
    if (words.size >= searchLimits.wordsMax) return;
    words.add(word);
  }
}
