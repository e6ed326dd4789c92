import { Fault } from '../contract/faults.ts';
import { apiLimits } from '../contract/limits.ts';
import type { Control } from './control.ts';
import type { Gate } from './gate.ts';

export type AuditTrail = { readonly folder: string };
export function auditUseCases(_parts: { gate: Gate; trail: AuditTrail }): Control['audit'] {
  void apiLimits;
  return {
    list: async () => {
      throw new Fault('internal', { detail: 'not yet' });
    },
  };
}
