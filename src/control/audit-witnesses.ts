import type { LaneFacts } from '../audit/witnesses/lane.ts';
import type { Witnesses } from '../audit/witnesses/pusher.ts';
import type { WitnessStatusList } from '../contract/witnesses.ts';
import type { KnownStream } from './audit/proofs.ts';
import type { Caller } from './control.ts';
import type { Gate } from './gate.ts';
import type { Logger } from './logger.ts';

/** Where checkpoints are kept besides this machine. */
export type AuditWitnessUseCases = {
  /** What each witness has of each stream, since when and why not more. Nothing of what happened. */
  list(caller: Caller): Promise<WitnessStatusList>;
};

export function auditWitnessUseCases(parts: { gate: Gate; witnesses: Witnesses }): AuditWitnessUseCases {
  return {
    list: async (caller) => {
      await parts.gate.read(caller, { action: 'audit.witnesses', resource: { kind: 'audit' } });
      return { items: parts.witnesses.status() };
    },
  };
}

export type WitnessingParts = {
  readonly witnesses: Witnesses;
  readonly knownStreams: () => readonly KnownStream[];
  readonly gate: Pick<Gate, 'note'>;
  readonly logger: Logger;
};

/** Begins to push the checkpoints of the streams that are known; what a witness says against one of them is on record. */
export function startWitnessing({ witnesses, knownStreams, gate, logger }: WitnessingParts): void {
  witnesses.start({
    streams: knownStreams,
    onProblem: (facts, message) => logger.warn(facts, message),
    onConflict: (facts) => noteConflict(gate, facts),
  });
}

/** `size` is what this server says that the stream holds. */
function noteConflict(gate: Pick<Gate, 'note'>, facts: LaneFacts & { readonly size: number }): void {
  const { witness, stream, reason, size } = facts;
  gate.note({
    action: 'audit.witness-conflict',
    actor: { id: 'system:audit' },
    resource: { kind: 'audit', id: stream },
    outcome: 'failed',
    rule: 'audit:witness',
    data: { witness, size, reason },
  });
}
