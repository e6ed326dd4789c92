import { UsageFailure } from './failure.ts';
import { parseDuration } from './quantities.ts';

/** A time as RFC 3339, or a duration before `now`; gives what the API takes. */
export function parseTime(text: string, option: string, now: number): string {
  if (/^[0-9.smhdw]+$/i.test(text)) return new Date(now - parseDuration(text, option) * 1000).toISOString();
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time))
    throw new UsageFailure(`${option} takes a time such as 2026-01-31T12:00:00Z, or 2h, not "${text}"`);
  return new Date(time).toISOString();
}
