import type { Sinks } from '../audit/sinks/sinks.ts';
import { absent } from '../contract/faults.ts';
import type { RedeliveredView, SinkStatusList } from '../contract/sinks.ts';
import type { Caller } from './control.ts';
import type { Gate } from './gate.ts';

/** Where the record goes besides this machine. */
export type AuditSinkUseCases = {
  /** How far each receiver is behind, and why. Who looks is on the record. */
  list(caller: Caller): Promise<SinkStatusList>;
  /** Sends what a receiver refused for good once more; may take some twenty seconds. */
  redeliver(caller: Caller, name: string): Promise<RedeliveredView>;
};

export function auditSinkUseCases({ gate, sinks }: { gate: Gate; sinks: Sinks }): AuditSinkUseCases {
  return {
    list: async (caller) => {
      await gate.privileged(caller, { action: 'audit.sinks', resource: { kind: 'audit' } });
      return { items: [...(await sinks.status())] };
    },
    redeliver: async (caller, name) => {
      const act = { action: 'audit.redeliver', resource: { kind: 'audit' }, data: { sink: name } } as const;
      return await gate.act(caller, act, async () => {
        const result = await sinks.redeliver(name);
        if (result === null) throw absent('sink');
        return result;
      });
    },
  };
}
