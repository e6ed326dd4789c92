import type { Kysely } from 'kysely';
import type { InvitationStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import { invitationOf } from './identity-rows.ts';
import { olderThan, pageOf } from './paging.ts';
import type { Tables } from './tables.ts';
import { createUser } from './user-queries.ts';

type Database = Kysely<Tables>;

const invitationColumns = [
  'id',
  'hash',
  'name',
  'email',
  'role',
  'teams',
  'created_by',
  'created_at',
  'expires_at',
] as const;

export function invitationQueries(reader: Database, writer: GroupCommit, note: NoteChanges): InvitationStore {
  const open = (now: number) =>
    reader
      .selectFrom('invitations')
      .select(invitationColumns)
      .where('used_at', 'is', null)
      .where('revoked_at', 'is', null)
      .where('expires_at', '>', now);
  return {
    create: (invitation) => writer.do((db) => create(db, invitation)),
    get: async (id, now) => {
      const row = await open(now).where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : invitationOf(row);
    },
    byHash: async (hash, now) => {
      const row = await open(now).where('hash', '=', hash).executeTakeFirst();
      return row === undefined ? null : invitationOf(row);
    },
    list: async (page, now) => {
      let query = open(now);
      if (page.after !== null) query = query.where(olderThan(page.after));
      const rows = await query
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(page.limit + 1)
        .execute();
      return pageOf(rows, page, invitationOf);
    },
    accept: (hash, user, now) => writer.do((db) => accept(db, note, [hash, user, now])),
    revoke: (id, at) => writer.do((db) => revoke(db, id, at)),
  };
}

async function create(
  db: Database,
  ...[invitation]: Parameters<InvitationStore['create']>
): ReturnType<InvitationStore['create']> {
  await db
    .insertInto('invitations')
    .values({
      id: invitation.id,
      hash: invitation.hash,
      name: invitation.name,
      email: invitation.email,
      role: invitation.role,
      teams: JSON.stringify(invitation.teams),
      created_by: invitation.createdBy,
      created_at: invitation.createdAt,
      expires_at: invitation.expiresAt,
    })
    .execute();
}

/** The invitation is taken first, so that of two who accept it at once one finds it gone. */
async function accept(
  db: Database,
  note: NoteChanges,
  [hash, user, now]: Parameters<InvitationStore['accept']>,
): ReturnType<InvitationStore['accept']> {
  const row = await db
    .updateTable('invitations')
    .set({ used_at: now })
    .where('hash', '=', hash)
    .where('used_at', 'is', null)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', now)
    .returning(invitationColumns)
    .executeTakeFirst();
  if (row === undefined) return { outcome: 'absent' };
  const { teams } = invitationOf(row);
  const record = await createUser(db, note, user, { external: null, teams });
  if (record !== null) return { outcome: 'accepted', record };
  await db.updateTable('invitations').set({ used_at: null }).where('hash', '=', hash).execute();
  return { outcome: 'taken' };
}

async function revoke(
  db: Database,
  ...[id, at]: Parameters<InvitationStore['revoke']>
): ReturnType<InvitationStore['revoke']> {
  const row = await db
    .updateTable('invitations')
    .set({ revoked_at: at })
    .where('id', '=', id)
    .where('used_at', 'is', null)
    .where('revoked_at', 'is', null)
    .where('expires_at', '>', at)
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}
