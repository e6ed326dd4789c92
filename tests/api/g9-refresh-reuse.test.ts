import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { type IdentityDirectory, openIdentityDirectory } from '../../src/identity/open.ts';
import type { SignInId } from '../../src/model/ids.ts';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';
import type { Store } from '../../src/store/store.ts';
import { addUser, programOf } from '../support/identity-processes.ts';
import { testLives, testOrigin, testSealing } from '../support/test-control.ts';

/** G9 for refresh tokens: one use wins, whichever process it reaches, and the next ends the sign-in everywhere. */

const usesAtOnce = 50;
const child = join(import.meta.dirname, '..', 'support', 'oauth-process.ts');

type Site = { readonly process: ChildProcess; readonly url: string };
type Answer = { readonly status: number; readonly access: string | null; readonly refresh: string | null };

class Cluster {
  readonly #folder: string;
  readonly store: Store;
  readonly #directory: IdentityDirectory;
  readonly #sites: Site[] = [];

  private constructor(folder: string, store: Store, directory: IdentityDirectory) {
    this.#folder = folder;
    this.store = store;
    this.#directory = directory;
  }

  static async open(): Promise<Cluster> {
    const folder = await mkdtemp(join(tmpdir(), 'sealwright-refresh-'));
    const store = await openSqliteStore({ file: join(folder, 'store.db') });
    const directory = await openIdentityDirectory({
      store,
      clock: { now: () => Date.now(), monotonic: () => performance.now() },
      sealing: testSealing,
      publicUrl: testOrigin,
      trustDomain: 'sealwright.test',
      bootstrap: { secret: null },
      lives: testLives,
      onError: () => undefined,
    });
    await addUser(store, 'ann');
    return new Cluster(folder, store, directory);
  }

  async start(): Promise<Site> {
    const started = spawn(process.execPath, [child, join(this.#folder, 'store.db')], {
      env: { PATH: process.env.PATH, TMPDIR: this.#folder },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const url of createInterface({ input: started.stdout })) {
      const site = { process: started, url };
      this.#sites.push(site);
      return site;
    }
    throw new Error('the process did not start');
  }

  async signIn(): Promise<{ id: SignInId; token: string }> {
    const { record, refreshToken } = await this.#directory.signIns.openProgram(programOf('ann', Date.now()));
    return { id: record.id, token: refreshToken! };
  }

  async isAlive(id: SignInId): Promise<boolean> {
    return (await this.store.identity.signIns.get(id, Date.now())) !== null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#sites.map(kill));
    await this.#directory.close();
    await this.store.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function kill({ process: victim }: Site): Promise<void> {
  if (victim.exitCode !== null || victim.signalCode !== null) return;
  const exited = once(victim, 'exit');
  victim.kill('SIGKILL');
  await exited;
}

/** Null where nobody answered. */
async function refresh({ url }: Site, token: string): Promise<Answer | null> {
  const form = { grant_type: 'refresh_token', client_id: 'sealwright-cli', refresh_token: token };
  try {
    const response = await fetch(`${url}/oauth2/token`, { method: 'POST', body: new URLSearchParams(form) });
    const { access_token: access = null, refresh_token: next = null } = (await response.json()) as Record<
      string,
      string | undefined
    >;
    return { status: response.status, access, refresh: next };
  } catch {
    return null;
  }
}

async function works({ url }: Site, access: string): Promise<boolean> {
  const response = await fetch(`${url}/api/v1/whoami`, { headers: { authorization: `Bearer ${access}` } });
  await response.text();
  return response.status === 200;
}

/** Whatever a winner got is worth nothing once somebody else came with the same token. */
async function assertDead(cluster: Cluster, id: SignInId, sites: Site[], winners: Answer[]): Promise<void> {
  assert.equal(await cluster.isAlive(id), false, 'the sign-in is over');
  for (const site of sites)
    for (const { access, refresh: next } of winners) {
      const signal = AbortSignal.timeout(1000);
      while (await works(site, access!)) signal.throwIfAborted();
      assert.equal((await refresh(site, next!))?.status, 400);
    }
}

test('of fifty uses of one token at two processes one wins, and then the family is dead at both', async () => {
  await using cluster = await Cluster.open();
  const sites = [await cluster.start(), await cluster.start()];
  const control = await cluster.signIn();
  const alone = await refresh(sites[0]!, control.token);
  assert.equal(alone?.status, 200);
  assert.equal(await works(sites[1]!, alone!.access!), true, 'one use alone works everywhere');
  for (let round = 0; round < 5; round += 1) {
    const { id, token } = await cluster.signIn();
    const uses = Array.from({ length: usesAtOnce }, (_, index) => refresh(sites[index % 2]!, token));
    const answers = (await Promise.all(uses)).filter((answer) => answer !== null);
    assert.equal(answers.length, usesAtOnce);
    const winners = answers.filter(({ status }) => status === 200);
    assert.equal(winners.length, 1);
    assert(answers.every(({ status }) => status === 200 || status === 400));
    await assertDead(cluster, id, sites, winners);
    assert.equal((await refresh(sites[0]!, token))?.status, 400);
  }
  assert.equal(await works(sites[0]!, alone!.access!), true, 'and nobody else is hurt');
});

test('the same while one of them is killed: nobody wins twice, and nothing that was won survives', async () => {
  await using cluster = await Cluster.open();
  const other = await cluster.start();
  for (let round = 0; round < 3; round += 1) {
    const victim = await cluster.start();
    const { id, token } = await cluster.signIn();
    const uses = Array.from({ length: usesAtOnce }, (_, index) =>
      refresh(index % 2 === 0 ? victim : other, token),
    );
    // At the first answer, at the tenth, and at the start: what is in the middle then is cut off.
    const seen = [1, 10, 0][round]!;
    let answered = 0;
    const killing = new Promise<void>((resolve) => {
      const count = () => {
        answered += 1;
        if (answered > seen) resolve(kill(victim));
      };
      count();
      for (const use of uses) void use.then(count);
    });
    const answers = (await Promise.all(uses)).filter((answer) => answer !== null);
    await killing;
    const winners = answers.filter(({ status }) => status === 200);
    assert(winners.length <= 1, `${winners.length} won`);
    const again = await cluster.start();
    assert.equal((await refresh(again, token))?.status, 400, 'a process that starts later knows it too');
    await assertDead(cluster, id, [again, other], winners);
  }
});
