import type { FastifyReply } from 'fastify';
import type { Caller } from '../../control/control.ts';
import type { ServerContext } from '../context.ts';
import { exemptFromTimeouts, writeSome } from '../streams.ts';
import { csvHeader, csvRow } from './csv.ts';

export const exportTypes = { csv: 'text/csv; charset=utf-8', jsonl: 'application/jsonl' } as const;
export type ExportFormat = keyof typeof exportTypes;

type Export = {
  readonly lines: AsyncIterable<Buffer>;
  readonly caller: Caller;
  readonly format: ExportFormat;
  /** What a browser calls the file. */
  readonly filename?: string;
};

/** What is written at once, about; no more of an export than this and one page waits in memory. */
const chunkBytes = 64 * 1024;

/** Streams at the reader's pace. One that breaks off costs the connection, so that none takes it for all. */
export function sendExport(
  reply: FastifyReply,
  { lines, caller, format, filename = `audit-events.${format}` }: Export,
  { streams, control, logger }: ServerContext,
): void {
  const { raw: response } = reply;
  reply.hijack();
  exemptFromTimeouts(response);
  response.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': exportTypes[format],
    'content-disposition': `attachment; filename="${filename}"`,
  });
  response.on('error', () => undefined);
  streams.add({
    answer: response,
    caller,
    still: (now) => control.audit.mayStill(now, 'audit.export'),
    end: () => response.destroy(),
  });
  pump(response, chunksOf(lines, format)).catch((error: unknown) => {
    logger.warn({ err: error, requestId: caller.request.id }, 'an export of the audit log broke off');
    response.destroy();
  });
}

async function pump(response: FastifyReply['raw'], chunks: AsyncIterable<string | Buffer>): Promise<void> {
  for await (const chunk of chunks) {
    const room = writeSome(response, chunk);
    if (room === false || (room !== true && !(await room))) return;
  }
  response.end();
}

async function* chunksOf(
  lines: AsyncIterable<Buffer>,
  format: ExportFormat,
): AsyncGenerator<string | Buffer, void, undefined> {
  if (format === 'csv') yield csvHeader;
  let waiting: Buffer[] = [];
  let size = 0;
  for await (const line of lines) {
    const written = format === 'csv' ? [Buffer.from(csvRow(line))] : [line, newline];
    waiting.push(...written);
    for (const { length } of written) size += length;
    if (size < chunkBytes) continue;
    yield Buffer.concat(waiting);
    waiting = [];
    size = 0;
  }
  if (size > 0) yield Buffer.concat(waiting);
}

const newline = Buffer.from('\n');
