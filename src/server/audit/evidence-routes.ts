import * as schemas from '../../contract/audit-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { bytes, problemResponses } from '../responses.ts';
import { exportTypes, sendExport } from './export.ts';

export function auditEvidenceRoutes(app: App, context: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/audit/evidence',
    config: { action: 'audit.export' },
    schema: {
      operationId: 'exportAuditEvidence',
      summary:
        'A bundle of evidence: events of a run, a session or a time, with all that proves them offline',
      description:
        'What docs/reference/audit-format.md describes and `sealwright audit verify` verifies. With nothing but a time it ' +
        'holds everything of each stream between two events, so that nothing is missing in between.',
      tags: ['audit'],
      querystring: schemas.evidenceQuery,
      response: { 200: bytes('The bundle', exportTypes.jsonl), ...problemResponses },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request);
      const lines = await context.control.auditEvidence.export(caller, request.query);
      sendExport(reply, { lines, caller, format: 'jsonl', filename: 'audit-evidence.json' }, context);
    },
  });
}
