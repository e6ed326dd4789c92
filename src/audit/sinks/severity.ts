import type { AuditEvent } from '../event.ts';

export type Severity = 'informational' | 'medium' | 'high';

/** What somebody should look at even where it is on record as nothing but a note. */
const alarms: ReadonlySet<string> = new Set([
  'audit.gap',
  'audit.gap-found',
  'audit.lost',
  'audit.recovered',
  'audit.witness-conflict',
  'sign-in.lockout',
  'sign-in.reuse',
]);

/** How much attention an event asks for: an alarm, a denial or failure, or the course of things. */
export function severityOf({ action, outcome }: Pick<AuditEvent, 'action' | 'outcome'>): Severity {
  if (alarms.has(action)) return 'high';
  return outcome === 'denied' || outcome === 'failed' ? 'medium' : 'informational';
}
