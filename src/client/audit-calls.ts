import type { AuditIndexView } from '../contract/audit-schemas.ts';
import type { Download, Page, Query } from './client.ts';
import type { Connection } from './connection.ts';
import { eventsOf, reconnecting } from './reconnecting.ts';
import { allOf, download, queryText } from './requests.ts';
import type { ServerSentEvent } from './sse.ts';

/** Strings of events are untrusted text. */
export type AuditCalls = {
  list(query?: Query): Promise<Page<Record<string, unknown>> & { readonly unreadable: number }>;
  all(query?: Query): AsyncGenerator<Record<string, unknown>, void, undefined>;
  /** All that match, as CSV or as the lines of the log; a body that breaks off is not whole. */
  export(query: Query & { readonly format: 'csv' | 'jsonl' }): Promise<Download>;
  /** A bundle of evidence; a body that breaks off does not verify. */
  evidence(query: Query): Promise<Download>;
  /** The lines of events that match as they are recorded, without an end, each once. Resumes what is cut off. */
  tail(query?: Query, options?: { readonly signal?: AbortSignal }): AsyncGenerator<string, void, undefined>;
  /** Resolves when the index is made. */
  reindex(): Promise<AuditIndexView>;
};

const path = '/api/v1/audit/events';

export function auditCalls(connection: Connection): AuditCalls {
  return {
    list: (query) => connection.json('GET', `${path}${queryText(query)}`),
    all: (query) => allOf(connection, path, query),
    export: (query) => download(connection, `${path}/export${queryText(query)}`),
    evidence: (query) => download(connection, `/api/v1/audit/evidence${queryText(query)}`),
    tail: (query = {}, { signal } = {}) => tail(connection, query, signal),
    reindex: () => connection.json('POST', '/api/v1/audit/reindex'),
  };
}

type Sent = { readonly line: string | null; readonly id: string };

async function* tail(
  connection: Connection,
  query: Query,
  signal: AbortSignal | undefined,
): AsyncGenerator<string, void, undefined> {
  let after = query.after;
  async function* read() {
    const asked = `${path}/tail${queryText({ ...query, after })}`;
    const response = await connection.send('GET', asked, { accept: 'text/event-stream', signal });
    for await (const sent of eventsOf(response, parse)) {
      if (sent.id !== '') after = sent.id;
      yield sent;
    }
  }
  for await (const { line } of reconnecting(read, () => false, { again: true, signal }))
    if (line !== null) yield line;
}

/** `start` says where the tail begins, so that a break before the first event loses nothing. */
function parse({ event, data, id }: ServerSentEvent): Sent | null {
  if (event === 'start') return { line: null, id };
  return event === 'event' ? { line: data, id } : null;
}
