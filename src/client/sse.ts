import { clientLimits } from './limits.ts';

export type ServerSentEvent = {
  readonly event: string;
  readonly data: string;
  /** The last id seen, this event's own or an earlier one's; empty before the first. */
  readonly id: string;
};

/**
 * Cuts a stream into server-sent events (WHATWG HTML §9.2.6); comments vanish. `retryMs` is what the server
 * last asked for. Throws RangeError on an event longer than `eventCharactersMax`.
 */
export class EventParser {
  retryMs: number | null = null;
  readonly #decoder = new TextDecoder();
  #rest = '';
  #id = '';
  #event = '';
  #data: string[] = [];
  #size = 0;

  push(chunk: Uint8Array): ServerSentEvent[] {
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    const events: ServerSentEvent[] = [];
    let start = 0;
    for (;;) {
      const end = lineEnd(text, start);
      if (end === null) break;
      const event = this.#line(text.slice(start, end.at));
      if (event !== null) events.push(event);
      start = end.next;
    }
    this.#rest = text.slice(start);
    this.#limit(this.#rest.length);
    return events;
  }

  #line(line: string): ServerSentEvent | null {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const raw = colon === -1 ? '' : line.slice(colon + 1);
    const value = raw.startsWith(' ') ? raw.slice(1) : raw;
    if (field === 'event') this.#event = value;
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    else if (field === 'retry' && /^\d+$/.test(value)) this.retryMs = Number(value);
    else if (field === 'data') {
      this.#data.push(value);
      this.#size += value.length;
      this.#limit(this.#size);
    }
    return null;
  }

  #dispatch(): ServerSentEvent | null {
    const data = this.#data;
    const event = this.#event;
    this.#data = [];
    this.#event = '';
    this.#size = 0;
    if (data.length === 0) return null;
    return { event: event === '' ? 'message' : event, data: data.join('\n'), id: this.#id };
  }

  #limit(size: number): void {
    if (size > clientLimits.eventCharactersMax) throw new RangeError('a server-sent event is too long');
  }
}

/** Where the line from `start` on ends; null while its end, or what follows a CR, has not come. */
function lineEnd(text: string, start: number): { at: number; next: number } | null {
  const feed = text.indexOf('\n', start);
  const carriage = text.indexOf('\r', start);
  if (carriage === -1 || (feed !== -1 && feed < carriage))
    return feed === -1 ? null : { at: feed, next: feed + 1 };
  if (carriage === text.length - 1) return null;
  return { at: carriage, next: text[carriage + 1] === '\n' ? carriage + 2 : carriage + 1 };
}
