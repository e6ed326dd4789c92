import { sinkLimits } from './limits.ts';

/** One bounded line of printable ASCII; null where nothing is left, or where it repeats a secret that it must not hold. */
export function shownReason(text: string, secrets: readonly string[]): string | null {
  if (secrets.some((secret) => secret !== '' && text.includes(secret))) return null;
  const line = text.replace(/[^\x20-\x7E]+/g, ' ').trim();
  return line === '' ? null : line.slice(0, sinkLimits.reasonCharactersMax);
}

/** The code of a failure, such as `ECONNREFUSED` or `DEPTH_ZERO_SELF_SIGNED_CERT`, without an address or a path. */
export function failureCode(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  if (name === 'TimeoutError') return 'it did not answer in time';
  if (name === 'AbortError') return 'it was interrupted';
  return typeof code === 'string' ? code.slice(0, 64) : 'it failed';
}
