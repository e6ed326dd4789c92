import { hash, randomBytes } from 'node:crypto';
import type { Clock } from '../../base/clock.ts';
import { attachLimits } from '../../contract/attach.ts';
import type { ExecSpec, RunTerminal } from '../../contract/runner-terminals.ts';
import type { RunId, TerminalId } from '../../model/ids.ts';
import type { AttachRole } from '../../model/terminal.ts';
import type { Caller } from '../control.ts';
import { controlAttachLimits } from './limits.ts';

/** What a ticket opens. */
export type TicketUse =
  | { readonly kind: 'terminal'; readonly terminal: TerminalId; readonly role: AttachRole }
  /** A command, which starts when the ticket is redeemed; null for pipes. */
  | {
      readonly kind: 'exec';
      readonly exec: Omit<ExecSpec, 'connection'>;
      readonly terminal: RunTerminal | null;
    }
  | { readonly kind: 'port'; readonly port: number };

export type Ticket = { readonly caller: Caller; readonly run: RunId; readonly use: TicketUse };

export type TicketRefusal = 'ticket-unknown' | 'ticket-expired' | 'ticket-used' | 'ticket-other-run';

/** `caller` is whose it was, for the record, where that is known. */
export type TicketTaken =
  | { readonly ticket: Ticket }
  | { readonly refusal: TicketRefusal; readonly caller: Caller | null };

type Held = {
  readonly caller: Caller;
  readonly run: RunId;
  /** Null once it was used. */
  use: TicketUse | null;
  readonly expiresAt: number;
  readonly bytes: number;
};
type Share = { count: number; bytes: number };

/** What a ticket begins with, so that whoever finds one knows what it is. */
export const ticketPrefix = 'sw_attach_';
const ticketPattern = /^sw_attach_[A-Za-z0-9_-]{43}$/;

/**
 * Tickets of 256 random bits for one use, held by their hashes and gone with this process. One that was used or has
 * expired is known a little longer, so that the record can tell what was presented.
 */
export class Tickets {
  readonly #clock: Clock;
  /** By hash, in the order of their expiry: all live equally long. */
  readonly #held = new Map<string, Held>();
  readonly #ofActor = new Map<string, Share>();
  #bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Those that can still be used. */
  get live(): number {
    return [...this.#ofActor.values()].reduce((sum, { count }) => sum + count, 0);
  }

  /** A new ticket and when it expires, in ms of the epoch; null where its actor, or everybody, has too many. */
  issue({ caller, run, use }: Ticket): { readonly text: string; readonly expiresAt: number } | null {
    const now = this.#clock.monotonic();
    this.#sweep(now - attachLimits.ticketLifeMs);
    if (this.#held.size >= attachLimits.ticketsMax) this.#sweep(now);
    const bytes = JSON.stringify(use).length;
    if (!this.#hasRoom(caller, bytes)) return null;
    const text = `${ticketPrefix}${randomBytes(32).toString('base64url')}`;
    const expiresAt = now + attachLimits.ticketLifeMs;
    this.#held.set(hashOf(text), { caller, run, use, expiresAt, bytes });
    this.#count(caller, 1, bytes);
    return { text, expiresAt: this.#clock.now() + attachLimits.ticketLifeMs };
  }

  /** Whose a ticket is or was, as far as that is known; it stays as it is. */
  holderOf(text: string): Caller | null {
    return this.#find(text)?.caller ?? null;
  }

  /** Uses up what is presented, whatever follows. */
  take(text: string, run: RunId): TicketTaken {
    const held = this.#find(text);
    if (held === undefined) return { refusal: 'ticket-unknown', caller: null };
    const { caller, use } = held;
    if (use === null) return { refusal: 'ticket-used', caller };
    held.use = null;
    this.#count(caller, -1, -held.bytes);
    if (this.#clock.monotonic() >= held.expiresAt) return { refusal: 'ticket-expired', caller };
    if (held.run !== run) return { refusal: 'ticket-other-run', caller };
    return { ticket: { caller, run, use } };
  }

  #find(text: string): Held | undefined {
    return ticketPattern.test(text) ? this.#held.get(hashOf(text)) : undefined;
  }

  #hasRoom({ actor }: Caller, bytes: number): boolean {
    const { ticketsMax, ticketsPerActorMax } = attachLimits;
    const { ticketBytesMax, ticketBytesPerActorMax } = controlAttachLimits;
    const own = this.#ofActor.get(actor.id) ?? { count: 0, bytes: 0 };
    if (own.count >= ticketsPerActorMax || own.bytes + bytes > ticketBytesPerActorMax) return false;
    return this.#held.size < ticketsMax && this.#bytes + bytes <= ticketBytesMax;
  }

  /** Forgets those that expired before. */
  #sweep(before: number): void {
    for (const [key, held] of this.#held) {
      if (held.expiresAt > before) return;
      this.#held.delete(key);
      if (held.use !== null) this.#count(held.caller, -1, -held.bytes);
    }
  }

  #count({ actor }: Caller, count: number, bytes: number): void {
    const own = this.#ofActor.get(actor.id) ?? { count: 0, bytes: 0 };
    own.count += count;
    own.bytes += bytes;
    this.#bytes += bytes;
    if (own.count === 0) this.#ofActor.delete(actor.id);
    else this.#ofActor.set(actor.id, own);
  }
}

function hashOf(text: string): string {
  return hash('sha256', text, 'hex');
}
