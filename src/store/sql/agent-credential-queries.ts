import type { Kysely } from 'kysely';
import type { AgentStore } from '../identity-store.ts';
import type { NoteChanges } from './change-queries.ts';
import { endExchanged } from './credential-ends.ts';
import type { GroupCommit } from './group-commit.ts';
import { agentCredentialOf, revokedCredentialOf } from './identity-rows.ts';
import type { Tables } from './tables.ts';

type Database = Kysely<Tables>;
type CredentialStore = Omit<AgentStore, 'create' | 'get' | 'list' | 'update' | 'remove'>;

const credentialColumns = [
  'id',
  'agent',
  'kind',
  'name',
  'proof',
  'material',
  'created_at',
  'expires_at',
  'last_used_at',
] as const;

export function agentCredentialQueries(
  reader: Database,
  writer: GroupCommit,
  note: NoteChanges,
): CredentialStore {
  const unrevoked = () =>
    reader.selectFrom('agent_credentials').select(credentialColumns).where('revoked_at', 'is', null);
  const valid = (now: number) =>
    unrevoked().where((build) => build.or([build('expires_at', 'is', null), build('expires_at', '>', now)]));
  return {
    addCredential: (credential) => writer.do((db) => add(db, credential)),
    credentials: async (agent, now) => {
      const rows = await valid(now).where('agent', '=', agent).orderBy('created_at').orderBy('id').execute();
      return rows.map(agentCredentialOf);
    },
    credentialByProof: async (kind, proof, now) => {
      const row = await valid(now).where('kind', '=', kind).where('proof', '=', proof).executeTakeFirst();
      return row === undefined ? null : agentCredentialOf(row);
    },
    credential: async (id) => {
      const row = await unrevoked().where('id', '=', id).executeTakeFirst();
      return row === undefined ? null : agentCredentialOf(row);
    },
    revoked: async (kind, now) => {
      const rows = await reader
        .selectFrom('agent_credentials')
        .select(['id', 'agent', 'proof', 'revoked_at'])
        .where('kind', '=', kind)
        .where('revoked_at', 'is not', null)
        .where((build) => build.or([build('expires_at', 'is', null), build('expires_at', '>', now)]))
        .orderBy('revoked_at', 'desc')
        .orderBy('id')
        .execute();
      return rows.map(revokedCredentialOf);
    },
    touchCredential: async (id, at) => {
      await writer.do((db) =>
        db.updateTable('agent_credentials').set({ last_used_at: at }).where('id', '=', id).execute(),
      );
    },
    revokeCredential: (id, at) => writer.do((db) => revoke(db, note, id, at)),
  };
}

async function add(
  db: Database,
  ...[credential]: Parameters<CredentialStore['addCredential']>
): ReturnType<CredentialStore['addCredential']> {
  const row = await db
    .insertInto('agent_credentials')
    .values({
      id: credential.id,
      agent: credential.agent,
      kind: credential.kind,
      name: credential.name,
      proof: credential.proof,
      material: credential.material,
      created_at: credential.createdAt,
      expires_at: credential.expiresAt,
    })
    .onConflict((conflict) => conflict.columns(['kind', 'proof']).doNothing())
    .returning('id')
    .executeTakeFirst();
  return row !== undefined;
}

async function revoke(
  db: Database,
  note: NoteChanges,
  ...[id, at]: Parameters<CredentialStore['revokeCredential']>
): ReturnType<CredentialStore['revokeCredential']> {
  const row = await db
    .updateTable('agent_credentials')
    .set({ revoked_at: at })
    .where('id', '=', id)
    .where('revoked_at', 'is', null)
    .returning('agent')
    .executeTakeFirst();
  if (row === undefined) return false;
  await endExchanged(db, note, id, { at, reason: 'its credential was revoked' });
  await note(db, 'agent', row.agent);
  return true;
}
