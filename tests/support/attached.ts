import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import headless from '@xterm/headless';
import { ApiError } from '../../src/client/api-error.ts';
import type { AttachEnd, AttachSession, AttachState } from '../../src/client/attach/session.ts';
import { type Client, createClient } from '../../src/client/client.ts';
import type { AttachTicketView, CreateAttachTicket } from '../../src/contract/attach-schemas.ts';
import type { CreateRun } from '../../src/contract/schemas.ts';
import type { RunId, SessionId } from '../../src/model/ids.ts';
import { defaultTerminalSize, type TerminalSize } from '../../src/model/terminal.ts';
import type { Instance } from './instance.ts';

const shownMs = 30_000;
/** What of the output a test looks through. */
const keptCharacters = 4 * 1024 * 1024;

export type AttachWish = Pick<CreateAttachTicket, 'role' | 'terminal'> & {
  /** Whether a driver asks for the lease, and waits for it; `takeover` from whoever has it, `later` not yet. */
  readonly drive?: 'ask' | 'takeover' | 'later' | undefined;
  readonly from?: number;
  readonly size?: TerminalSize;
};

/** Somebody who is attached to a terminal, by the client that pages and command line have. */
export type Attached = {
  readonly session: AttachSession;
  readonly ended: Promise<AttachEnd>;
  /** The newest output, as it came. */
  text(): string;
  /** How much output came, pictures of the screen too. */
  bytes(): number;
  /** How often the screen began anew: once, and once more for each time at which something was missed. */
  redraws(): number;
  /** How often the connection broke. */
  breaks(): number;
  /** Resolves with the match once the output shows it; rejects when it ends before. */
  shows(pattern: RegExp): Promise<RegExpExecArray>;
  /** Resolves once what is known of it is so. */
  is(check: (state: AttachState) => boolean): Promise<void>;
  /** Types, as one who drives. */
  type(text: string): Promise<void>;
  /** The lines that its screen shows, without the blanks at their ends. */
  screen(): Promise<string[]>;
  leave(): Promise<void>;
};

/** What somebody who is attached has seen, and whoever waits for more of it. */
class Seen {
  text = '';
  bytes = 0;
  redraws = 0;
  breaks = 0;
  end: AttachEnd | null = null;
  readonly screen: headless.Terminal;
  readonly #looks = new Set<() => void>();

  constructor({ columns, rows }: TerminalSize) {
    this.screen = new headless.Terminal({ cols: columns, rows, allowProposedApi: true, logLevel: 'off' });
  }

  redraw(): void {
    this.redraws += 1;
    this.screen.reset();
  }

  output(bytes: Uint8Array): void {
    this.text = (this.text + Buffer.from(bytes).toString('latin1')).slice(-keptCharacters);
    this.bytes += bytes.length;
    this.screen.write(bytes);
    this.changed();
  }

  changed(): void {
    for (const look of [...this.#looks]) look();
  }

  /** Resolves with what is found once something is; rejects when it ends before, or takes too long. */
  async until<T>(what: string, find: () => T | null): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const fail = (why: string) =>
      reject(new Error(`${why} before ${what}: ${JSON.stringify(this.text.slice(-500))}`));
    const look = () => {
      const found = find();
      if (found !== null) resolve(found);
      else if (this.end !== null) fail(`it ended (${endText(this.end)})`);
    };
    const timer = setTimeout(() => fail('it took too long'), shownMs);
    this.#looks.add(look);
    look();
    return await promise.finally(() => {
      clearTimeout(timer);
      this.#looks.delete(look);
    });
  }

  async lines(): Promise<string[]> {
    await new Promise<void>((resolve) => this.screen.write('', resolve));
    const { active } = this.screen.buffer;
    return Array.from({ length: this.screen.rows }, (_, row) =>
      active.getLine(active.viewportY + row)!.translateToString(true),
    );
  }
}

/** Resolves once it is attached, and may type where it is to drive; rejects where it is turned away. */
export async function attach(client: Client, run: string, wish: AttachWish = {}): Promise<Attached> {
  const { role = 'viewer', terminal, from, size } = wish;
  const asked = wish.drive ?? (role === 'driver' ? 'ask' : 'later');
  const drive = asked === 'later' ? undefined : asked;
  const seen = new Seen(size ?? defaultTerminalSize);
  const session = await client.attach.openTerminal({
    ticket: () => attachTicket(client, run, { role, ...(terminal === undefined ? {} : { terminal }) }),
    ...{ drive, from, size },
    redraw: () => seen.redraw(),
    output: (bytes) => seen.output(bytes),
    changed: ({ phase, size: now }) => {
      if (phase === 'broken') seen.breaks += 1;
      if (now !== null) seen.screen.resize(now.columns, now.rows);
      seen.changed();
    },
  });
  void session.ended.then((end) => {
    seen.end = end;
    seen.changed();
  });
  const is = async (check: (state: AttachState) => boolean) => {
    await seen.until(String(check), () => (check(session.state) ? true : null));
  };
  await is(({ phase, input }) => phase === 'attached' && (drive === undefined || input?.allowed === true));
  return {
    ...{ session, ended: session.ended, is },
    text: () => seen.text,
    bytes: () => seen.bytes,
    redraws: () => seen.redraws,
    breaks: () => seen.breaks,
    shows: (pattern) => seen.until(String(pattern), () => pattern.exec(seen.text)),
    type: async (text) => assert(await session.input(Buffer.from(text)), 'it may type'),
    screen: () => seen.lines(),
    leave: async () => {
      session.leave();
      await session.ended;
      seen.screen.dispose();
    },
  };
}

function endText(end: AttachEnd): string {
  return end.by === 'refusal' ? `refusal: ${end.error.message}` : JSON.stringify(end);
}

/** A ticket; a run that has not begun yet is asked again. */
export async function attachTicket(
  client: Client,
  run: string,
  request: CreateAttachTicket,
): Promise<AttachTicketView> {
  for (const end = performance.now() + shownMs; ; await pause(10)) {
    try {
      return await client.attach.ticket(run, request);
    } catch (error) {
      const isEarly =
        error instanceof ApiError &&
        error.code === 'state.conflict' &&
        ['queued', 'starting'].includes((await client.runs.get(run)).phase);
      if (!isEarly || performance.now() > end) throw error;
    }
  }
}

/** A run in a terminal, in a session of its own that people may attach to. */
export async function terminalRun(
  client: Client,
  command: readonly string[],
  more: Partial<Omit<CreateRun, 'command'>> & { readonly size?: TerminalSize } = {},
): Promise<{ readonly id: RunId; readonly session: SessionId }> {
  const { size = defaultTerminalSize, ...options } = more;
  const session = options.session ?? (await client.sessions.create({ attach: { enabled: true } })).id;
  const run = await client.runs.create({
    ...{ diff: false, ...options, session, command: [...command], terminal: size },
  });
  return { id: run.id, session };
}

/** A client of a service of its own, since one actor has few connections; it sees and drives all runs. */
export async function otherActor(
  { client, url }: Instance,
  name: string,
): Promise<Client & { token: string }> {
  const scopes = ['session:read', 'run:read', 'control:write'] as const;
  await client.roles.put('watcher', { scopes: [...scopes], reach: 'all' }).catch(() => undefined);
  const { id } = await client.agents.create({ kind: 'service', name, role: 'watcher' });
  const { secret } = await client.agents.addSecret(id, { expiresInSeconds: 3_600 });
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: id,
    client_secret: secret,
  });
  const answer = await fetch(`${url}/oauth2/token`, { method: 'POST', body });
  assert.equal(answer.status, 200, await answer.clone().text());
  const { access_token: token } = (await answer.json()) as { access_token: string };
  return { ...createClient({ url, token }), token };
}
