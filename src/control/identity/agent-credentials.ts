import type {
  AddKey,
  AddSecret,
  AgentCredentialView,
  CreatedSecret,
  IssueCertificate,
  IssuedCertificateView,
} from '../../contract/agents-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import { clientSecret } from '../../identity/client-secret.ts';
import { identityLimits } from '../../identity/limits.ts';
import { readPublicKey } from '../../identity/public-keys.ts';
import { secretHash } from '../../identity/token-secret.ts';
import type { ActorId } from '../../model/actor.ts';
import { type CredentialId, newId } from '../../model/ids.ts';
import type { AgentCredentialRecord, AgentRecord } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import { controlLimits } from '../limits.ts';
import { timeOrNull, timeText } from './account-views.ts';
import { type AgentParts, agentAct, known, refuseWider, touchable } from './agents.ts';

type NewCredential = Omit<AgentCredentialRecord, 'lastUsedAt'>;

/** What agents and services prove themselves with. Several may work at a time, so that one can take another's place. */
export type AgentCredentialUseCases = {
  /** Valid ones, the oldest first. */
  list(caller: Caller, id: ActorId): Promise<readonly AgentCredentialView[]>;
  /** The answer is the only place where the secret is ever shown. */
  addSecret(caller: Caller, id: ActorId, request: AddSecret): Promise<CreatedSecret>;
  /** Throws `state.conflict` where the key is, or was, somebody's. */
  addKey(caller: Caller, id: ActorId, request: AddKey): Promise<AgentCredentialView>;
  issueCertificate(caller: Caller, id: ActorId, request: IssueCertificate): Promise<IssuedCertificateView>;
  /** For the agent itself, by the certificate that it has now. */
  renewCertificate(caller: Caller, request: IssueCertificate): Promise<IssuedCertificateView>;
  /** Containment: it works no more, and nothing that came from it. */
  revoke(caller: Caller, id: ActorId, credential: CredentialId): Promise<void>;
};

export function agentCredentialUseCases(parts: AgentParts): AgentCredentialUseCases {
  const { store, clock } = parts;
  return {
    list: async (caller, id) => {
      await touchable(parts, caller, id, 'agent.read');
      return (await store.identity.agents.credentials(id, clock.now())).map(credentialView);
    },
    addSecret: (caller, id, request) => addSecret(parts, caller, id, request),
    addKey: (caller, id, request) => addKey(parts, caller, id, request),
    issueCertificate: (caller, id, request) => issueCertificate(parts, caller, id, request),
    renewCertificate: (caller, request) => renewCertificate(parts, caller, request),
    revoke: (caller, id, credential) => revoke(parts, caller, id, credential),
  };
}

function credentialView(record: AgentCredentialRecord): AgentCredentialView {
  const { id, kind, name, proof, createdAt, expiresAt, lastUsedAt } = record;
  return {
    id,
    kind,
    name,
    thumbprint: kind === 'secret' ? null : proof,
    createdAt: timeText(createdAt),
    expiresAt: timeOrNull(expiresAt),
    lastUsedAt: timeOrNull(lastUsedAt),
  };
}

async function addSecret(
  parts: AgentParts,
  caller: Caller,
  agent: ActorId,
  { name, expiresInSeconds }: AddSecret,
): Promise<CreatedSecret> {
  const secret = clientSecret.make();
  const lifeMs = Math.min(expiresInSeconds * 1000, identityLimits.clientSecretLifeMsMax);
  const made = newCredential(parts, agent, { kind: 'secret', name, lifeMs });
  const credential = { ...made, proof: secretHash(secret), material: null };
  return { ...(await add(parts, caller, credential)), clientId: agent, secret };
}

async function addKey(
  parts: AgentParts,
  caller: Caller,
  agent: ActorId,
  { name, jwk, expiresInSeconds }: AddKey,
): Promise<AgentCredentialView> {
  await touchable(parts, caller, agent, 'agent.credential.create');
  const key = readPublicKey(jwk);
  const lifeMs = expiresInSeconds === undefined ? null : expiresInSeconds * 1000;
  const made = newCredential(parts, agent, { kind: 'public-key', name, lifeMs });
  return await add(parts, caller, { ...made, proof: key.kid, material: JSON.stringify(key) });
}

async function issueCertificate(
  parts: AgentParts,
  caller: Caller,
  agent: ActorId,
  request: IssueCertificate,
): Promise<IssuedCertificateView> {
  const made = newCredential(parts, agent, { kind: 'certificate', ...wanted(request) });
  const act = await creating(parts, caller, made);
  return await parts.gate.act(caller, act, () => issue(parts, made, request));
}

/**
 * By its certificate alone: whatever else it may have proved itself with was narrowed, or lives for minutes, and what
 * comes of it must be worth no more. There is nothing to decide but who asks, so there is no scope for it.
 */
async function renewCertificate(
  parts: AgentParts,
  caller: Caller,
  request: IssueCertificate,
): Promise<IssuedCertificateView> {
  const { actor } = caller;
  const { credential } = actor;
  const agent = await parts.store.identity.agents.get(actor.id);
  const held = credential?.startsWith('crd_')
    ? await parts.store.identity.agents.credential(credential as CredentialId)
    : null;
  if (agent === null || held?.kind !== 'certificate' || held.agent !== agent.id)
    throw await parts.gate.refuse(
      caller,
      { action: 'agent.credential.create', resource: { kind: 'agent', id: actor.id } },
      {
        rule: 'certificate:missing',
        detail:
          'An agent renews its certificate with the one that it has: connect with it at the address for certificates.',
      },
    );
  const made = newCredential(parts, agent.id, { kind: 'certificate', ...wanted(request) });
  await requireRoom(parts, agent.id);
  await parts.gate.record({
    action: 'agent.certificate.renew',
    actor,
    resource: { kind: 'agent', id: agent.id },
    outcome: 'allowed',
    rule: 'certificate:own',
    request: caller.request,
    data: { credential: made.id, with: held.id, expiresAt: timeOrNull(made.expiresAt) },
  });
  return await issue(parts, made, request);
}

async function revoke(
  parts: AgentParts,
  caller: Caller,
  id: ActorId,
  credential: CredentialId,
): Promise<void> {
  const { agents } = parts.store.identity;
  const agent = await known(parts, caller, id, 'agent.credential.revoke');
  const act = agentAct('agent.credential.revoke', agent, { credential });
  await parts.gate.contain(caller, act, async () => {
    const record = await agents.credential(credential);
    if (record?.agent !== id) throw absent('credential');
    if (!(await agents.revokeCredential(credential, parts.clock.now()))) throw absent('credential');
    await parts.changes.look();
  });
}

function wanted({ name, expiresInSeconds }: IssueCertificate) {
  const lifeMs = expiresInSeconds === undefined ? identityLimits.certificateLifeMs : expiresInSeconds * 1000;
  return { name, lifeMs: Math.min(lifeMs, identityLimits.certificateLifeMsMax) };
}

function newCredential(
  { clock }: AgentParts,
  agent: ActorId,
  { kind, name, lifeMs }: Pick<NewCredential, 'kind'> & { name: string | undefined; lifeMs: number | null },
): Omit<NewCredential, 'proof' | 'material'> {
  const createdAt = clock.now();
  const expiresAt = lifeMs === null ? null : createdAt + lifeMs;
  return { id: newId('credential', createdAt), agent, kind, name: name ?? null, createdAt, expiresAt };
}

async function add(
  parts: AgentParts,
  caller: Caller,
  credential: NewCredential,
): Promise<AgentCredentialView> {
  const { gate } = parts;
  const act = await creating(parts, caller, credential);
  return await gate.act(caller, act, () => store(parts, credential));
}

/** Decides whether the caller may give this agent another credential, with which it could be the agent. */
async function creating(
  parts: AgentParts,
  caller: Caller,
  credential: Omit<NewCredential, 'proof' | 'material'> & { readonly proof?: string },
) {
  const agent: AgentRecord = await touchable(parts, caller, credential.agent, 'agent.credential.create');
  const { id, kind, proof, expiresAt } = credential;
  const thumbprint = kind === 'public-key' && proof !== undefined ? { thumbprint: proof } : {};
  const act = agentAct('agent.credential.create', agent, {
    credential: id,
    kind,
    expiresAt: timeOrNull(expiresAt),
    ...thumbprint,
  });
  await refuseWider(parts, caller, act, agent);
  await requireRoom(parts, agent.id);
  return act;
}

async function requireRoom({ store, clock }: AgentParts, agent: ActorId): Promise<void> {
  const { agentCredentialsMax } = controlLimits;
  if ((await store.identity.agents.credentials(agent, clock.now())).length < agentCredentialsMax) return;
  throw new Fault('quota.exceeded', {
    detail: `${agent} has ${agentCredentialsMax} credentials, which is all it can have. Revoke one first.`,
  });
}

async function issue(
  parts: AgentParts,
  made: Omit<NewCredential, 'proof' | 'material'>,
  { request }: IssueCertificate,
): Promise<IssuedCertificateView> {
  const { authority } = parts;
  const lifeMs = made.expiresAt! - made.createdAt;
  const { certificate, fingerprint, expiresAt } = await authority.issue(made.agent, request, lifeMs);
  const view = await store(parts, { ...made, proof: fingerprint, material: certificate, expiresAt });
  const authorities = (await authority.certificates()).map((one) => one.certificate);
  return { ...view, certificate, authorities };
}

async function store(parts: AgentParts, credential: NewCredential): Promise<AgentCredentialView> {
  const added = await parts.store.identity.agents.addCredential(credential);
  if (added) return credentialView({ ...credential, lastUsedAt: null });
  throw new Fault('state.conflict', {
    detail:
      'This key is, or was, a credential already. A key proves one agent, and once it was revoked nobody.',
  });
}
