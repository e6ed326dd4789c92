import { absent, Fault } from '../../contract/faults.ts';

/** Why a write under `ifMatch`, the version that the caller read and null where it read of none, did not happen. */
export function staleOf(what: string, outcome: 'stale' | 'absent', ifMatch: number | null): Fault {
  if (outcome === 'absent') return absent(what);
  if (ifMatch === null)
    return new Fault('precondition.required', {
      detail: `The ${what} exists. Send If-Match with the ETag that you read, so that nobody else’s change is lost.`,
    });
  return new Fault('precondition.failed', {
    detail: `The ${what} changed since it was read. Read it again.`,
  });
}
