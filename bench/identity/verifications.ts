import { createPublicKey, hash, randomBytes, verify } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { type IdentityDirectory, openIdentityDirectory } from '../../src/identity/open.ts';
import { openSealing } from '../../src/identity/sealing.ts';
import type { NewSignIn } from '../../src/identity/sign-ins.ts';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';
import type { Row } from '../row.ts';

/**
 * How many credentials are verified in a second, in one process and one after the other, beside the least that each
 * needs: SHA-256 for what is looked up by its hash, and for a signed token that nobody has seen yet one Ed25519
 * verification. The library verifies on a thread of its own, so many at a time are asked too.
 */
const turnMs = 700;
const freshTokens = 3_000;
const lanes = 16;

const hourMs = 3600 * 1000;
const proof = { methods: ['pwd'], mfa: false, provider: null, providerSession: null } as const;

export async function benchVerifications(): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-bench-'));
  const store = await openSqliteStore({ file: join(folder, 'store.sqlite') });
  const directory = await openIdentityDirectory({
    store,
    clock: systemClock,
    sealing: openSealing(randomBytes(32)),
    publicUrl: 'http://localhost:7717',
    trustDomain: 'localhost',
    bootstrap: { secret: null },
    lives: { browserIdleMs: hourMs, browserMs: hourMs, programIdleMs: hourMs, programMs: hourMs },
    onError: (error) => {
      throw error;
    },
  });
  try {
    await store.identity.users.create(
      {
        ...{ name: 'ada', displayName: null, email: null, role: 'developer', eligibleRoles: [] },
        ...{ phase: 'active', passwordHash: null, totpSealed: null, createdAt: systemClock.now() },
      },
      { external: null, teams: [] },
    );
    return await rows(directory);
  } finally {
    await directory.close();
    await store.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function rows({
  identity,
  tokens,
  signIns,
  accessTokens,
  signingKeys,
}: IdentityDirectory): Promise<Row[]> {
  const granted = { actor: 'user:ada', scopes: ['run:read'], reach: 'own', expiresAt: null } as const;
  const issued = await tokens.issue({ name: 'bench', ...granted }, null);
  if (!('secret' in issued)) throw new Error('no token was issued');
  const signIn: NewSignIn = {
    ...{ actor: 'user:ada', address: null, userAgent: null },
    proof: { ...proof, at: systemClock.now() },
  };
  const { cookie } = await signIns.openBrowser(signIn);
  const program = { client: 'bench', scopes: null, reach: null, refreshable: false } as const;
  const { record } = await signIns.openProgram({ ...signIn, ...program });
  const fresh: string[] = [];
  while (fresh.length < 2 * freshTokens) fresh.push((await accessTokens.issue(record)).token);
  const known = fresh[0]!;
  const bySha = hashesPerSecond(issued.secret);
  const byEd25519 = signaturesPerSecond(known, (await signingKeys.list())[0]!.jwk);
  const hashed = { peer: `SHA-256 alone: ${bySha.toFixed(0)} /s`, by: bySha };
  const signed = { peer: `one Ed25519 verification alone: ${byEd25519.toFixed(0)} /s`, by: byEd25519 };
  const [first, second] = [fresh.slice(0, freshTokens), fresh.slice(freshTokens)];
  return [
    row('API token, known', await perSecond(() => identity.ofBearer(issued.secret)), hashed),
    row('browser cookie, known', await perSecond(() => identity.ofCookie(cookie)), hashed),
    row('access token, first seen', await eachPerSecond(first, 1, identity.ofBearer), signed),
    row(
      `access token, first seen, ${lanes} at a time`,
      await eachPerSecond(second, lanes, identity.ofBearer),
      signed,
    ),
    row('access token, known', await perSecond(() => identity.ofBearer(second.at(-1)!)), hashed),
  ];
}

function row(what: string, figure: number, { peer, by }: { peer: string; by: number }): Row {
  return { what: `verify: ${what}`, figure: `${figure.toFixed(0)} /s`, peer, ratio: figure / by };
}

/** Throws where somebody is not known: a refusal would be measured. */
async function perSecond(ask: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  let count = 0;
  while (performance.now() - startedAt < turnMs) {
    if ((await ask()) === null) throw new Error('a good credential was refused');
    count += 1;
    // Timers have their turn too, as they have in a server: what is known is believed while changes are looked for.
    if (count % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return (count * 1000) / (performance.now() - startedAt);
}

async function eachPerSecond(
  texts: readonly string[],
  atATime: number,
  ask: (text: string) => Promise<unknown>,
): Promise<number> {
  const left = texts.values();
  const startedAt = performance.now();
  const lane = async () => {
    for (const text of left) if ((await ask(text)) === null) throw new Error('a good token was refused');
  };
  await Promise.all(Array.from({ length: atATime }, lane));
  return (texts.length * 1000) / (performance.now() - startedAt);
}

function hashesPerSecond(text: string): number {
  return timed(() => hash('sha256', text, 'hex'));
}

function signaturesPerSecond(token: string, jwk: Readonly<Record<string, string>>): number {
  const key = createPublicKey({ key: { ...jwk }, format: 'jwk' });
  const dot = token.lastIndexOf('.');
  const [data, signature] = [
    Buffer.from(token.slice(0, dot)),
    Buffer.from(token.slice(dot + 1), 'base64url'),
  ];
  return timed(() => {
    if (!verify(null, data, key, signature)) throw new Error('our own signature does not verify');
  });
}

function timed(work: () => unknown): number {
  const startedAt = performance.now();
  let count = 0;
  while (performance.now() - startedAt < turnMs) {
    for (let each = 0; each < 20; each += 1) work();
    count += 20;
  }
  return (count * 1000) / (performance.now() - startedAt);
}
