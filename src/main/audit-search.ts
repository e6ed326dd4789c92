import assert from 'node:assert/strict';
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { openAuditSearch } from '../control/audit/search.ts';
import { type LogLevel, serveAuditSearch } from '../control/audit/search-messages.ts';
import type { SearchThreadData } from '../control/audit/search-thread.ts';
import { openSqliteAuditIndex } from '../store/sqlite/audit-index.ts';

/**
 * The thread that follows the audit log into its index and searches it. On Linux a priority is a thread's own
 * (setpriority(2)): indexing millions of events gives way to whatever control is asked meanwhile.
 */
const low = 10;
setPriority(0, low);

assert(parentPort !== null);
const port = parentPort;
const { folder, file, heads } = workerData as SearchThreadData;
const log = (level: LogLevel) => (fields: Record<string, unknown>, text: string) =>
  port.postMessage({ log: level, fields, text });
const search = await openAuditSearch({
  folder,
  file,
  heads,
  open: (path) => openSqliteAuditIndex({ file: path }),
  logger: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
});
serveAuditSearch(port, search);
