import type { JsonValue } from '../base/canonical-json.ts';
import type { AuditEvent } from './event.ts';
import { hasEventMembers } from './line.ts';

/**
 * The event of a line (`bytes` without its newline), or null where it is none. Nothing is verified: not its spelling,
 * not its place, and its strings may be hostile.
 */
export function parseEvent(bytes: Buffer): AuditEvent | null {
  let value: JsonValue;
  try {
    value = JSON.parse(bytes.toString('utf8')) as JsonValue;
  } catch {
    return null;
  }
  if (!hasEventMembers(value)) return null;
  const { actor, resource, decision } = value as unknown as AuditEvent;
  const isWhole =
    typeof actor.id === 'string' &&
    typeof actor.kind === 'string' &&
    typeof resource.kind === 'string' &&
    typeof decision.rule === 'string' &&
    typeof decision.allow === 'boolean';
  return isWhole ? (value as unknown as AuditEvent) : null;
}
