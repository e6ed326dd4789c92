import type { Kysely } from 'kysely';
import type { Clock } from '../../base/clock.ts';
import type { IdentityStore } from '../identity-store.ts';
import { accessPolicyQueries } from './access-policy-queries.ts';
import { agentCredentialQueries } from './agent-credential-queries.ts';
import { agentQueries } from './agent-queries.ts';
import { attemptQueries } from './attempt-queries.ts';
import { changeQueries, type NoteChanges } from './change-queries.ts';
import { elevationQueries } from './elevation-queries.ts';
import { flagQueries } from './flag-queries.ts';
import type { GroupCommit } from './group-commit.ts';
import { invitationQueries } from './invitation-queries.ts';
import { oneTimeQueries } from './one-time-queries.ts';
import { passkeyQueries } from './passkey-queries.ts';
import { roleQueries } from './role-queries.ts';
import { secondFactorQueries } from './second-factor-queries.ts';
import { signInQueries } from './sign-in-queries.ts';
import { signingKeyQueries } from './signing-key-queries.ts';
import type { Tables } from './tables.ts';
import { teamQueries } from './team-queries.ts';
import { userQueries } from './user-queries.ts';

/** `clock` stamps what is written without a time of its caller's, such as a change. */
export function identityQueries(
  reader: Kysely<Tables>,
  writer: GroupCommit,
  writing: { readonly note: NoteChanges; readonly clock: Clock },
): IdentityStore {
  const { note } = writing;
  return {
    users: { ...userQueries(reader, writer, note), ...secondFactorQueries(reader, writer) },
    passkeys: passkeyQueries(reader, writer),
    invitations: invitationQueries(reader, writer, note),
    signIns: signInQueries(reader, writer, note),
    oneTimes: oneTimeQueries(reader, writer),
    teams: teamQueries(reader, writer, writing),
    roles: roleQueries(reader, writer, writing),
    agents: { ...agentQueries(reader, writer, note), ...agentCredentialQueries(reader, writer, note) },
    accessPolicies: accessPolicyQueries(reader, writer, note),
    elevations: elevationQueries(reader, writer, note),
    signingKeys: signingKeyQueries(reader, writer, note),
    flags: flagQueries(reader, writer, writing),
    attempts: attemptQueries(reader, writer),
    changes: changeQueries(reader, writer, note),
  };
}
