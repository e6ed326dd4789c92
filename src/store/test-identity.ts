import { newId } from '../model/ids.ts';
import type { Change, SignInRecord } from './identity-store.ts';
import type { Store } from './store.ts';

export type OpenedPair = {
  readonly store: Store;
  /** Another process on the same data would see it like this. */
  readonly other: Store;
  remove(): Promise<void>;
};
export type Using = () => Pick<OpenedPair, 'store' | 'other'>;

/** What `act` told those who keep something in memory. */
export async function changesOf(store: Store, act: () => Promise<unknown>): Promise<string[]> {
  const { changes } = store.identity;
  const before = await changes.last();
  await act();
  return (await changes.since(before)).map(({ kind, id }: Change) => `${kind} ${id}`);
}

export function newSignIn(change: Partial<SignInRecord> = {}): SignInRecord {
  const createdAt = change.createdAt ?? 1000;
  return {
    id: newId('signIn', createdAt),
    kind: 'program',
    actor: 'user:ann',
    client: 'cli',
    scopes: null,
    reach: null,
    egress: null,
    authAt: createdAt,
    methods: ['pwd'],
    mfa: false,
    provider: null,
    providerSession: null,
    onBehalfOf: null,
    parent: null,
    createdAt,
    idleMs: 1000,
    lastUsedAt: createdAt,
    expiresAt: createdAt + 10_000,
    address: '192.0.2.1',
    userAgent: 'test',
    ...change,
  };
}
