import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { ActorId } from '../../src/model/actor.ts';
import type { SignInId, TokenId } from '../../src/model/ids.ts';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';
import type { Store } from '../../src/store/store.ts';

/** One way of taking a right away, as something that can be said to another process. */
export type Taking =
  | { readonly take: 'token'; readonly id: TokenId }
  | { readonly take: 'sign-in'; readonly id: SignInId }
  | { readonly take: 'user'; readonly name: string }
  | { readonly take: 'removed-user'; readonly name: string }
  | { readonly take: 'role'; readonly name: string; readonly role: string }
  | { readonly take: 'policy'; readonly name: string; readonly text: string }
  | { readonly take: 'team'; readonly name: string; readonly members: readonly ActorId[] };

/** Takes it in the store alone, as a process does that knows of no other. */
async function takeIn({ tokens, identity }: Store, taking: Taking): Promise<unknown> {
  const at = Date.now();
  const { users, signIns, teams, accessPolicies } = identity;
  switch (taking.take) {
    case 'token':
      return await tokens.revoke(taking.id, at);
    case 'sign-in':
      return await signIns.revoke(taking.id, at, 'test');
    case 'user':
      return await users.update(taking.name, { phase: 'disabled' }, null);
    case 'removed-user':
      return await users.remove(taking.name, at);
    case 'role':
      return await users.update(taking.name, { role: taking.role }, null);
    case 'policy': {
      const { name, text } = taking;
      const policy = { name, text, author: 'user:root' as const, reason: null, createdAt: at };
      return await accessPolicies.put(policy, null);
    }
    case 'team': {
      const team = (await teams.get(taking.name))!;
      return await teams.put({ ...team, members: taking.members }, team.version);
    }
  }
}

/** Another process on the same store. `take` resolves with the time, since the epoch, when it was durable. */
export type OtherProcess = { take(taking: Taking): Promise<number>; close(): Promise<void> };

export async function openOtherProcess(storeFile: string): Promise<OtherProcess> {
  const child: ChildProcess = fork(import.meta.filename, [storeFile]);
  await once(child, 'message');
  return {
    async take(taking) {
      const answered = once(child, 'message');
      child.send(taking);
      return Number((await answered)[0]);
    },
    async close() {
      const exited = once(child, 'exit');
      child.disconnect();
      await exited;
    },
  };
}

if (import.meta.main) {
  const store = await openSqliteStore({ file: process.argv[2]! });
  process.on('message', (taking) => {
    void takeIn(store, taking as Taking).then(() => process.send?.(Date.now()));
  });
  process.on('disconnect', () => process.exit());
  process.send?.('ready');
}
