import { Fault } from '../../contract/faults.ts';
import type { AuditIndex, EventPlace } from '../../store/audit-index.ts';
import { searchLimits } from './limits.ts';

/** Names an event by its number in one making of the index, and by its place in its stream for any other. */
export function cursorOf(generation: string, { number, stream, seq }: EventPlace): string {
  return Buffer.from(`${generation} ${number} ${stream} ${seq}`).toString('base64url');
}

const pattern = /^([0-9a-f-]{36}) ([1-9]\d{0,14}) ([a-z0-9][a-z0-9._-]{0,62}) ([1-9]\d{0,14})$/;

/** The number to go on behind. Throws Fault `request.invalid` for a cursor that no answer held. */
export async function numberOfCursor(index: AuditIndex, cursor: string): Promise<number> {
  const text =
    cursor.length > searchLimits.cursorCharactersMax ? '' : Buffer.from(cursor, 'base64url').toString();
  const match = pattern.exec(text);
  if (match === null) throw invalid();
  const [, generation, number, stream = '', seq] = match;
  if (generation === index.generation) return Number(number);
  const found = await index.numberOf(stream, Number(seq));
  if (found === null) throw invalid();
  return found;
}

function invalid(): Fault {
  return new Fault('request.invalid', {
    detail: 'The cursor is not one that a list answered. Start again without it.',
  });
}
