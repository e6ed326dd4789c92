import { type Kysely, sql } from 'kysely';
import type { TokenStore } from '../store.ts';
import type { NoteChanges } from './change-queries.ts';
import { takeClaim } from './claims.ts';
import { endExchanged } from './credential-ends.ts';
import type { GroupCommit } from './group-commit.ts';
import { olderThan, pageOf } from './paging.ts';
import { tokenOf } from './rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

const tokenColumns = [
  'id',
  'name',
  'actor',
  'scopes',
  'reach',
  'hash',
  'created_at',
  'expires_at',
  'last_used_at',
] as const;

export function tokenQueries(reader: Database, writer: GroupCommit, note: NoteChanges): TokenStore {
  const valid = (db: Database) =>
    db.selectFrom('tokens').select(tokenColumns).where('revoked_at', 'is', null);
  return {
    create: (token, claim) => writer.do((db) => create(db, note, token, claim)),
    get: async (id) => {
      const row = await valid(reader).where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : tokenOf(row);
    },
    byHash: async (hash) => {
      const row = await valid(reader).where('hash', '=', hash).executeTakeFirst();
      return row === undefined ? null : tokenOf(row);
    },
    list: async (filter, page) => {
      let query = valid(reader);
      if (filter.actor !== undefined) query = query.where('actor', '=', filter.actor);
      if (page.after !== null) query = query.where(olderThan(page.after));
      const rows = await query
        .orderBy('created_at', 'desc')
        .orderBy('id', 'desc')
        .limit(page.limit + 1)
        .execute();
      return pageOf(rows, page, tokenOf);
    },
    revoke: (id, at) => writer.do((db) => revoke(db, note, id, at)),
    rotate: (id, next, endsAt) => writer.do((db) => rotate(db, note, id, next, endsAt)),
    touch: async (id, at) => {
      await writer.do((db) =>
        db.updateTable('tokens').set({ last_used_at: at }).where('id', '=', id).execute(),
      );
    },
    lastExpiryOf: (scope, now) => lastExpiryOf(reader, scope, now),
  };
}

async function create(
  db: Database,
  note: NoteChanges,
  ...[token, claim]: Parameters<TokenStore['create']>
): ReturnType<TokenStore['create']> {
  const taken = await takeClaim(db, claim, token.id, token.createdAt);
  if (taken !== null) return taken;
  await db
    .insertInto('tokens')
    .values({
      id: token.id,
      name: token.name,
      actor: token.actor,
      scopes: JSON.stringify(token.scopes),
      reach: token.reach,
      hash: token.hash,
      created_at: token.createdAt,
      expires_at: token.expiresAt,
    })
    .execute();
  // The first of an administrator ends the bootstrap token, in every process.
  await note(db, 'token', token.id);
  return { outcome: 'created', record: { ...token, lastUsedAt: null } };
}

async function revoke(
  db: Database,
  note: NoteChanges,
  ...[id, at]: Parameters<TokenStore['revoke']>
): ReturnType<TokenStore['revoke']> {
  const row = await db
    .updateTable('tokens')
    .set({ revoked_at: at })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .returning(tokenColumns)
    .executeTakeFirst();
  if (row === undefined) return null;
  await note(db, 'token', id);
  await endExchanged(db, note, id, { at, reason: 'the token that it came from was revoked' });
  return tokenOf(row);
}

async function rotate(
  db: Database,
  note: NoteChanges,
  ...[id, next, endsAt]: Parameters<TokenStore['rotate']>
): ReturnType<TokenStore['rotate']> {
  if (endsAt <= next.createdAt) {
    if ((await revoke(db, note, id, next.createdAt)) === null) return null;
  } else {
    const row = await db
      .updateTable('tokens')
      .set({ expires_at: sql<number>`case when expires_at < ${endsAt} then expires_at else ${endsAt} end` })
      .where('id', '=', id)
      .where('revoked_at', 'is', null)
      .returning('id')
      .executeTakeFirst();
    if (row === undefined) return null;
    await note(db, 'token', id);
  }
  await create(db, note, next, null);
  return { ...next, lastUsedAt: null };
}

/** Scopes are stored as a JSON list of quoted words, so a quoted word matches exactly that scope. */
async function lastExpiryOf(db: Database, scope: string, now: number): Promise<number | null> {
  const row = await db
    .selectFrom('tokens')
    .select([
      (build) => build.fn.countAll<number>().as('count'),
      sql<number>`sum(case when expires_at is null then 1 else 0 end)`.as('endless'),
      (build) => build.fn.max('expires_at').as('last'),
    ])
    .where('revoked_at', 'is', null)
    .where('scopes', 'like', `%"${scope}"%`)
    .where((build) => build.or([build('expires_at', 'is', null), build('expires_at', '>', now)]))
    .executeTakeFirstOrThrow();
  if (Number(row.count) === 0) return null;
  return Number(row.endless) > 0 ? Number.POSITIVE_INFINITY : Number(row.last);
}
