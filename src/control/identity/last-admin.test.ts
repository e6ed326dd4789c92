import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import { Fault } from '../../contract/faults.ts';
import { localOwner } from '../../identity/local-owner.ts';

/** Two processes that serve one store: nothing in the memory of one keeps the other from ending an administrator. */

const owner = callerOf(localOwner);
const rounds = 5;

async function withAdmin(test: TestControl, name: string): Promise<void> {
  const rest = { displayName: null, email: null, eligibleRoles: [], passwordHash: null, totpSealed: null };
  await test.store.identity.users.create(
    { name, ...rest, role: 'admin', phase: 'active', createdAt: 1 },
    { external: null, teams: [] },
  );
}

async function codeOf(act: Promise<unknown>): Promise<string> {
  try {
    await act;
    return 'done';
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
}

describe('the last active administrator', () => {
  it('stays, where two processes end one each at the same time, whichever way', async () => {
    await using one = await TestControl.open({ withRunner: false });
    const storeFile = join(one.folder, 'store.db');
    await using two = await TestControl.open({ withRunner: false, storeFile });
    type End = (test: TestControl, name: string) => Promise<unknown>;
    const demote: End = async ({ control: { users } }, name) => {
      const { version } = await users.get(owner, name);
      return await users.update(owner, name, { role: 'developer' }, version);
    };
    const disable: End = ({ control: { users } }, name) => users.disable(owner, name);
    const remove: End = ({ control: { users } }, name) => users.remove(owner, name);
    const pairs: readonly (readonly [End, End])[] = [
      [disable, remove],
      [remove, demote],
      [demote, disable],
    ];
    await withAdmin(one, 'first');
    for (let round = 0, left = 'first'; round < rounds; round += 1) {
      const [endLeft, endNext] = pairs[round % pairs.length]!;
      const next = `next${round}`;
      await withAdmin(one, next);
      const codes = await Promise.all([codeOf(endLeft(one, left)), codeOf(endNext(two, next))]);
      assert.deepEqual(codes.toSorted(), ['done', 'state.conflict']);
      assert.equal(await one.store.identity.users.countByRole('admin'), 1);
      if (codes[0] === 'done') left = next;
    }
  });

  it('is told of as the last one, and the record says that nothing came of it', async () => {
    await using test = await TestControl.open({ withRunner: false });
    await withAdmin(test, 'ann');
    await assert.rejects(test.control.users.disable(owner, 'ann'), {
      code: 'state.conflict',
      detail: /^ann is the last active administrator/,
    });
    await assert.rejects(test.control.users.remove(owner, 'ann'), withCode('state.conflict'));
    assert.equal((await test.store.identity.users.get('ann'))?.phase, 'active');
    await withAdmin(test, 'bob');
    await test.control.users.disable(owner, 'ann');
    await test.restart();
    const outcomes = (await test.events()).filter(
      ({ action, phase }) => action === 'user.disable' && phase === 'outcome',
    );
    assert.deepEqual(
      outcomes.map(({ outcome, data }) => [outcome, data?.code ?? null]),
      [
        ['failed', 'state.conflict'],
        ['succeeded', null],
      ],
    );
  });
});
