import { escapeLine } from '../escape.ts';

/** What went wrong, in one line for a terminal. Detail comes from a server: it is untrusted text. */
export function wordsOf(error: unknown): string {
  return escapeLine(error instanceof Error ? error.message : String(error));
}
