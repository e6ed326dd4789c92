import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type IdentityDirectory, openIdentityDirectory } from '../../src/identity/open.ts';
import type { NewProgramSignIn } from '../../src/identity/sign-ins.ts';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';
import type { Store } from '../../src/store/store.ts';
import { testLives, testOrigin, testSealing } from './test-control.ts';

export type IdentityProcess = IdentityDirectory & { readonly store: Store };

/** Processes that know who callers are, on one store and with one clock that the test moves. */
export class IdentityProcesses {
  now = 1_700_000_000_000;
  passed = 0;
  readonly #folder: string;
  readonly #opened: IdentityProcess[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async begin(test: Pick<TestContext, 'after'>): Promise<IdentityProcesses> {
    const processes = new IdentityProcesses(await mkdtemp(join(tmpdir(), 'sealwright-identity-')));
    test.after(() => processes.end());
    return processes;
  }

  async open(): Promise<IdentityProcess> {
    const [opened] = await this.openTogether(1);
    return opened!;
  }

  /** So many that start at the same time. */
  async openTogether(count: number): Promise<IdentityProcess[]> {
    return await Promise.all(Array.from({ length: count }, () => this.#start()));
  }

  async #start(): Promise<IdentityProcess> {
    const store = await openSqliteStore({ file: join(this.#folder, 'store.db') });
    const directory = await openIdentityDirectory({
      store,
      clock: { now: () => this.now, monotonic: () => this.passed },
      sealing: testSealing,
      publicUrl: testOrigin,
      bootstrap: { secret: null },
      lives: testLives,
      trustDomain: 'sealwright.test',
      onError: (error) => {
        throw error;
      },
    });
    const opened = { ...directory, store };
    this.#opened.push(opened);
    return opened;
  }

  /** Time passes, for everybody. */
  pass(ms: number): void {
    this.now += ms;
    this.passed += ms;
  }

  async end(): Promise<void> {
    for (const { store, close } of this.#opened.splice(0)) {
      await close();
      await store.close();
    }
    await rm(this.#folder, { recursive: true, force: true });
  }
}

export async function addUser(store: Store, name: string, role = 'developer'): Promise<void> {
  await store.identity.users.create(
    {
      ...{ name, displayName: null, email: null, role, eligibleRoles: [], phase: 'active' },
      ...{ passwordHash: null, totpSealed: null, createdAt: 1 },
    },
    { external: null, teams: [] },
  );
}

/** What a person's program signs in with, just proved. */
export function programOf(
  name: string,
  at: number,
  change: Partial<NewProgramSignIn> = {},
): NewProgramSignIn {
  return {
    actor: `user:${name}`,
    proof: { at, methods: ['pwd'], mfa: false, provider: null, providerSession: null },
    ...{ address: null, userAgent: null, client: 'sealwright-cli', scopes: null, reach: null },
    refreshable: true,
    ...change,
  };
}
