import type { MessagePort } from 'node:worker_threads';
import { Fault, type FaultCode } from '../../contract/faults.ts';
import type { AuditSearch, EventPage, EventSearch, IndexCounts } from './search-types.ts';

/** What the thread that searches is asked. */
export type Question =
  | { readonly ask: 'find'; readonly search: EventSearch }
  | { readonly ask: 'counts' | 'rebuild' | 'close' };
export type ToThread =
  | { readonly id: number; readonly question: Question }
  | { readonly advanced: { readonly stream: string; readonly seq: number } };

/** `EventPage` with lines as they arrive from another thread. */
type SentPage = Omit<EventPage, 'events'> & { readonly events: readonly SentEvent[] };
type SentEvent = { readonly line: Uint8Array; readonly cursor: string };
export type Answered = SentPage | IndexCounts | null;
type Refused = { readonly code: FaultCode; readonly detail: string; readonly message: string };
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type FromThread =
  | { readonly id: number; readonly value: Answered }
  | { readonly id: number; readonly fault: Refused }
  | { readonly id: number; readonly problem: string }
  | { readonly indexed: true }
  | { readonly log: LogLevel; readonly fields: Record<string, unknown>; readonly text: string };

/** Answers, in the thread that searches, what the other side of the port asks. */
export function serveAuditSearch(port: MessagePort, search: AuditSearch): void {
  const send = (message: FromThread) => port.postMessage(message);
  search.onIndexed(() => send({ indexed: true }));
  port.on('message', async (message: ToThread) => {
    if ('advanced' in message) {
      search.advanced(message.advanced.stream, message.advanced.seq);
      return;
    }
    const { id, question } = message;
    send(await answerOf(id, search, question));
    if (question.ask === 'close') port.close();
  });
}

async function answerOf(id: number, search: AuditSearch, question: Question): Promise<FromThread> {
  try {
    return { id, value: await valueFor(search, question) };
  } catch (error) {
    if (error instanceof Fault) {
      const { code, detail, message } = error;
      return { id, fault: { code, detail, message } };
    }
    return { id, problem: error instanceof Error ? error.message : String(error) };
  }
}

async function valueFor(search: AuditSearch, question: Question): Promise<Answered> {
  if (question.ask === 'find') return ownMemory(await search.find(question.search));
  if (question.ask === 'close') {
    await search.close();
    return null;
  }
  return await search[question.ask]();
}

/** Lines are parts of blocks that were read; what is sent is copied whole with what it is a part of. */
function ownMemory(page: EventPage): SentPage {
  return {
    ...page,
    events: page.events.map(({ line, cursor }) => ({ line: Uint8Array.from(line), cursor })),
  };
}
