import { type AttachedClient, attachLimits, type InputBar } from '../../contract/attach.ts';
import type { AttachTicketView } from '../../contract/attach-schemas.ts';
import type { ConnectionId, TerminalId } from '../../model/ids.ts';
import type { AttachMode, AttachRole, TerminalSize } from '../../model/terminal.ts';
import { AttachConnection, type ConnectionEnd, type Told, type Welcome } from './connection.ts';
import type { OpenSocket } from './socket.ts';

export type InputState =
  | { readonly allowed: true; readonly until: number }
  | { readonly allowed: false; readonly bar: InputBar; readonly holder: ConnectionId | null };

/** What is known of a terminal that is attached to. Names of clients are untrusted text. */
export type AttachState = {
  /** `broken` while it connects again. */
  readonly phase: 'connecting' | 'attached' | 'broken' | 'ended';
  /** Why it connects again; null in other phases. */
  readonly brokenBy: AttachEnd | null;
  readonly connection: ConnectionId | null;
  readonly terminal: TerminalId | null;
  /** What the server lets this client be. */
  readonly role: AttachRole | null;
  readonly mode: AttachMode | null;
  readonly moderated: boolean;
  readonly size: TerminalSize | null;
  readonly clients: readonly AttachedClient[];
  readonly input: InputState | null;
};

export type AttachOptions = {
  readonly socket: OpenSocket;
  /** Asks for a ticket; each connection needs one of its own. `first` is false where it connects again. */
  ticket(first: boolean): Promise<AttachTicketView>;
  /** Goes on behind this much output where it is still there, in place of a snapshot. 0: everything from the start. */
  readonly from?: number | undefined;
  /** Whether the lease is asked for, in the role of a driver; `takeover` once, from whoever has it. */
  readonly drive?: 'ask' | 'takeover' | undefined;
  /** The size that the terminal is to have while this client drives. */
  readonly size?: TerminalSize | undefined;
  /** The screen begins anew: forget what was drawn. */
  redraw(): void;
  /** Output. While some promises of it are pending, no more is read, where the platform can. */
  output(bytes: Uint8Array): void | Promise<void>;
  changed(state: AttachState): void;
  /** Something that was asked for was not done; `detail` is the server's own words. */
  refused?(frame: Extract<Told, { readonly type: 'refused' }>): void;
};

/** Why it is over: as a connection's end, but that breaks are mended as long as that makes sense. */
export type AttachEnd = ConnectionEnd;

const reconnectFirstMs = 200;
const reconnectLastMs = 5_000;
/** How long it tries to come back. */
const reconnectForMs = 120_000;
/** A connection that lasted this long was a good one: the next break is tried again at once. */
const settledMs = 10_000;
const keepAliveMs = attachLimits.leaseMs / 3;
/** A window that is dragged changes its size with every frame of the screen; the server cuts who sends all of that. */
const resizeMs = 50;

const nothing: AttachState = {
  ...{
    phase: 'connecting',
    brokenBy: null,
    connection: null,
    terminal: null,
    role: null,
    mode: null,
    moderated: false,
  },
  ...{ size: null, clients: [], input: null },
};

/**
 * A terminal as one client sees it, over as many connections as it takes: what breaks is connected again and goes on
 * behind the last byte that came, or with a snapshot where that is gone. Browser and command line share it.
 */
export class AttachSession {
  readonly #options: AttachOptions;
  readonly ended: Promise<AttachEnd>;
  readonly #end: (end: AttachEnd) => void;
  #state: AttachState = nothing;
  #connection: AttachConnection | null = null;
  #size: TerminalSize | null;
  #drive: AttachOptions['drive'] | null;
  /** Of output that came. */
  #offset: number | undefined;
  #first = true;
  #waitMs = reconnectFirstMs;
  #waitedMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #settling: ReturnType<typeof setTimeout> | undefined;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #resizing: ReturnType<typeof setTimeout> | undefined;

  constructor(options: AttachOptions) {
    this.#options = options;
    this.#size = options.size ?? null;
    this.#drive = options.drive ?? null;
    this.#offset = options.from;
    const { promise, resolve } = Promise.withResolvers<AttachEnd>();
    this.ended = promise;
    this.#end = resolve;
    void this.#connect();
  }

  get state(): AttachState {
    return this.#state;
  }

  /**
   * Types. Resolves when the bytes were handed on; false where they were not: there is no connection, or this client may
   * not type. A lease that nobody holds is asked for first.
   */
  async input(bytes: Uint8Array): Promise<boolean> {
    const { phase, role, input } = this.#state;
    const connection = this.#connection;
    if (connection === null || phase !== 'attached' || role !== 'driver') return false;
    if (input !== null && !input.allowed) {
      if (input.bar !== 'no-lease' || input.holder !== null) return false;
      void connection.control({ type: 'drive' });
    }
    await connection.input(bytes);
    return true;
  }

  /** The size that the terminal is to have; told to the server while this client drives, of many in a row the newest. */
  resize(size: TerminalSize): void {
    this.#size = size;
    if (this.#resizing !== undefined) return;
    this.#tellSize();
    this.#resizing = setTimeout(() => {
      this.#resizing = undefined;
      if (this.#size !== size) this.resize(this.#size ?? size);
    }, resizeMs);
  }

  /** Asks for the lease; `takeover` takes it from whoever has it. */
  drive(options: { readonly takeover?: boolean } = {}): void {
    this.#drive ??= 'ask';
    void this.#connection?.control({
      type: 'drive',
      ...(options.takeover === true ? { takeover: true } : {}),
    });
  }

  /** Gives the lease up, and does not ask for it again. */
  release(): void {
    this.#drive = null;
    void this.#connection?.control({ type: 'release' });
  }

  handOver(to: ConnectionId): void {
    this.#drive = null;
    void this.#connection?.control({ type: 'hand-over', to });
  }

  /** Leaves; the terminal goes on. */
  leave(): void {
    if (this.#connection === null) this.#finish({ by: 'client' });
    else this.#connection.leave();
  }

  async #connect(): Promise<void> {
    try {
      const ticket = await this.#options.ticket(this.#first);
      if (this.#state.phase === 'ended') return;
      this.#connection = new AttachConnection(
        this.#options.socket,
        { ticket, from: this.#offset },
        {
          welcome: (welcome) => this.#welcome(welcome),
          data: (_, bytes, snapshot) => {
            if (!snapshot) this.#offset = (this.#offset ?? 0) + bytes.length;
            return this.#options.output(bytes);
          },
          told: (frame) => this.#told(frame),
          ended: (end) => this.#broken(end),
        },
      );
    } catch (error) {
      this.#retry({ by: 'refusal', error: error as Error }, isFinal(error));
    }
  }

  #welcome(welcome: Welcome): void {
    const { connection, terminal, role, mode, moderated, size, offset, resumed } = welcome;
    this.#first = false;
    this.#waitedMs = 0;
    this.#offset = offset;
    this.#settling = setTimeout(() => {
      this.#waitMs = reconnectFirstMs;
    }, settledMs);
    if (!resumed) this.#options.redraw();
    this.#change({ phase: 'attached', brokenBy: null, connection, terminal, role, mode, moderated, size });
    if (role !== 'driver' || this.#drive === null) return;
    this.drive({ takeover: this.#drive === 'takeover' });
    this.#drive = 'ask';
  }

  #told(frame: Told): void {
    if (frame.type === 'clients') this.#change({ clients: frame.clients });
    if (frame.type === 'resized') this.#change({ size: frame.size });
    if (frame.type === 'settings') this.#change({ mode: frame.mode, moderated: frame.moderated });
    if (frame.type === 'refused') this.#options.refused?.(frame);
    if (frame.type !== 'input') return;
    const was = this.#state.input?.allowed ?? false;
    this.#change({
      input: frame.allowed
        ? { allowed: true, until: frame.until }
        : { allowed: false, bar: frame.bar, holder: frame.holder },
    });
    if (!was && frame.allowed) this.#tellSize();
  }

  #tellSize(): void {
    if (this.#size === null || this.#state.input?.allowed !== true) return;
    void this.#connection?.control({ type: 'resize', size: this.#size });
  }

  /** The lease is kept while this client has one, also while nobody types. */
  #keepLease(): void {
    const { connection, clients, input } = this.#state;
    const own = clients.find((client) => client.connection === connection);
    const holds = this.#state.phase === 'attached' && (input?.allowed === true || own?.driving === true);
    if (!holds) {
      clearInterval(this.#keepAlive);
      this.#keepAlive = undefined;
    } else
      this.#keepAlive ??= setInterval(
        () => void this.#connection?.control({ type: 'keep-alive' }),
        keepAliveMs,
      );
  }

  #broken(end: ConnectionEnd): void {
    this.#connection = null;
    clearTimeout(this.#settling);
    // Tickets are held in memory: a server that started again meanwhile knows no more of one that it just gave.
    const isUsedUp = end.by === 'refusal' && statusOf(end.error) === 401;
    const isFinalEnd = end.by === 'refusal' ? !isUsedUp && isFinal(end.error) : !mayReturn(end);
    this.#retry(end, isFinalEnd);
  }

  #retry(end: ConnectionEnd, final: boolean): void {
    if (this.#state.phase === 'ended') return;
    // Whoever never was there is told at once why.
    if (final || this.#first || this.#waitedMs >= reconnectForMs) {
      this.#finish(end);
      return;
    }
    const asked = end.by === 'refusal' ? retryAfterMsOf(end.error) : 0;
    const waitMs = Math.max(this.#waitMs, asked);
    this.#waitedMs += waitMs;
    this.#waitMs = Math.min(2 * this.#waitMs, reconnectLastMs);
    this.#change({ phase: 'broken', brokenBy: end, clients: [], input: null });
    this.#timer = setTimeout(() => void this.#connect(), waitMs);
  }

  #finish(end: AttachEnd): void {
    if (this.#state.phase === 'ended') return;
    clearTimeout(this.#timer);
    clearTimeout(this.#resizing);
    this.#change({ phase: 'ended', brokenBy: null, clients: [], input: null });
    this.#end(end);
  }

  #change(change: Partial<AttachState>): void {
    this.#state = { ...this.#state, ...change };
    this.#keepLease();
    this.#options.changed(this.#state);
  }
}

/** Whether coming again makes sense after such an end. */
function mayReturn(end: ConnectionEnd): boolean {
  if (end.by === 'network') return true;
  const passing = ['goingAway', 'internal', 'timeout', 'slow', 'unrecorded'];
  return end.by === 'server' && passing.includes(end.reason);
}

/** Whether the server said no; a break, an overload and a server that restarts may pass. */
function isFinal(error: unknown): boolean {
  const status = statusOf(error);
  if (status === null) return true;
  return status >= 400 && status < 500 && status !== 429 && status !== 408;
}

/** The status of a refusal, 0 where no server answered; null where it is another kind of error. */
function statusOf(error: unknown): number | null {
  const { status } = (error ?? {}) as { status?: unknown };
  return typeof status === 'number' ? status : null;
}

function retryAfterMsOf(error: unknown): number {
  const { retryAfterSeconds } = (error ?? {}) as { retryAfterSeconds?: unknown };
  return typeof retryAfterSeconds === 'number' ? retryAfterSeconds * 1000 : 0;
}
