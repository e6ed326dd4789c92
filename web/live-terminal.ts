import { browserSocket } from '../src/client/attach/browser-socket.ts';
import { type AttachEnd, AttachSession, type AttachState } from '../src/client/attach/session.ts';
import type { AttachTicketView } from '../src/contract/attach-schemas.ts';
import type { AttachRole, TerminalSize } from '../src/model/terminal.ts';
import { call } from './api.ts';
import { runPath } from './run-terminals.ts';
import type { TerminalView } from './terminal-view.ts';

/** How one is attached: who watches needs no more rights than to read; who drives is another connection. */
export type Wish = { readonly role: AttachRole; readonly drive?: 'ask' | 'takeover' };

export type LiveEvents = {
  changed(state: AttachState, wish: Wish): void;
  refused(detail: string): void;
  ended(end: AttachEnd, wish: Wish): void;
  /** Does it, with a fresh proof of who the person is where that is asked for. */
  proved<T>(work: () => Promise<T>): Promise<T>;
};

/** The size follows the window, but no oftener than this: each change redraws the program's whole screen. */
const resizeEveryMs = 150;

/** The attach session of a page: one at a time, drawn on one view. */
export class LiveTerminal {
  readonly #run: string;
  readonly #terminal: string | null;
  readonly #view: TerminalView;
  readonly #events: LiveEvents;
  #session: AttachSession | null = null;
  #role: AttachRole = 'viewer';
  /** Whether the person asked for the wheel: then, and only then, the keyboard goes to the terminal once it is theirs. */
  #isAsking = false;
  #sizing: ReturnType<typeof setTimeout> | undefined;
  #size: TerminalSize | null = null;

  constructor(at: { run: string; terminal: string | null }, view: TerminalView, events: LiveEvents) {
    this.#run = at.run;
    this.#terminal = at.terminal;
    this.#view = view;
    this.#events = events;
  }

  /** Attaches in a role; the connection in the role before ends. */
  attach(wish: Wish): void {
    this.#session?.leave();
    this.#size = null;
    this.#role = wish.role;
    const isCurrent = () => this.#session === session;
    const session: AttachSession = new AttachSession({
      socket: browserSocket(location.origin),
      ticket: (first) => this.#ticket(wish, first),
      drive: wish.drive,
      redraw: () => {
        if (isCurrent()) this.#view.reset();
      },
      output: (bytes) => (isCurrent() ? this.#view.write(bytes) : undefined),
      changed: (state) => {
        if (isCurrent()) this.#changed(state, wish);
      },
      refused: ({ detail }) => {
        if (isCurrent()) this.#events.refused(detail);
      },
    });
    this.#session = session;
    void session.ended.then((end) => {
      if (!isCurrent()) return;
      this.#view.setTyping(false);
      this.#events.ended(end, wish);
    });
  }

  /** Secret and for one use: it goes from the answer into the handshake, and is kept nowhere. */
  #ticket({ role }: Wish, first: boolean): Promise<AttachTicketView> {
    const request = { role, ...(this.#terminal === null ? {} : { terminal: this.#terminal }) };
    const ask = () => call<AttachTicketView>('POST', `${runPath(this.#run)}/attach-tickets`, request);
    return first && role === 'driver' ? this.#events.proved(ask) : ask();
  }

  type(bytes: Uint8Array): void {
    void this.#session?.input(bytes);
  }

  /** The role belongs to the ticket: who watched until now attaches anew. */
  drive(takeover: boolean): void {
    this.#isAsking = true;
    if (this.#role === 'driver') this.#session?.drive({ takeover });
    else this.attach({ role: 'driver', drive: takeover ? 'takeover' : 'ask' });
  }

  release(): void {
    this.#session?.release();
  }

  handOver(to: AttachState['clients'][number]['connection']): void {
    this.#session?.handOver(to);
  }

  leave(): void {
    this.#session?.leave();
  }

  /** While this client drives the terminal is as large as the window has room for. */
  fitWindow(): void {
    clearTimeout(this.#sizing);
    this.#sizing = setTimeout(() => this.#tellSize(), resizeEveryMs);
  }

  #tellSize(): void {
    const size = this.#view.room();
    if (size === null || this.#session?.state.input?.allowed !== true) return;
    if (size.columns === this.#size?.columns && size.rows === this.#size.rows) return;
    this.#size = size;
    this.#session.resize(size);
  }

  #changed(state: AttachState, wish: Wish): void {
    if (state.size !== null) this.#view.resize(state.size);
    const isTyping = state.phase === 'attached' && state.input?.allowed === true;
    this.#view.setTyping(isTyping);
    if (isTyping) this.fitWindow();
    else this.#size = null;
    if (isTyping && this.#isAsking) {
      this.#isAsking = false;
      this.#view.focus();
    }
    this.#events.changed(state, wish);
  }
}
