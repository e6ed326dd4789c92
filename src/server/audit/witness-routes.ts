import { witnessStatuses } from '../../contract/witnesses.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, noQuery, problemResponses } from '../responses.ts';

export function auditWitnessRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/audit/witnesses',
    config: { action: 'audit.witnesses' },
    schema: {
      operationId: 'listAuditWitnesses',
      summary:
        'Where signed checkpoints are kept, how old the newest of them is there, and what contradicts the log',
      tags: ['audit'],
      querystring: noQuery,
      response: { 200: json('All of them', witnessStatuses), ...problemResponses },
    },
    handler: async (request) => await control.auditWitnesses.list(callerOf(request)),
  });
}
