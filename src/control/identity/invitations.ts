import { absent, Fault } from '../../contract/faults.ts';
import type { AcceptInvitation, InvitationSeen } from '../../contract/sign-in-schemas.ts';
import {
  type CreatedInvitation,
  type CreateInvitation,
  type InvitationView,
  invitationLimits,
} from '../../contract/user-schemas.ts';
import { secretForm, secretHash } from '../../identity/token-secret.ts';
import { bootstrapActor } from '../../identity/tokens.ts';
import { actorName } from '../../model/actor.ts';
import { type InvitationId, newId } from '../../model/ids.ts';
import type { InvitationRecord } from '../../store/identity-store.ts';
import type { Caller, Page, PageRequest } from '../control.ts';
import type { Act } from '../gate.ts';
import { storePage, viewPage } from '../paging.ts';
import { invitationView, timeText } from './account-views.ts';
import { completeSignIn } from './completion.ts';
import { standsForSomething } from './names.ts';
import { refuseUnfit } from './password-choice.ts';
import { knownRoles, refuseAbove, refuseEgressBound } from './rank.ts';
import type { Asked, SignInParts, SignInResult } from './sign-in-parts.ts';
import { refusedSignIn, refuseLocal } from './sign-in-refusals.ts';
import { refuseForeignTeams } from './teams.ts';

/** How people become users: a link that works once, within days at most. */
export type InvitationUseCases = {
  /** The link is in this answer alone; its secret stands in the fragment, which browsers send to nobody. */
  create(caller: Caller, request: CreateInvitation): Promise<CreatedInvitation>;
  list(caller: Caller, query: PageRequest): Promise<Page<InvitationView>>;
  /** Containment. */
  revoke(caller: Caller, id: InvitationId): Promise<void>;
  /** What whoever holds the link may know before accepting. */
  look(asked: Asked, secret: string): Promise<InvitationSeen>;
  /** Makes the user and signs it in; of any number at once one gets it. */
  accept(asked: Asked, given: AcceptInvitation): Promise<SignInResult>;
};

const secrets = secretForm('swi_');
const action = 'invitation.accept';

export function invitationUseCases(parts: SignInParts): InvitationUseCases {
  const { gate, store, clock } = parts;
  const { invitations } = store.identity;
  return {
    create: (caller, request) => create(parts, caller, request),
    list: async (caller, query) => {
      await gate.privileged(caller, { action: 'invitation.list', resource: { kind: 'invitation' } });
      const listed = await invitations.list(storePage(query), clock.now());
      return viewPage(listed, invitationView, (record) => record);
    },
    revoke: async (caller, id) => {
      const resource = { kind: 'invitation', id } as const;
      await gate.contain(caller, { action: 'invitation.revoke', resource }, async () => {
        if (!(await invitations.revoke(id, clock.now()))) throw absent('invitation');
      });
    },
    look: async (asked, secret) => {
      const { name, role, expiresAt } = await valid(parts, asked, secret);
      return { name, role, expiresAt: timeText(expiresAt) };
    },
    accept: (asked, given) => accept(parts, asked, given),
  };
}

async function create(
  { gate, store, clock, signInConfig }: SignInParts,
  caller: Caller,
  request: CreateInvitation,
): Promise<CreatedInvitation> {
  const { name = null, email = null, role, teams = [] } = request;
  const { expiresInSeconds = invitationLimits.secondsDefault } = request;
  const act: Act = {
    action: 'invitation.create',
    resource: { kind: 'invitation' },
    data: { name, role, teams: [...teams], expiresInSeconds },
  };
  await gate.read(caller, act);
  await refuseEgressBound(gate, caller, act);
  await refuseForeignTeams(gate, caller, act, teams);
  await refuseAbove(gate, caller, act, await knownRoles(store, [role]));
  if (name !== null) await refuseTaken(store, name);
  return await gate.act(caller, act, async () => {
    const now = clock.now();
    const secret = secrets.make();
    const record: InvitationRecord = {
      id: newId('invitation', now),
      hash: secretHash(secret),
      name,
      email,
      role,
      teams: [...new Set(teams)],
      createdBy: caller.actor.id,
      createdAt: now,
      expiresAt: now + expiresInSeconds * 1000,
    };
    await store.identity.invitations.create(record);
    const link = `${new URL(signInConfig.publicUrl).origin}/invitation#${secret}`;
    return { ...invitationView(record), link };
  });
}

async function refuseTaken(store: SignInParts['store'], name: string): Promise<void> {
  const taken = (await store.identity.users.get(name)) !== null || `user:${name}` === bootstrapActor.id;
  if (taken) throw new Fault('state.conflict', { detail: `The name ${name} is taken. Choose another.` });
}

async function valid(parts: SignInParts, asked: Asked, secret: string): Promise<InvitationRecord> {
  const { store, clock } = parts;
  const record = secrets.fits(secret)
    ? await store.identity.invitations.byHash(secretHash(secret), clock.now())
    : null;
  if (record !== null) return record;
  throw refusedSignIn(parts, asked, { action, reason: 'invitation', user: null });
}

async function accept(parts: SignInParts, asked: Asked, given: AcceptInvitation): Promise<SignInResult> {
  refuseLocal(parts);
  const { gate, store, clock, passwords, changes } = parts;
  const invitation = await valid(parts, asked, given.invitation);
  const name = await chosenName(parts, invitation, given.name);
  const { displayName = null, password } = given;
  const { email, role } = invitation;
  refuseUnfit(parts, password, { name, displayName, email });
  const passwordHash = await passwords.hash(password, asked.address);
  const event = {
    action,
    actor: { id: `user:${name}` },
    resource: { kind: 'invitation', id: invitation.id },
    rule: 'invitation:link',
    request: asked,
    data: { name, role, teams: [...invitation.teams], invitedBy: invitation.createdBy },
  } as const;
  await gate.record({ ...event, outcome: 'allowed' });
  const now = clock.now();
  const user = {
    name,
    displayName,
    email,
    role,
    eligibleRoles: [],
    phase: 'active',
    passwordHash,
    totpSealed: null,
    createdAt: now,
  } as const;
  const accepted = await store.identity.invitations.accept(invitation.hash, user, now);
  gate.note({ ...event, outcome: accepted.outcome === 'accepted' ? 'succeeded' : 'failed' });
  if (accepted.outcome === 'absent')
    throw refusedSignIn(parts, asked, { action, reason: 'invitation', user: null });
  if (accepted.outcome !== 'accepted') throw takenName(invitation, name);
  await changes.look();
  const proved = { methods: ['pwd'], mfa: false, provider: null, providerSession: null };
  return await completeSignIn(parts, asked, accepted.record, proved);
}

/**
 * The invitation's, or where it leaves that open the invited's own choice; never a name that already stands for
 * something: what it owns would be the newcomer's.
 */
async function chosenName(
  { store }: SignInParts,
  invitation: InvitationRecord,
  chosen: string | undefined,
): Promise<string> {
  if (invitation.name !== null) {
    if (chosen === undefined || chosen === invitation.name) return invitation.name;
    throw new Fault('request.invalid', { detail: `The invitation is for ${invitation.name}.` });
  }
  if (chosen === undefined) throw new Fault('request.invalid', { detail: 'Choose a name.' });
  if (chosen === actorName(invitation.createdBy) || (await standsForSomething(store, chosen)))
    throw takenName(invitation, chosen);
  return chosen;
}

function takenName(invitation: InvitationRecord, name: string): Fault {
  const next =
    invitation.name === null ? 'Choose another.' : 'Ask whoever invited you for another invitation.';
  return new Fault('state.conflict', { detail: `The name ${name} is taken. ${next}` });
}
