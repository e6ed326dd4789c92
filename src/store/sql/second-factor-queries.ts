import type { Kysely } from 'kysely';
import type { UserStore } from '../identity-store.ts';
import type { GroupCommit } from './group-commit.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

/** What a user proves beside the password: each code works for one caller, once. */
export function secondFactorQueries(
  reader: Database,
  writer: GroupCommit,
): Pick<UserStore, 'takeTotpStep' | 'putRecoveryCodes' | 'takeRecoveryCode' | 'recoveryCodesLeft'> {
  return {
    takeTotpStep: (name, step) => writer.do((db) => takeTotpStep(db, name, step)),
    putRecoveryCodes: (name, hashes) =>
      writer.do(async (db) => {
        await db.deleteFrom('recovery_codes').where('user', '=', name).execute();
        for (const hash of new Set(hashes))
          await db.insertInto('recovery_codes').values({ user: name, hash }).execute();
      }),
    takeRecoveryCode: (name, hash) =>
      writer.do(async (db) => {
        const row = await db
          .deleteFrom('recovery_codes')
          .where('user', '=', name)
          .where('hash', '=', hash)
          .returning('hash')
          .executeTakeFirst();
        return row !== undefined;
      }),
    recoveryCodesLeft: async (name) => {
      const row = await reader
        .selectFrom('recovery_codes')
        .select((build) => build.fn.countAll<number>().as('count'))
        .where('user', '=', name)
        .executeTakeFirstOrThrow();
      return Number(row.count);
    },
  };
}

async function takeTotpStep(db: Database, name: string, step: number): Promise<boolean> {
  const row = await db
    .updateTable('users')
    .set({ totp_step: step })
    .where('name', '=', name)
    .where('removed_at', 'is', null)
    .where((build) => build.or([build('totp_step', 'is', null), build('totp_step', '<', step)]))
    .returning('name')
    .executeTakeFirst();
  return row !== undefined;
}
