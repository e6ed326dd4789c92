import { parseActorId } from '../../model/actor.ts';
import type { Resource } from '../../model/decide.ts';
import { parseId } from '../../model/ids.ts';
import type { Store } from '../../store/store.ts';
import { policyAsRead } from '../policy-access.ts';
import { runAct } from '../run-access.ts';
import { rightsOf } from './rank.ts';

/**
 * What an id or `KIND:NAME` stands for, with the facts that decisions look at; null where there is none. Whether
 * anybody may learn of it is not decided here.
 */
export async function namedResource(store: Store, text: string): Promise<Resource | null> {
  return (await byId(store, text)) ?? (await byName(store, text));
}

async function byId(store: Store, text: string): Promise<Resource | null> {
  const session = parseId('session', text);
  if (session !== null) {
    const record = await store.sessions.get(session);
    return record && { kind: 'session', id: session, session, owner: record.owner, team: record.team };
  }
  const run = parseId('run', text);
  if (run !== null) {
    const record = await store.runs.get(run);
    return record && runAct('run.read', record).resource;
  }
  const token = parseId('token', text);
  if (token !== null) {
    const record = await store.tokens.get(token);
    return record && { kind: 'token', id: token, owner: record.actor };
  }
  const elevation = parseId('elevation', text);
  if (elevation === null) return null;
  const record = await store.identity.elevations.get(elevation);
  return record && { kind: 'elevation', id: elevation, owner: record.user };
}

async function byName(store: Store, text: string): Promise<Resource | null> {
  const agent = parseActorId(text);
  const colon = text.indexOf(':');
  const [kind, name] = [text.slice(0, Math.max(colon, 0)), text.slice(colon + 1)];
  const { users, teams, accessPolicies, agents } = store.identity;
  const named = <K extends Resource['kind']>(of: K, record: unknown) =>
    record === null ? null : { kind: of, id: name };
  if (kind === 'policy') {
    const policy = await store.policies.get(name);
    return policy && policyAsRead(policy);
  }
  if (kind === 'access-policy') return named(kind, await accessPolicies.get(name));
  if (kind === 'team') return named(kind, await teams.get(name));
  if (kind === 'role') return named(kind, await rightsOf(store, name));
  if (kind === 'user') return named(kind, await users.get(name));
  if (kind === 'account') return (await users.get(name)) && { kind, id: name, owner: `user:${name}` };
  if (agent === null) return null;
  const record = await agents.get(agent);
  return record && { kind: 'agent', id: agent, owner: record.owner };
}
