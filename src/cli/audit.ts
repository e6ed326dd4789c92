import type { Command } from 'commander';
import { defineAuditEvents } from './audit-events.ts';
import { defineAuditEvidence } from './audit-evidence.ts';
import { defineAuditProofs } from './audit-proofs.ts';
import { defineAuditSinks } from './audit-sinks.ts';
import { defineAuditVerify } from './audit-verify.ts';
import { defineAuditWitnesses } from './audit-witnesses.ts';
import type { Context } from './context.ts';

export function defineAudit(program: Command, context: Context): void {
  const audit = program
    .command('audit')
    .summary('search, export and verify the audit log')
    .description('The audit log: who did what, and proof that nothing was removed.');
  defineAuditEvents(audit, context);
  defineAuditVerify(audit, context);
  defineAuditEvidence(audit, context);
  defineAuditProofs(audit, context);
  defineAuditSinks(audit, context);
  defineAuditWitnesses(audit, context);
}
