import type { ExpressionBuilder, Kysely } from 'kysely';
import type { SignInRecord, SignInStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import { signInOf } from './identity-rows.ts';
import { olderThan, pageOf } from './paging.ts';
import { works } from './sign-in-aliveness.ts';
import { endSignIns } from './sign-in-ends.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;

export function signInQueries(reader: Database, writer: GroupCommit, note: NoteChanges): SignInStore {
  const find = async (column: 'id' | 'cookie', value: string, now: number) => {
    const row = await reader
      .selectFrom('sign_ins')
      .selectAll()
      .where(column, '=', value)
      .where(works(now))
      .executeTakeFirst();
    return row === undefined ? null : signInOf(row);
  };
  return {
    create: (signIn, secret) => writer.do((db) => create(db, signIn, secret)),
    get: (id, now) => find('id', id, now),
    byCookie: (hash, now) => find('cookie', hash, now),
    list: (filter, page, now) => list(reader, filter, page, now),
    touch: async (id, at) => {
      await writer.do((db) =>
        db
          .updateTable('sign_ins')
          .set({ last_used_at: at })
          .where('id', '=', id)
          .where('last_used_at', '<', at)
          .where(works(at))
          .execute(),
      );
    },
    proved: (id, proof) => writer.do((db) => proved(db, note, id, proof)),
    rotate: (used, next, now) => writer.do((db) => rotate(db, note, { used, next, now })),
    byRefresh: async (hash) => {
      const row = await reader
        .selectFrom('refresh_tokens')
        .innerJoin('sign_ins', 'sign_ins.id', 'refresh_tokens.sign_in')
        .selectAll('sign_ins')
        .where('hash', '=', hash)
        .executeTakeFirst();
      return row === undefined ? null : signInOf(row);
    },
    revoke: (id, at, reason) =>
      writer.do(async (db) => {
        const ended = await endSignIns(db, note, (build) => build('id', '=', id), { at, reason });
        return ended.some((record) => record.id === id && isRunning(record, at));
      }),
    revokeOf: (actor, at, reason, except) =>
      writer.do(async (db) => {
        const ended = await endSignIns(
          db,
          note,
          (build) => build.and([build('actor', '=', actor), build('id', '!=', except ?? '')]),
          { at, reason },
        );
        return ended.filter((record) => record.actor === actor && isRunning(record, at)).length;
      }),
    revokeOfProvider: (provider, which, at) =>
      writer.do((db) => revokeOfProvider(db, note, { provider, which, at })),
    forgetBefore: (time) => writer.do((db) => forgetBefore(db, time)),
  };
}

function isRunning({ expiresAt, lastUsedAt, idleMs }: SignInRecord, now: number): boolean {
  return expiresAt > now && lastUsedAt + idleMs > now;
}

async function create(
  db: Database,
  ...[signIn, secret]: Parameters<SignInStore['create']>
): ReturnType<SignInStore['create']> {
  const isBrowser = signIn.kind === 'browser';
  await db
    .insertInto('sign_ins')
    .values({
      id: signIn.id,
      kind: signIn.kind,
      cookie: isBrowser ? secret : null,
      actor: signIn.actor,
      client: signIn.client,
      scopes: signIn.scopes === null ? null : JSON.stringify(signIn.scopes),
      reach: signIn.reach,
      egress: signIn.egress === null ? null : JSON.stringify(signIn.egress),
      auth_at: signIn.authAt,
      methods: JSON.stringify(signIn.methods),
      mfa: signIn.mfa ? 1 : 0,
      provider: signIn.provider,
      provider_session: signIn.providerSession,
      on_behalf_of: signIn.onBehalfOf,
      parent: signIn.parent,
      created_at: signIn.createdAt,
      idle_ms: signIn.idleMs,
      last_used_at: signIn.lastUsedAt,
      expires_at: signIn.expiresAt,
      address: signIn.address,
      user_agent: signIn.userAgent,
    })
    .execute();
  if (secret === null || isBrowser) return;
  await db.insertInto('refresh_tokens').values({ hash: secret, sign_in: signIn.id }).execute();
}

async function list(
  db: Database,
  ...[filter, page, now]: Parameters<SignInStore['list']>
): ReturnType<SignInStore['list']> {
  let query = db.selectFrom('sign_ins').selectAll().where(works(now));
  if (filter.actor !== undefined) query = query.where('actor', '=', filter.actor);
  if (page.after !== null) query = query.where(olderThan(page.after));
  const rows = await query
    .orderBy('created_at', 'desc')
    .orderBy('id', 'desc')
    .limit(page.limit + 1)
    .execute();
  return pageOf(rows, page, signInOf);
}

async function proved(
  db: Database,
  note: NoteChanges,
  ...[id, { at, methods, mfa, cookie }]: Parameters<SignInStore['proved']>
): ReturnType<SignInStore['proved']> {
  const row = await db
    .updateTable('sign_ins')
    .set({
      auth_at: at,
      methods: JSON.stringify(methods),
      mfa: mfa ? 1 : 0,
      last_used_at: at,
      ...(cookie === null ? {} : { cookie }),
    })
    .where('id', '=', id)
    .where(works(at))
    .returning('id')
    .executeTakeFirst();
  if (row === undefined) return false;
  await note(db, 'sign-in', id);
  return true;
}

async function rotate(
  db: Database,
  note: NoteChanges,
  { used, next, now }: { used: string; next: string; now: number },
): ReturnType<SignInStore['rotate']> {
  const taken = await db
    .updateTable('refresh_tokens')
    .set({ used_at: now })
    .where('hash', '=', used)
    .where('used_at', 'is', null)
    .where(({ exists, selectFrom }) =>
      exists(
        selectFrom('sign_ins')
          .select('sign_ins.id')
          .whereRef('sign_ins.id', '=', 'refresh_tokens.sign_in')
          .where(works(now)),
      ),
    )
    .returning('sign_in')
    .executeTakeFirst();
  if (taken === undefined) return await reused(db, note, used, now);
  const row = await db
    .updateTable('sign_ins')
    .set({ last_used_at: now })
    .where('id', '=', taken.sign_in)
    .returningAll()
    .executeTakeFirstOrThrow();
  await db.insertInto('refresh_tokens').values({ hash: next, sign_in: row.id }).execute();
  return { outcome: 'rotated', record: signInOf(row) };
}

/** Whoever comes second with a token may be its thief or its owner: neither keeps anything. An unused one is over. */
async function reused(
  db: Database,
  note: NoteChanges,
  used: string,
  now: number,
): ReturnType<SignInStore['rotate']> {
  const row = await db
    .selectFrom('refresh_tokens')
    .innerJoin('sign_ins', 'sign_ins.id', 'refresh_tokens.sign_in')
    .selectAll('sign_ins')
    .where('hash', '=', used)
    .where('used_at', 'is not', null)
    .executeTakeFirst();
  if (row === undefined) return { outcome: 'absent' };
  await endSignIns(db, note, (build) => build('id', '=', row.id), {
    at: now,
    reason: 'a refresh token was used twice',
  });
  return { outcome: 'reused', record: signInOf(row) };
}

async function revokeOfProvider(
  db: Database,
  note: NoteChanges,
  {
    provider,
    which,
    at,
  }: { provider: string; which: Parameters<SignInStore['revokeOfProvider']>[1]; at: number },
): ReturnType<SignInStore['revokeOfProvider']> {
  const reason = 'signed out at the provider';
  return await endSignIns(
    db,
    note,
    (build) =>
      build.and([
        build('provider', '=', provider),
        'session' in which
          ? build('provider_session', '=', which.session)
          : build('actor', '=', `user:${which.user}`),
      ]),
    { at, reason },
  );
}

/** What was exchanged from an ended sign-in goes with its own time; until then it is dead without its parent. */
async function forgetBefore(db: Database, time: number): Promise<void> {
  const ended = (build: ExpressionBuilder<Tables, 'sign_ins'>) =>
    build.or([
      build('revoked_at', '<', time),
      build('expires_at', '<', time),
      build(build('last_used_at', '+', build.ref('idle_ms')), '<', time),
    ]);
  await db
    .deleteFrom('refresh_tokens')
    .where('sign_in', 'in', (build) => build.selectFrom('sign_ins').select('id').where(ended))
    .execute();
  await db.deleteFrom('sign_ins').where(ended).execute();
}
