import { setTimeout as pause } from 'node:timers/promises';
import { errorOfEnd } from '../../client/attach/pipes.ts';
import type { AttachEnd, AttachOptions, AttachSession, AttachState } from '../../client/attach/session.ts';
import type { AttachRole, TerminalSize } from '../../model/terminal.ts';
import { terminalBounds } from '../../model/terminal.ts';
import type { Api } from '../api.ts';
import { type Context, note } from '../context.ts';
import type { Environment, UserTerminal } from '../environment.ts';
import { escapeLine } from '../escape.ts';
import { CliFailure } from '../failure.ts';
import { cliLimits } from '../limits.ts';
import { DetachKeys } from './detach-keys.ts';
import { draws, drives, type EscapePolicy } from './escape-policy.ts';
import { TerminalFilter } from './terminal-filter.ts';
import { type WheelChoice, WheelMenu } from './wheel-menu.ts';

export type Interactive = {
  /** `role`: a viewer may become a driver. */
  ticket(first: boolean, role: AttachRole): ReturnType<AttachOptions['ticket']>;
  /** Output from there on in place of a snapshot, where it is still there. */
  readonly from?: number | undefined;
  readonly role: AttachRole;
  readonly takeover?: boolean | undefined;
  readonly detachKeys: readonly number[];
  /** Said once it is attached; null for nothing. */
  hello(state: AttachState): string | null;
};

export type Interaction =
  | { readonly by: 'command'; readonly code: number | null; readonly signal: string | null }
  /** The user left; the terminal goes on. */
  | { readonly by: 'user' }
  | { readonly by: 'signal'; readonly signal: NodeJS.Signals }
  /** ApiError where the server said or was it. */
  | { readonly by: 'failure'; readonly error: Error };

/** The user's terminal. Throws CliFailure where there is none. */
export function terminalOf({ terminal }: Environment, command: string): UserTerminal {
  if (terminal !== null) return terminal;
  throw new CliFailure(`${command} needs a terminal at standard input and output, and here is none.`, {
    hint: 'For pipes: sealwright run and sealwright exec --no-tty, sealwright logs -f, sealwright replay.',
  });
}

export function sizeOf(terminal: UserTerminal): TerminalSize {
  const { columns, rows } = terminal.size();
  const within = (value: number, max: number) => Math.min(Math.max(1, value), max);
  return {
    columns: within(columns, terminalBounds.columnsMax),
    rows: within(rows, terminalBounds.rowsMax),
  };
}

/**
 * Connects the user's terminal with one of a run until one of them leaves. What comes is drawn as far as `drives` or
 * `draws` allows, and the terminal is as it was before when this returns, whatever happened.
 */
export async function interact(
  { environment }: Context,
  api: Api,
  terminal: UserTerminal,
  options: Interactive,
): Promise<Interaction> {
  const screen = new LiveScreen(environment, api, terminal, options);
  await screen.begin();
  return await screen.end(await screen.ended);
}

/** One session of this terminal: the role belongs to it, and who becomes a driver gets another. */
type Link = { readonly role: AttachRole; session: AttachSession | null };

/** The user's end of it. */
class LiveScreen {
  readonly #environment: Environment;
  readonly #api: Api;
  readonly #terminal: UserTerminal;
  readonly #options: Interactive;
  readonly ended: Promise<AttachEnd>;
  readonly #over: (end: AttachEnd) => void;
  readonly #detach: DetachKeys;
  /** What is shown, and typed to. */
  #link: Link;
  /** Is to take the place of it once it is attached. */
  #next: Link | null = null;
  #filter: TerminalFilter;
  #menu: WheelMenu | null = null;
  #restore: (() => void) | null = null;
  readonly #off: (() => void)[] = [];
  #left: Extract<Interaction, { by: 'user' | 'signal' }> | null = null;
  #said: string | null = null;
  #broken = false;
  #greeting: NodeJS.Timeout | undefined;
  #written: Promise<void> = Promise.resolve();

  constructor(environment: Environment, api: Api, terminal: UserTerminal, options: Interactive) {
    this.#environment = environment;
    this.#api = api;
    this.#terminal = terminal;
    this.#options = options;
    this.#detach = new DetachKeys(options.detachKeys);
    this.#link = { role: options.role, session: null };
    this.#filter = new TerminalFilter(policyOf(options.role), 'raw');
    const { promise, resolve } = Promise.withResolvers<AttachEnd>();
    this.ended = promise;
    this.#over = resolve;
  }

  async begin(): Promise<void> {
    const { from, role, takeover } = this.#options;
    const drive = role === 'driver' ? (takeover === true ? 'takeover' : 'ask') : undefined;
    const session = await this.#open(this.#link, { from, drive });
    this.#off.push(
      this.#environment.onInterrupt((signal) => this.#leave({ by: 'signal', signal })),
      this.#terminal.onResize(() => this.#link.session?.resize(sizeOf(this.#terminal))),
    );
    if (session.state.phase === 'attached') this.#enter(session.state);
  }

  async #open(link: Link, wish: Pick<AttachOptions, 'from' | 'drive'>): Promise<AttachSession> {
    const isShown = () => this.#link === link;
    link.session = await this.#api.attach.openTerminal({
      ticket: (first) => this.#options.ticket(first, link.role),
      ...(wish.from === undefined ? {} : { from: wish.from }),
      ...(wish.drive === undefined ? {} : { drive: wish.drive }),
      size: sizeOf(this.#terminal),
      redraw: () => {
        this.#show(link);
        if (isShown()) this.redraw();
      },
      output: (bytes) => (isShown() ? this.output(bytes) : undefined),
      changed: (state) => {
        if (state.phase === 'attached') this.#show(link);
        if (isShown()) this.changed(state);
      },
      refused: ({ of, detail }) => {
        if (of !== 'data' && isShown()) this.say(`not done: ${detail}`);
      },
    });
    void link.session.ended.then((end) => {
      if (isShown()) this.#over(end);
      else if (this.#next === link) this.#notTaken(errorOfEnd(end));
    });
    return link.session;
  }

  /** The role belongs to the ticket: who watched until now attaches anew, and goes on watching until that is done. */
  async #becomeDriver(takeover: boolean): Promise<void> {
    if (this.#next !== null) return;
    const link: Link = { role: 'driver', session: null };
    this.#next = link;
    try {
      const session = await this.#open(link, { drive: takeover ? 'takeover' : 'ask' });
      // It may be over meanwhile.
      if (this.#next !== link && this.#link !== link) session.leave();
    } catch (error) {
      this.#notTaken(error as Error);
    }
  }

  #notTaken(error: Error): void {
    this.#next = null;
    if (this.#left === null) this.say(`not done: ${error.message}`);
  }

  #show(link: Link): void {
    if (this.#next !== link) return;
    const before = this.#link;
    this.#link = link;
    this.#next = null;
    this.#write(this.#filter.restore());
    this.#filter = new TerminalFilter(policyOf(link.role), 'raw');
    // What was said of the one before, so that it is said that this one drives.
    this.#said = '';
    before.session?.leave();
  }

  redraw(): void {
    this.#write(`${this.#filter.restore()}\x1b[H\x1b[2J`);
  }

  output(bytes: Uint8Array): Promise<void> {
    return this.#write(this.#filter.bytes(bytes));
  }

  changed(state: AttachState): void {
    if (state.phase === 'broken' && !this.#broken) this.say('the connection broke; connecting again …');
    if (state.phase === 'attached' && this.#broken) this.say('connected again');
    this.#broken = state.phase === 'broken';
    if (state.phase !== 'attached' || this.#link.session === null) return;
    this.#enter(state);
    const text = this.#link.role === 'driver' ? inputText(state) : null;
    if (text === null || text === this.#said) return;
    const isFirst = this.#said === null;
    this.#said = text;
    // That one drives is what one expects at first.
    if (!isFirst || state.input?.allowed !== true) this.say(text);
  }

  /**
   * One line for the user. While a program draws, it is laid over the last line of the screen and the cursor stays where it
   * is: the program thinks that the screen is as it left it.
   */
  say(text: string): void {
    if (this.#restore === null) {
      void note(this.#environment, text).catch(() => {});
      return;
    }
    const { columns, rows } = sizeOf(this.#terminal);
    const line = `sealwright: ${escapeLine(text)}`.slice(0, columns - 1);
    this.#write(`\x1b7\x1b[${rows};1H\x1b[0;7m${line}\x1b[0m\x1b[K\x1b8`);
  }

  async end(end: AttachEnd): Promise<Interaction> {
    // What the terminal still answers to a program would be typed into the user's own shell.
    const next = this.#next;
    this.#next = null;
    next?.session?.leave();
    if (this.#restore !== null && this.#link.role === 'driver') await pause(cliLimits.lateAnswersMs);
    for (const off of this.#off) off();
    clearTimeout(this.#greeting);
    const back = this.#filter.restore();
    const isLeft = this.#left !== null && end.by !== 'command';
    if (this.#restore !== null && (back !== '' || isLeft)) this.#write(`${back}${isLeft ? '\r\n' : ''}`);
    await this.#written;
    this.#restore?.();
    this.#restore = null;
    if (end.by === 'command') return end;
    return this.#left ?? { by: 'failure', error: errorOfEnd(end) };
  }

  /** Keys are taken once there is somebody to give them to. */
  #enter(state: AttachState): void {
    if (this.#restore !== null) return;
    const hello = this.#options.hello(state);
    // Behind the snapshot, which would wipe it away.
    if (hello !== null) this.#greeting = setTimeout(() => this.say(hello), cliLimits.snapshotDrawnMs);
    this.#restore = this.#terminal.raw({
      keys: (bytes) => this.#typed(bytes),
      gone: () => this.#leave({ by: 'signal', signal: 'SIGHUP' }),
      back: () => this.#filter.restore(),
    });
  }

  #typed(typed: Uint8Array): void {
    for (let rest = typed; rest.length > 0 && this.#left === null; ) {
      if (this.#menu !== null) {
        const isDone = this.#chosen(this.#menu.choose(rest[0]!));
        // The rest of a key that is more than one byte is for nobody.
        rest = isDone ? rest.subarray(1) : new Uint8Array();
        continue;
      }
      const taken = this.#detach.take(rest);
      this.#type(taken.bytes);
      if (taken.act === 'leave') this.#leave({ by: 'user' });
      if (taken.act === 'wheel') this.#openMenu();
      rest = taken.rest;
    }
  }

  #type(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#link.role !== 'driver') return;
    void this.#link.session?.input(bytes).then((taken) => {
      if (!taken && this.#left === null) this.#write('\x07');
    });
  }

  #openMenu(): void {
    const { session } = this.#link;
    if (session?.state.phase !== 'attached') {
      this.say('not connected now');
      return;
    }
    const state = () => this.#link.session?.state ?? session.state;
    this.#menu = new WheelMenu(state, () => sizeOf(this.#terminal).columns);
    this.say(this.#menu.text);
  }

  /** Whether what follows is still for somebody. */
  #chosen(choice: WheelChoice): boolean {
    const { session, role } = this.#link;
    if (choice.act === 'ask') {
      this.say(choice.text);
      return true;
    }
    this.#menu = null;
    if (choice.act === 'type') this.#type(this.#detach.wheel);
    else if (choice.act === 'release') session?.release();
    else if (choice.act === 'hand-over') session?.handOver(choice.to);
    else if (choice.act === 'drive' && role === 'driver') session?.drive({ takeover: choice.takeover });
    else if (choice.act === 'drive') void this.#becomeDriver(choice.takeover);
    else this.say('nothing changed');
    return choice.act !== 'close';
  }

  #leave(how: Extract<Interaction, { by: 'user' | 'signal' }>): void {
    this.#left ??= how;
    this.#link.session?.leave();
  }

  #write(text: string): Promise<void> {
    if (text === '') return this.#written;
    const written = this.#environment.stdout.write(text);
    this.#written = written.catch(() => this.#leave({ by: 'signal', signal: 'SIGHUP' }));
    return this.#written;
  }
}

function policyOf(role: AttachRole): EscapePolicy {
  return role === 'driver' ? drives : draws;
}

/** Why keys go nowhere, or that they do. */
function inputText({ input, clients }: AttachState): string | null {
  if (input === null) return null;
  if (input.allowed) return 'you drive';
  const holder = clients.find(({ connection }) => connection === input.holder)?.actor ?? 'somebody else';
  switch (input.bar) {
    case 'viewer':
      return 'you watch';
    case 'no-lease':
      return input.holder === null ? 'nobody drives; type to drive' : `${holder} drives, you watch`;
    case 'no-observer':
      return 'nobody who may watch is attached, so keys are not passed on: this session is moderated';
    case 'unrecorded':
      return 'what is typed cannot be recorded now, so keys are not passed on';
  }
}

/** The status of a program that was left because of a signal. */
export function statusOfSignal(signal: NodeJS.Signals): number {
  return 128 + ({ SIGINT: 2, SIGTERM: 15 }[signal as string] ?? 1);
}
