import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ApiError } from '../../src/client/api-error.ts';
import type { Client } from '../../src/client/client.ts';
import type { RunView } from '../../src/contract/schemas.ts';
import type { SessionId } from '../../src/model/ids.ts';
import { isTerminal } from '../../src/model/run.ts';
import { type Seeded, seeded } from './seeded.ts';

/** Whether a change was asked for, and whether the server said that it is made. */
type Asked = 'no' | 'asked' | 'told';
type Kind = 'quick' | 'failing' | 'slow' | 'endless' | 'repository';

export type ToldRun = {
  readonly id: string;
  readonly key: string;
  readonly kind: Kind;
  stop: Asked;
  close: Asked;
  remove: Asked;
  /** The end as it was first seen; it may never change. */
  end: string | null;
};

type ToldSession = { readonly id: SessionId; readonly name: string; readonly repo: boolean; close: Asked };

const bundleChunkBytes = 64 * 1024;
const secret = 'the value that the environment holds';

const scripts: Readonly<Record<Kind, (key: string) => string>> = {
  quick: (key) => `echo ${key}; [ "$SECRET" = '${secret}' ] && echo kept`,
  failing: (key) => `echo ${key} >&2; exit 3`,
  slow: (key) => `echo ${key}; sleep 0.4; echo again; sleep 0.4; echo kept`,
  endless: (key) => `echo ${key}; exec sleep 600`,
  repository: (key) => `cat /workspace/known && echo ${key} >> /workspace/added && echo kept`,
};

/**
 * A scripted crowd that keeps making, stopping and removing things while the server is killed. What is cut off
 * is repeated with the same idempotency key until it is answered, so that at any time everything that exists
 * was acknowledged, once, and everything that was acknowledged must exist.
 */
export class CrashWork {
  readonly runs = new Map<string, ToldRun>();
  readonly sessions = new Map<string, ToldSession>();
  readonly revokedTokens: string[] = [];
  /** What no caller may see, in words. */
  readonly problems: string[] = [];
  repeated = 0;
  readonly #random: Seeded;
  readonly #client: () => Client;
  readonly #bundle: Buffer;
  #stopping = false;
  #lanes: Promise<void>[] = [];
  #keys = 0;

  constructor(options: { random: Seeded; client: () => Client }) {
    this.#random = options.random;
    this.#client = options.client;
    this.#bundle = sampleBundle();
  }

  start(lanes: number): void {
    this.#lanes = Array.from({ length: lanes }, (_, index) => this.#lane(index));
  }

  /** Lets every lane finish what it is at. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#lanes);
  }

  async #lane(index: number): Promise<void> {
    const lane = new Lane(this, seeded(this.#random.seed + 1 + index));
    while (!this.#stopping) {
      try {
        await lane.step();
      } catch (error) {
        this.problems.push(
          error instanceof ApiError ? `${error.status} ${error.code} ${error.detail}` : String(error),
        );
        await pause(100);
      }
    }
  }

  key(): string {
    this.#keys += 1;
    return `key-${this.#random.seed}-${this.#keys}`;
  }

  /** Repeats what was cut off or refused for the moment. `absentIs`: what a repetition may find gone. */
  async sure<T>(act: (client: Client) => Promise<T>, absentIs?: T): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await act(this.#client());
      } catch (error) {
        if (!(error instanceof ApiError)) throw error;
        if (attempt > 1 && error.status === 404 && absentIs !== undefined) return absentIs;
        if (error.status !== 0 && error.status !== 503) throw error;
        this.repeated += 1;
        await pause(this.#random.between(10, 60));
      }
    }
  }

  async makeSession(withRepository: boolean): Promise<ToldSession> {
    const name = this.key();
    const repo = withRepository ? { upload: (await this.#upload()).id as never } : undefined;
    const request = { name, ...(repo === undefined ? {} : { repo }) };
    const made = await this.sure((client) => client.sessions.create(request, { idempotencyKey: name }));
    const told: ToldSession = { id: made.id, name, repo: withRepository, close: 'no' };
    this.sessions.set(told.id, told);
    return told;
  }

  async #upload(): Promise<{ id: string }> {
    const slowly = this.#random.fraction() < 0.5;
    const bundle = this.#bundle;
    async function* bytes(): AsyncGenerator<Buffer> {
      for (let at = 0; at < bundle.length; at += bundleChunkBytes) {
        if (slowly) await pause(5);
        yield bundle.subarray(at, at + bundleChunkBytes);
      }
    }
    return await this.sure((client) => client.uploads.store(bytes()));
  }

  async makeRun(session: ToldSession, kind: Kind): Promise<ToldRun> {
    const key = this.key();
    const command = ['/bin/sh', '-c', scripts[kind](key)];
    const request = { session: session.id, name: key, command, env: { SECRET: secret } };
    const made = await this.sure((client) => client.runs.create(request, { idempotencyKey: key }));
    const told: ToldRun = { id: made.id, key, kind, stop: 'no', close: 'no', remove: 'no', end: null };
    this.runs.set(told.id, told);
    return told;
  }

  async stopRun(run: ToldRun): Promise<void> {
    run.stop = 'asked';
    await this.sure((client) => client.runs.stop(run.id));
    run.stop = 'told';
  }

  /** A server that ends answers with the run as it is, so this asks until it has ended. */
  async ended(run: ToldRun): Promise<RunView> {
    for (;;) {
      const view = await this.sure((client) => client.runs.wait(run.id, { timeoutSeconds: 30 }));
      if (isTerminal(view.phase)) return view;
    }
  }

  async removeRun(run: ToldRun): Promise<void> {
    await this.ended(run);
    run.remove = 'asked';
    await this.sure((client) => client.runs.remove(run.id).then(() => true), true);
    run.remove = 'told';
  }

  async closeSession(session: ToldSession, runs: readonly ToldRun[]): Promise<void> {
    session.close = 'asked';
    for (const run of runs) run.close = 'asked';
    await this.sure((client) => client.sessions.close(session.id));
    session.close = 'told';
  }

  /** A token that is made and revoked. */
  async useToken(): Promise<void> {
    const name = this.key();
    const request = { name, scopes: ['run:read' as const], reach: 'own' as const };
    const made = await this.sure((client) => client.tokens.create(request));
    await this.sure((client) => client.tokens.revoke(made.id).then(() => true), true);
    this.revokedTokens.push(made.id);
  }
}

/** One member of the crowd, with sessions of its own. */
class Lane {
  readonly #work: CrashWork;
  readonly #random: Seeded;
  #session: ToldSession | null = null;
  #runs: ToldRun[] = [];

  constructor(work: CrashWork, random: Seeded) {
    this.#work = work;
    this.#random = random;
  }

  async step(): Promise<void> {
    const random = this.#random.fraction();
    if (this.#session === null || this.#runs.length > 12) return await this.#renew();
    if (random < 0.55) return await this.#run(this.#session);
    if (random < 0.75) return await this.#stop();
    if (random < 0.85) return await this.#remove();
    if (random < 0.92) return await this.#work.useToken();
    await this.#rename(this.#session);
  }

  async #renew(): Promise<void> {
    const old = this.#session;
    this.#session = null;
    if (old !== null && this.#random.fraction() < 0.7) await this.#work.closeSession(old, this.#runs);
    else for (const run of this.#runs) if (run.kind === 'endless') await this.#work.stopRun(run);
    this.#runs = [];
    this.#session = await this.#work.makeSession(this.#random.fraction() < 0.4);
  }

  async #run(session: ToldSession): Promise<void> {
    const kinds: Kind[] = ['quick', 'failing', 'slow', 'endless'];
    const kind = session.repo && this.#random.fraction() < 0.6 ? 'repository' : this.#random.pick(kinds);
    this.#runs.push(await this.#work.makeRun(session, kind));
    if (this.#random.fraction() < 0.3) await pause(this.#random.between(0, 200));
  }

  async #stop(): Promise<void> {
    const run = this.#runs.find(({ kind, stop }) => kind === 'endless' && stop === 'no');
    if (run !== undefined) await this.#work.stopRun(run);
  }

  async #remove(): Promise<void> {
    const run = this.#runs.find(({ kind, stop }) => kind !== 'endless' || stop === 'told');
    if (run === undefined || this.#runs.some(({ kind, stop }) => kind === 'endless' && stop === 'no')) return;
    this.#runs = this.#runs.filter((other) => other !== run);
    await this.#work.removeRun(run);
  }

  async #rename(session: ToldSession): Promise<void> {
    const { name } = session;
    const renamed = await this.#work.sure((client) => client.sessions.rename(session.id, name));
    if (renamed.name !== name) this.#work.problems.push(`${session.id} did not keep its name`);
  }
}

/** Times at which the runner was made to end, in ms of the epoch: only runs alive then may be lost. */
export type RunnerDeaths = readonly { readonly from: number; readonly to: number }[];

/**
 * What is wrong with the server's present state, given what callers were told before. Nothing that was
 * acknowledged is gone, no end changes, and every end has a reason that this caller or a kill gave.
 */
export async function contradictions(
  work: CrashWork,
  client: Client,
  deaths: RunnerDeaths,
): Promise<string[]> {
  const [toldRuns, toldSessions] = [[...work.runs.values()], [...work.sessions.values()]];
  const before = new Map(toldRuns.map((run) => [run.id, { ...run }]));
  const closed = new Set(toldSessions.filter(({ close }) => close === 'told').map(({ id }) => id));
  const revoked = [...work.revokedTokens];
  const runs = new Map<string, RunView>();
  for await (const run of client.runs.all()) runs.set(run.id, run);
  const phases = new Map<string, string>();
  for await (const session of client.sessions.all()) phases.set(session.id, session.phase);
  const found = await unrevoked(client, revoked);
  for (const { id } of toldSessions) {
    const phase = phases.get(id);
    if (phase === undefined) found.push(`session ${id} is gone`);
    else if (closed.has(id) && !/^(terminating|closed)$/.test(phase))
      found.push(`session ${id} was closed and is ${phase}`);
  }
  for (const told of toldRuns) {
    const [view, was] = [runs.get(told.id), before.get(told.id)!];
    if (view === undefined && told.remove === 'no') found.push(`run ${told.id} is gone`);
    if (view !== undefined && was.remove === 'told') found.push(`run ${told.id} was removed and is there`);
    if (view !== undefined) found.push(...wrongEnd(told, view, deaths));
  }
  return found;
}

async function unrevoked(client: Client, revoked: readonly string[]): Promise<string[]> {
  const there = new Set<string>();
  for await (const token of client.tokens.all()) there.add(token.id);
  return revoked.filter((id) => there.has(id)).map((id) => `token ${id} was revoked and is there`);
}

/** Names under which something was made more than once. */
export async function doubles(work: CrashWork, client: Client): Promise<string[]> {
  const names: string[] = [];
  for await (const run of client.runs.all())
    if (!work.runs.has(run.id)) names.push(`run ${run.id} ${run.name}`);
  for await (const session of client.sessions.all())
    if (!work.sessions.has(session.id)) names.push(`session ${session.id} ${session.name}`);
  return names;
}

function wrongEnd(told: ToldRun, view: RunView, deaths: RunnerDeaths): string[] {
  if (!isTerminal(view.phase))
    return told.end === null ? [] : [`run ${view.id} had ended and is ${view.phase}`];
  const { phase, cause, reason, exitCode, signal, finishedAt } = view;
  const end = JSON.stringify({ phase, cause, reason, exitCode, signal, finishedAt });
  if (told.end !== null && told.end !== end)
    return [`run ${view.id} ended as ${told.end} and then as ${end}`];
  const isNew = told.end === null;
  told.end = end;
  return !isNew || mayEndSo(told, view, deaths)
    ? []
    : [`run ${view.id} (${told.kind}, stop ${told.stop}, close ${told.close}) ended as ${end}`];
}

function mayEndSo(told: ToldRun, view: RunView, deaths: RunnerDeaths): boolean {
  const { phase, cause, exitCode } = view;
  if (phase === 'succeeded') return told.kind !== 'failing' && told.kind !== 'endless' && exitCode === 0;
  if (phase === 'cancelled') return told.stop !== 'no' || told.close !== 'no';
  if (phase !== 'failed') return false;
  if (cause === 'exit') return told.kind === 'failing' && exitCode === 3;
  const [from, to] = [Date.parse(view.createdAt), Date.parse(view.finishedAt!)];
  return cause === 'runner-lost' && deaths.some((death) => death.from <= to && death.to >= from);
}

/** What is wrong with the output of runs that succeeded: all of it must be there, once. */
export async function wrongOutputs(work: CrashWork, client: Client): Promise<string[]> {
  const wrong: string[] = [];
  for (const { id, key, kind, end, remove } of work.runs.values()) {
    if (remove !== 'no' || end === null || JSON.parse(end).phase !== 'succeeded') continue;
    let text = '';
    for await (const event of client.runs.logs(id))
      if ('bytes' in event) text += event.bytes.toString('utf8');
    const expected =
      { slow: `${key}\nagain\nkept\n`, repository: 'known\nkept\n' }[kind as 'slow'] ?? `${key}\nkept\n`;
    if (text !== expected) wrong.push(`run ${id} (${kind}) wrote ${JSON.stringify(text)}`);
  }
  return wrong;
}

/** A bundle of a repository with one known line and enough bytes that its upload and import take a moment. */
export function sampleBundle(bytes = 1_500_000): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-bundle-'));
  const git = (...words: string[]) =>
    execFileSync('git', ['-C', folder, '-c', 'user.name=t', '-c', 'user.email=t@t.invalid', ...words], {
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: folder, GIT_CONFIG_NOSYSTEM: '1' },
    });
  try {
    git('init', '--quiet', '--initial-branch=main');
    writeFileSync(join(folder, 'known'), 'known\n');
    for (let part = 0; part < 10; part += 1)
      writeFileSync(join(folder, `bytes-${part}`), randomBytes(Math.ceil(bytes / 10)));
    git('add', '.');
    git('commit', '--quiet', '-m', 'known');
    git('bundle', 'create', '--quiet', 'all.bundle', 'HEAD', 'main');
    return readFileSync(join(folder, 'all.bundle'));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
